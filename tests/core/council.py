"""A leader's board of jobs among nodes that only answer: each holds what a test says, and can be silenced or killed."""

from edged.core.effects import MakePlan, SendMessage
from edged.core.events import LeaderChanged, MemberChanged, MessageReceived, PlanMade, TimerFired
from edged.core.ids import NodeId
from edged.core.jobs import JobBoard
from edged.core.messages import (
    Drain,
    Drained,
    Halt,
    Holding,
    HoldingKind,
    Inventory,
    JobDone,
    Jobs,
    Learn,
    Learned,
    LeaveRequest,
    MemberState,
    Prepare,
    Prepared,
    StepReport,
    Submit,
)
from edged.core.phases import Stage
from tests.core.job_sample import JOB, A, B, C, D, member, plan, spec

E = NodeId("e" * 16)
FIRST = Holding(0, 3, 0, HoldingKind.FIRST)


def snapshot(first, last, version):
    return Holding(first, last, version, HoldingKind.SNAPSHOT)


def replica(first, last, version):
    return Holding(first, last, version, HoldingKind.REPLICA)


class Council:
    """D leads unless told otherwise; A is the source, B and C run layers as long as they are there.

    ``sent`` holds every (to, message) that the leader has sent, newest last. With ``auto`` the nodes that are not
    ``silent`` answer: ``Halt`` with ``holdings``, ``Prepare`` with ``problems``, ``Drain`` with ``stands``, ``Learn``
    unless they are ``slow``; the planner deals the layers out evenly over ``workers`` that it may use
    and that reach their neighbours and the source.
    """

    def __init__(self, node=D, leader=D, term=1, nodes=(A, B, C, D), workers=(B, C), auto=True, **options):
        self.board = JobBoard(member(node), **options)
        self.node = node
        self.now = 0.0
        self.sent = []
        self.asked = []
        self.logged = []
        self.workers = list(workers)
        self.auto = auto
        self.silent = set()
        self.slow = set()
        self.holdings = {A: (FIRST,)}
        self.programs = {A}
        self.data = {A}
        self.problems = {}
        self.stands = None
        self.impossible = ""
        for other in nodes:
            self.handle(MemberChanged(member(other), None, ""))
        self.handle(LeaderChanged(leader, term))

    # -- facts

    def handle(self, event):
        effects = self.board.handle(event, self.now)
        self.board.check()
        due = self.board.deadline()
        assert due is None or due > self.now or isinstance(event, TimerFired), "woken for nothing"
        todo = []
        for effect in effects:
            match effect:
                case SendMessage(to, message):
                    self.sent.append((to, message))
                    if self.auto and to not in self.silent:
                        todo += [(to, answer) for answer in self.answers(to, message)]
                case MakePlan():
                    self.asked.append(effect)
                    if self.auto:
                        todo.append((None, self.think(effect)))
                case _:
                    self.logged.append(effect)
        for sender, answer in todo:
            effects = effects + (self.handle(answer) if sender is None else self.hear(sender, answer))
        return effects

    def answers(self, to, message):
        match message:
            case Halt(of):
                yield Inventory(of, tuple(self.holdings.get(to, ())), to in self.programs, to in self.data)
            case Prepare(made):
                yield Prepared(made.stamp, self.problems.get(to, ""))
            case Learn(job) if to not in self.slow:
                yield Learned(job)
            case Drain(of) if self.stands is not None:
                yield Drained(of, self.stands)

    def think(self, ask):
        apart = {frozenset(pair) for pair in ask.situation.apart}
        able = []
        for node in self.workers:
            near = {ask.situation.spec.source, *able[-1:]}
            if node in {m.node for m in ask.situation.members} and not any(
                frozenset((node, other)) in apart for other in near
            ):
                able.append(node)
        if self.impossible or not able:
            return PlanMade(ask.stamp, None, self.impossible or "there is no plan")
        return PlanMade(ask.stamp, plan(ask.stamp, able), "")

    def hear(self, sender, message):
        return self.handle(MessageReceived(sender, message))

    def wake(self):
        self.now = max(self.board.deadline(), self.now)
        return self.handle(TimerFired())

    def wait(self, seconds):
        """Let the time go by."""
        until = self.now + seconds
        effects = []
        while (due := self.board.deadline()) is not None and due <= until:
            effects += self.wake()
        self.now = until
        return effects

    def lose(self, node, state=MemberState.DEAD, boot=1):
        if state in {MemberState.DEAD, MemberState.LEFT}:
            self.silent.add(node)
        return self.handle(MemberChanged(member(node, state, boot), MemberState.ALIVE, ""))

    def join(self, node, boot=1, slowness=1.0):
        self.silent.discard(node)
        return self.handle(MemberChanged(member(node, boot=boot, slowness=slowness), None, ""))

    # -- a job's way

    def submit(self, **fields):
        return self.hear(A, Submit(spec(**fields)))

    def run(self, steps=100, step=1, **fields):
        """Bring the job as far as ``step``."""
        self.submit(steps=steps, **fields)
        return self.step(step)

    def step(self, step):
        of = self.stamp
        self.hear(self.record.source, StepReport(of, step, 0, 0.5, 1.0, 0.1))
        return of

    def finish(self, step=100):
        return self.hear(self.record.source, JobDone(self.stamp, step, ""))

    def keep(self, version, nodes=None):
        """Every node of the plan has a snapshot of its layers at ``version``, and its holders replicas."""
        made, protection = self.board.procedure.plan, self.board.procedure.protection
        for node in nodes or made.nodes():
            for _, _, hop in made.hops_of(node):
                piece = (hop.first_layer, hop.last_layer, version)
                self.holdings[node] = (*self.holdings.get(node, ()), snapshot(*piece))
                for holder in protection.holders(node):
                    self.holdings[holder] = (*self.holdings.get(holder, ()), replica(*piece))

    @property
    def record(self):
        return self.board.jobs.records[JOB]

    @property
    def stage(self):
        return None if self.board.procedure is None else self.board.procedure.stage

    @property
    def stamp(self):
        return self.board.procedure.stamp

    @property
    def plan(self):
        return self.board.procedure.plan

    def told(self, kind, since=0):
        """What was sent of this kind, as (to, message), after the first ``since`` messages."""
        return [(to, message) for to, message in self.sent[since:] if isinstance(message, kind)]


def messages(effects, kind):
    return [(e.to, e.message) for e in effects if isinstance(e, SendMessage) and isinstance(e.message, kind)]


def receivers(effects, kind):
    return {to for to, _ in messages(effects, kind)}


def inventory(of, *holdings, program=False, data=False):
    return Inventory(of, holdings, program, data)


def bring(council, stage):
    """Bring a job to this stage."""
    if stage is Stage.ADOPT:
        adopt(council)
    elif stage in {Stage.FENCE, Stage.PLAN}:
        council.auto = stage is Stage.PLAN
        council.think = lambda ask: LeaderChanged(D, 1)
        council.submit()
        del council.think
    elif stage is Stage.WAIT:
        council.data = set()
        council.submit()
    elif stage is Stage.TRANSFER:
        council.problems = {}
        council.answers, answers = lambda to, m: () if isinstance(m, Prepare) else answers(to, m), council.answers
        council.submit()
        del council.answers
    elif stage is Stage.RESUME:
        council.submit()
    else:
        council.run()
        council.keep(0)
        if stage is Stage.DRAIN:
            council.hear(B, LeaveRequest(B))
    assert council.stage is stage


def adopt(council):
    council.handle(LeaderChanged(C, 1))
    council.hear(C, Jobs(1, 1, (running(),)))
    council.handle(LeaderChanged(D, 2))


def running(step=5):
    council = Council()
    council.run(step=step)
    return council.record
