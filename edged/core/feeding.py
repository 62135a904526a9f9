"""The source's side of running a plan: samples out, results in, reports to all, and the weights home at the end.

::

    feeder ──DrawSample/SampleDrawn──> queue ──SendInputs──> hops that use inputs, at most window + 2 ahead of Taken
    Result, Updated ──> progress ──> StepReport, EvalReport to all members
    all steps done ──> WantState to every hop ──> WriteWeights ──> FinishedReport to all, JobDone to the leader
    it cannot be written ──> Unwritten to the leader, and WriteWeights again, until it can
    Drain ──> nothing of later versions is fed ──> all hops stand at one version ──> Drained to the leader
               └──Boundary──> hops of an asynchronous job
    a silent node ──> Stuck to the leader
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from edged.core.collecting import KEPT_TOKEN, RESULT_TOKEN, Collecting
from edged.core.dealing import ROOM, Dealing, inputs_of
from edged.core.effects import DrawSample, DropSample, Effect, Log, SendInputs, SendMessage, StartFeeder, WriteWeights
from edged.core.events import (
    DataLost,
    Event,
    ExportAsked,
    FeederFailed,
    LeaderChanged,
    LoopWasLate,
    MessageReceived,
    ParcelArrived,
    SampleDrawn,
    WeightsWritten,
)
from edged.core.failing import Failing
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import (
    TRIED_AGAIN,
    Boundary,
    Committed,
    Drain,
    Drained,
    End,
    FinishedReport,
    JobDone,
    Message,
    Refused,
    Result,
    StateParcel,
    StepReport,
    Stuck,
    Taken,
    Unwritten,
    Updated,
    WantProgress,
    WorkFailed,
)
from edged.core.patience import Patience
from edged.core.plan import Plan
from edged.core.progress import Progress
from edged.errors import BrokenInvariantError

REPEAT_SECONDS = 0.5

WRITE_SECONDS = 5.0
"""After so long a result that could not be written is tried again."""

_DRAWN_AHEAD = 4


class Feeding:
    """Feeds ``plan`` from weight version ``version`` on, reports progress, collects the result.

    Build it on ``Start`` on the source (``spec.source == node``); its ``deadline()`` is 0.0 until the first ``handle``,
    so wake it at once. ``members()`` gives the nodes to report to (alive ones; this node itself is added). Drop it on
    ``End`` or a newer plan. It reads (all others are ignored): ``SampleDrawn``, ``FeederFailed`` (``detail`` empty: the
    process merely died and is started again; else the user's code raised and the job ends), ``DataLost``,
    ``ExportAsked``; ``MessageReceived`` with ``Taken``, ``Result``, ``Updated``, ``WorkFailed`` (a final one ends the
    job, any other is the leader's to mend), ``Committed``, ``Refused``, ``Drain``, ``End``; ``ParcelArrived`` with a
    ``StateParcel``, ``WeightsWritten``, ``LeaderChanged``, ``LoopWasLate``, ``TimerFired``.

    A job that fails does so once what its nodes have copied last has been brought home and written.
    """

    def __init__(
        self,
        plan: Plan,
        spec: JobSpec,
        node: NodeId,
        version: int,
        leader: NodeId | None,
        members: Callable[[], tuple[NodeId, ...]],
        since: float | None = None,
    ) -> None:
        """``version``: where ``Start`` says to go on. ``leader``: who leads now, if known.

        ``since``: when this node began to feed the job, by an earlier plan; ``None``: it begins now.
        """
        self._plan = plan
        self._stamp = plan.stamp
        self._spec = spec
        self._node = node
        self._leader = leader
        self._members = members
        self._dealing = Dealing(plan, spec)
        self._progress = Progress(plan, spec, self._dealing, version)
        self._collecting = Collecting(plan, spec)
        self._inputs = tuple(
            tuple(
                (h, hop.node, used) for h, hop in enumerate(route.hops) if (used := inputs_of(spec, h, hop)) is not None
            )
            for route in plan.routes
        )
        self._to_draw: Iterator[Work] = _all_works(self._dealing, version, spec.steps)
        self._queue: deque[Work] = deque()
        self._drawn: set[Work] = set()
        self._queue_limit = _DRAWN_AHEAD + sum(route.hops[0].window + ROOM for route in plan.routes)
        self._newest = version
        self._boundary = version
        self._drains = False
        self._drained = False
        self._patience = Patience(plan.nodes(), 0.0)
        self._feeder_delivers = True
        self._data_lost = ""
        self._since = since
        self._begun = False
        self._ask_at = 0.0
        self._collects = False
        self._failing = Failing(plan.stamp, self._collecting, version)
        self._write_at: float | None = None
        self._unwritten = ""
        self._done: JobDone | None = None
        self._repeat_at = 0.0
        self._ended = False

    @property
    def step(self) -> int:
        """Steps that are done on every hop."""
        return self._progress.version

    @property
    def exports(self) -> tuple[int, ...]:
        """The exports that are still owed; another plan has to bring them."""
        return self._collecting.tokens()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one fact in, give the decisions out."""
        began = self._begin(now)
        return [*began, *self._take(event, now), *self._go_on(now)]

    def expects(self, sender: NodeId, parcel: StateParcel) -> bool:
        """Whether this state was asked for, from this sender, for an export or the result. Changes nothing."""
        return self._collecting.expects(sender, parcel)

    def fail(self, reason: str, now: float) -> list[Effect]:
        """Something that the source cannot feed without has broken; the first verdict stands."""
        return [*self._fail(reason, now), *self._go_on(now)]

    def cannot_take(self, reason: str, now: float) -> list[Effect]:
        """State cannot come home: an export is given up; the job fails; or it does already, and without its weights."""
        if not (self._collects or self._failing.problem):
            return [Log("warning", "feeding", f"an export is given up: {reason}"), *self._collecting.give_up()]
        if self._failing.problem:
            self._failing.give_up(reason)
        return self.fail(reason, now)

    def deadline(self) -> float | None:
        """When to send a ``TimerFired``; 0.0 before the first ``handle``."""
        if not self._begun:
            return 0.0
        if self._ended:
            return None
        if self._done is not None:
            return self._repeat_at
        asks = not (self._failing.problem or self._progress.complete)
        moments = (self._ask_at if asks else None, self._collecting.deadline(), self._write_at)
        return min((moment for moment in moments if moment is not None), default=None)

    def check(self) -> None:
        """Raise ``BrokenInvariantError`` if an invariant does not hold."""
        if len(self._queue) > self._queue_limit or not self._drawn <= set(self._queue):
            raise BrokenInvariantError(f"{len(self._queue)} samples wait, at most {self._queue_limit} may")

    # -------------------------------------------------------------------------------------------- what comes in

    def _begin(self, now: float) -> list[Effect]:
        if self._begun:
            return []
        self._begun = True
        self._since = now if self._since is None else self._since
        self._patience.forgive(now)
        self._ask_at = now + REPEAT_SECONDS
        return [StartFeeder(self._spec)]

    def _take(self, event: Event, now: float) -> list[Effect]:
        match event:
            case SampleDrawn(job=job, work=work) if job == self._stamp.job and work in self._queue:
                self._drawn.add(work)
                self._feeder_delivers = True
            case FeederFailed(job=job) if job == self._stamp.job:
                return self._feeder_failed(event, now)
            case DataLost(job=job, reason=reason) if job == self._stamp.job:
                self._data_lost, self._ask_at = reason, now
            case ExportAsked(job=job, token=token) if job == self._stamp.job:
                return self._collecting.begin_export(token, self._newest, now)
            case MessageReceived(sender=sender, message=message):
                return self._take_message(sender, message, now)
            case ParcelArrived(sender, StateParcel() as parcel) if self.expects(sender, parcel):
                return self._collecting.arrived(parcel.version, parcel.first_layer, parcel.last_layer)
            case WeightsWritten(stamp=stamp, token=token) if stamp == self._stamp and token <= RESULT_TOKEN:
                return self._written(event, now)
            case LeaderChanged(leader=leader):
                self._leader = leader
                self._repeat_at = now
            case LoopWasLate():
                self._patience.forgive(now)
            case _:
                pass
        return []

    def _take_message(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case Taken(stamp=stamp) | Result(stamp=stamp) | Updated(stamp=stamp) if stamp == self._stamp:
                self._take_word(sender, message, now)
            case WorkFailed(stamp=stamp, final=True) if stamp == self._stamp and sender in self._plan.nodes():
                return self._fail(message.reason, now)
            case Committed(stamp=stamp, version=version) if stamp == self._stamp:
                self._failing.committed(version)
            case Drain(stamp=stamp) if stamp == self._stamp:
                self._drains, self._drained = True, False
                return self._tell_boundary()
            case Refused(job=job, version=version) if job == self._stamp.job:
                if self._failing.problem:
                    return self._failing.refused(message, now)
                return self._collecting.refused(version, self._newest, now)
            case End(stamp=stamp) if stamp >= self._stamp and stamp.job == self._stamp.job:
                self._ended = True
            case _:
                pass
        return []

    def _take_word(self, sender: NodeId, message: Taken | Result | Updated, now: float) -> None:
        moves = self._progress.moves
        match message:
            case Taken():
                self._progress.take_taken(sender, message)
            case Result():
                self._progress.take_result(sender, message)
            case Updated():
                self._progress.take_updated(sender, message)
        self._patience.hear(sender, now)
        if self._progress.moves != moves:
            self._patience.move(now)

    def _feeder_failed(self, failed: FeederFailed, now: float) -> list[Effect]:
        """Start a feeder that merely died once more, unless it has delivered nothing since the last time."""
        if self._done is not None or self._collects or self._data_lost or self._failing.problem:
            return []
        if failed.detail or not self._feeder_delivers:
            return self._fail(f"the job's data could not be read: {failed.reason}", now)
        self._feeder_delivers = False
        again = [DrawSample(self._stamp.job, work) for work in self._queue if work not in self._drawn]
        log = Log("warning", "feeding", f"the feeder ended ({failed.reason}); it is started again")
        return [log, StartFeeder(self._spec), *again]

    def _written(self, written: WeightsWritten, now: float) -> list[Effect]:
        if self._done is not None or (written.problem and written.token == RESULT_TOKEN and self._failing.problem):
            return []
        if written.problem:
            return self._hold_on(written.problem, now)
        if written.token == KEPT_TOKEN:
            self._failing.written(written.output)
            return []
        seconds = now - (now if self._since is None else self._since)
        report = FinishedReport(
            stamp=self._stamp,
            steps=self._spec.steps,
            loss=self._progress.loss,
            seconds=seconds,
            output=written.output,
            state_sha256=written.state_sha256,
        )
        return [*self._broadcast(report), *self._finish("", now)]

    def _hold_on(self, problem: str, now: float) -> list[Effect]:
        """There is nothing left to do, and every copy is kept until there is room for what is to be written."""
        self._write_at = now + WRITE_SECONDS
        news, self._unwritten = problem != self._unwritten, problem
        what = self._failing.in_words() if self._failing.problem else "the result"
        text = f"{what} {TRIED_AGAIN}: {problem}"
        effects: list[Effect] = [Log("warning", "feeding", f"job {self._spec.name}: {text}")] if news else []
        if self._leader is not None:
            effects.append(SendMessage(self._leader, Unwritten(self._stamp, self.step, text)))
        return effects

    def _write_again(self, now: float) -> list[Effect]:
        if self._write_at is None or now < self._write_at:
            return []
        self._write_at = None
        if self._failing.problem:
            return [self._failing.write()]
        return [WriteWeights(self._stamp, self._spec.steps, RESULT_TOKEN)]

    def _fail(self, problem: str, now: float) -> list[Effect]:
        """The job ends with this, once what is left of it is here. The first failure stands."""
        return [] if self._failing.problem or self._done is not None else self._failing.begin(problem, now)

    def _finish(self, problem: str, now: float) -> list[Effect]:
        """Nothing more to do but to tell the leader, until it says ``End``. The first verdict stands."""
        if self._done is None:
            self._done = JobDone(self._stamp, self.step, problem)
            self._repeat_at = now
        return []

    # ---------------------------------------------------------------------------------------------- what goes out

    def _go_on(self, now: float) -> list[Effect]:
        if self._ended:
            return []
        if self._failing.verdict:
            self._finish(self._failing.verdict, now)
        if self._done is not None:
            return self._tell_leader(self._done, now)
        if self._failing.problem:
            return [*self._collecting.remind(now), *self._write_again(now)]
        effects: list[Effect] = []
        for report in self._progress.reports(now):
            if isinstance(report, StepReport):
                self._patience.step(now)
            effects += self._broadcast(report)
        effects += [*self._draw(), *self._feed(now), *self._tell_drained()]
        if self._progress.complete and not self._collects:
            self._collects = True
            effects += self._collecting.begin_result(now)
        return [*effects, *self._ask(now), *self._collecting.remind(now), *self._write_again(now)]

    def _draw(self) -> list[Effect]:
        """Ask the feeder for as much as may wait."""
        effects: list[Effect] = []
        while len(self._queue) < self._queue_limit and (work := next(self._to_draw, None)) is not None:
            self._queue.append(work)
            effects.append(DrawSample(self._stamp.job, work))
        return effects

    def _feed(self, now: float) -> list[Effect]:
        """Send what is drawn, in order, as far as the routes have room, and draw on."""
        effects: list[Effect] = []
        while self._queue and self._queue[0] in self._drawn and self._may_go(self._queue[0]):
            work = self._queue.popleft()
            self._drawn.discard(work)
            self._progress.feed(work, now)
            if work.phase is Phase.TRAIN:
                self._newest = work.version
                self._boundary = work.version + 1
            route = self._dealing.route_of(work)
            effects += [SendInputs(node, self._stamp, route, h, work, used) for h, node, used in self._inputs[route]]
            effects.append(DropSample(self._stamp.job, work))
        return [*effects, *self._draw()]

    def _may_go(self, work: Work) -> bool:
        """Whether this work may be fed: there is room, and it lies before the version at which all come to stand."""
        return self._progress.has_room(work) and not (self._stops and work.version >= self._boundary)

    @property
    def _stops(self) -> bool:
        """Whether the plan is being drained; one that has fed its last step comes to its end faster."""
        return self._drains and self._boundary < self._spec.steps

    def _tell_boundary(self) -> list[Effect]:
        """Hops of an asynchronous job wait for later micro-batches, and are told that none will come."""
        if not (self._spec.asynchronous and self._stops):
            return []
        return [SendMessage(node, Boundary(self._stamp, self._boundary)) for node in self._plan.nodes()]

    def _tell_drained(self, *, again: bool = False) -> list[Effect]:
        """Answer each ``Drain``, once nothing is on its way and all hops stand at one version."""
        stands = self._progress.version == self._boundary and self._progress.idle
        if not self._stops or self._drained is not again or not stands or self._leader is None:
            return []
        self._drained = True
        return [SendMessage(self._leader, Drained(self._stamp, self._boundary))]

    def _ask(self, now: float) -> list[Effect]:
        """Twice a second: what did I miss? Who has not answered for long, or no data to draw, is told to the leader."""
        if self._progress.complete or now < self._ask_at:
            return []
        self._ask_at = now + REPEAT_SECONDS
        question = WantProgress(self._stamp, self._progress.version, self._progress.first_missing())
        effects: list[Effect] = [SendMessage(node, question) for node in self._plan.nodes()]
        effects += self._tell_boundary()
        if self._leader is not None and self._data_lost:
            failed = WorkFailed(self._stamp, self._data_lost, final=False, peer=self._node)
            effects.append(SendMessage(self._leader, failed))
        elif self._drained:  # said again: who asked may lead no more
            effects += self._tell_drained(again=True)
        elif self._leader is not None:
            effects += [SendMessage(self._leader, Stuck(self._stamp, node)) for node in self._patience.stuck(now)]
        return effects

    def _tell_leader(self, done: JobDone, now: float) -> list[Effect]:
        if now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS
        return [] if self._leader is None else [SendMessage(self._leader, done)]

    def _broadcast(self, report: Message) -> list[Effect]:
        return [SendMessage(node, report) for node in dict.fromkeys((self._node, *self._members()))]


def _all_works(dealing: Dealing, version: int, steps: int) -> Iterator[Work]:
    """Every work from a version to the end of the job, in feeding order."""
    for each in range(version, steps + 1):
        yield from dealing.works_at(each)
