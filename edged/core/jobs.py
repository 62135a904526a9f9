"""The board of jobs: the queue as every node keeps it, and, on the leader, the procedure of the job whose turn it is.

Followers keep the leader's list (``joblist.py``) and the plan that runs, so that any of them can go on as the leader.
Everything is repeated until it shows: the list is broadcast on a change, to new members, and on a timer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from edged.core.effects import Effect, SaveJobs, SendMessage
from edged.core.events import (
    Event,
    HeldFound,
    JobSubmitted,
    LeaderChanged,
    LineageChanged,
    MemberChanged,
    MembersCame,
    MessageReceived,
    StopAsked,
)
from edged.core.figures import Figures
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.joblist import ENDED, JobList, queued
from edged.core.leavers import Leavers
from edged.core.links import Links
from edged.core.messages import (
    Committed,
    End,
    EvalReport,
    JobRecord,
    Jobs,
    JobState,
    MemberRecord,
    MemberState,
    Message,
    NodeReport,
    PauseRequest,
    PlanChosen,
    Prepare,
    ResumeRequest,
    Start,
    StepReport,
    StopRequest,
    Submit,
)
from edged.core.orphans import Orphans
from edged.core.phases import IN_FORCE, Stage
from edged.core.procedure import Procedure
from edged.core.protection import Interval, unmeasured, without
from edged.core.queue import READY, Queue
from edged.core.submissions import Submissions
from edged.core.surroundings import Surroundings
from edged.core.watch import GONE, present

REPEAT_SECONDS = 1.0
"""The leader repeats the list this often while a job is to be done."""

IDLE_SECONDS = 5.0
"""The leader repeats the list this often while all jobs are over, and the running plan always."""

_Request = Submit | StopRequest | PauseRequest | ResumeRequest


class JobBoard:
    """One node's view of all jobs, and its part in deciding on them if it leads.

    ``jobs`` is the list; ``plans`` the newest known plan and ``committed`` the newest word on copies of each job that
    is not over; all are for reading.
    """

    def __init__(
        self,
        record: MemberRecord,
        *,
        interval: Interval = unmeasured,
        replicas: int = 1,
        listed: Iterable[JobRecord] = (),
    ) -> None:
        """Begin with the jobs ``listed`` by an earlier process; ``record`` is this node's own.

        ``interval`` chooses how often nodes snapshot (see ``protection.py``), ``replicas`` is the number of ring
        successors that keep copies of a node's layers.
        """
        self.node = record.node
        self.jobs = JobList(listed)
        self.plans: dict[JobId, PlanChosen] = {}
        self.committed: dict[JobId, Committed] = {}
        self.leader: NodeId | None = None
        self.procedure: Procedure | None = None
        self._interval = interval
        self._replicas = replicas
        self._leavers = Leavers()
        self._queue = Queue(self.jobs, self._spec_of)
        self._submissions = Submissions(self.jobs)
        self._members: dict[NodeId, MemberRecord] = {record.node: record}
        self._links = Links(self._members)
        self._figures = Figures(self._members)
        self._orphans = Orphans(self._members, self._spec_of)
        self._specs: dict[JobId, JobSpec] = {}
        self._starts: dict[JobId, tuple[Stamp, int]] = {}
        self._causes: dict[JobId, str] = {}
        self._term = 0
        self._version = 0
        self._told_number = -1
        self._told_plan: PlanChosen | None = None
        self._confirmed: set[JobId] = set()
        self._list_at: float | None = None
        self._plan_at: float | None = None
        self._introduce_at: float | None = None

    # ------------------------------------------------------------------------------------------- contract

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then do what is due."""
        effects = self._take_in(event, now)
        if self.leads:
            effects += [*self._leavers.handle(event, now, self._spares), *self._links.handle(event, now)]
        if self.procedure is not None:
            effects += self.procedure.handle(event, now)
        effects += self._lead(now) if self.leads else self._introduce(now)
        effects += self._submissions.remind(self.leader, now)
        self._forget_ended()
        unwritten = self.jobs.unwritten()
        return effects if unwritten is None else [SaveJobs(unwritten), *effects]

    def deadline(self) -> float | None:
        """Return when something is to be repeated or given up."""
        parts = [self._list_at, self._plan_at, self._introduce_at, self._submissions.deadline()]
        if self.leads:
            parts += [self._leavers.deadline(), self._links.deadline(), self._queue.deadline()]
        if self.procedure is not None:
            parts.append(self.procedure.deadline())
        return min((t for t in parts if t is not None), default=None)

    def check(self) -> None:
        """Assert that only a leader runs a procedure, and only for a listed job."""
        if self.procedure is not None:
            self.procedure.check()
            assert self.leads, "a procedure without leading"
            assert self.procedure.stage is not Stage.OVER, "an ended procedure must go"
            assert self.jobs.records[self.procedure.record.job] == self.procedure.record, "the list lags behind"
        for job in self.plans:
            assert not self.jobs.ended(job), f"a plan of job {job}, which is over"

    @property
    def term(self) -> int:
        """The newest term that election has told of."""
        return self._term

    @property
    def leads(self) -> bool:
        """Whether this node leads."""
        return self.leader == self.node

    def may_tell(self, node: NodeId, job: JobId) -> bool:
        """Whether a leader learns a job's plan from this node: its source; anybody if that is gone, or of no help."""
        record = self.jobs.records.get(job)
        if record is None or record.state in ENDED:
            return False
        source = self._members.get(record.source)
        return record.source == node or source is None or source.state in GONE or record.state is JobState.WAITING

    # -------------------------------------------------------------------------------------------- taking in

    def _take_in(self, event: Event, now: float) -> list[Effect]:
        match event:
            case MessageReceived(sender, message):
                return self._hear(sender, message, now)
            case MemberChanged(record, before):
                return self._member_changed(record, before)
            case MembersCame(records):
                return [effect for record in records for effect in self._member_changed(record, None)]
            case LeaderChanged(leader, term):
                self._leader_changed(leader, term, now)
            case LineageChanged():
                self._lineage_changed(event)
            case JobSubmitted(spec) | HeldFound(spec=JobSpec() as spec):
                if spec.job not in self.jobs.records:
                    self.jobs.put(queued(spec))
                self._submissions.submit(spec)
            case StopAsked(job, reason):
                self._submissions.stop(job, reason)
            case _:
                pass
        return []

    def _hear(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case Submit() | StopRequest() | PauseRequest() | ResumeRequest():
                if self.leads:
                    self._hear_request(sender, message, now)
            case Jobs():
                return self._hear_jobs(sender, message, now)
            case End(stamp, state, reason) if not self.leads:
                self._close(stamp.job, state, reason)
            case PlanChosen() | Prepare():
                return self._hear_plan(sender, message)
            case Start(stamp, version):
                self._starts[stamp.job] = (stamp, version)
            case NodeReport():
                self._figures.hear(sender, message)
            case Committed(stamp) if not self.jobs.ended(stamp.job):
                self.committed[stamp.job] = message
            case StepReport(stamp, step) | EvalReport(stamp, step):
                self.jobs.advance(stamp.job, step)
            case _:
                pass
        return []

    def _close(self, job: JobId, state: JobState, reason: str) -> None:
        record = self.jobs.records.get(job)
        if record is not None:
            self.jobs.put(replace(record, state=state, reason=reason))

    def _hear_request(self, sender: NodeId, message: _Request, now: float) -> None:
        """Do what somebody asks; the procedure takes in what concerns the job in hand."""
        match message:
            case Submit(spec):
                listed = self.jobs.records.get(spec.job, queued(spec))
                may = sender == spec.source or self._orphans.takes(spec.job, now) or listed.state is JobState.PAUSED
                if may and listed.state not in ENDED:
                    self._specs.setdefault(spec.job, spec)
                    self.jobs.put(listed)
            case StopRequest(job, reason) if not self._in_hand(job):
                self._close(job, JobState.STOPPED, reason)
            case PauseRequest(job) if not self._in_hand(job):
                self._close(job, JobState.PAUSED, "")
            case ResumeRequest(job) if not self._in_hand(job):
                record = self.jobs.records.get(job)
                if record is not None and record.state is JobState.PAUSED:
                    self.jobs.put(replace(record, state=JobState.QUEUED))
                    self._causes[job] = "paused" if record.step else ""

    def _hear_plan(self, sender: NodeId, message: PlanChosen | Prepare) -> list[Effect]:
        """Remember the plan; the leader confirms one that it knows to run to the source that tells it."""
        known, stamp = self.plans.get(message.spec.job), message.plan.stamp
        if not self.jobs.ended(stamp.job) and (known is None or known.plan.stamp <= stamp):
            self.plans[stamp.job] = PlanChosen(message.plan, message.spec)
        if isinstance(message, Prepare):
            self._starts[stamp.job] = (stamp, message.version)
        self._confirmed |= {stamp.job} if isinstance(message, PlanChosen) and sender == self.leader else set()
        told = self.leads and sender != self.node and message == self._running_plan()
        return [SendMessage(sender, message)] if told else []

    def _hear_jobs(self, sender: NodeId, message: Jobs, now: float) -> list[Effect]:
        if message.term > self._term or (sender == self.node if self.leads else sender != self.leader):
            return []  # its own, or of a lineage that this node does not follow (yet)
        if self.leads:
            self.jobs.correct(message)
            self._begin_again()
            return self._overruled(now)
        self._introduce_at = None
        again = self.jobs.followed == (message.term, message.number)  # a leader confirms what runs, not what stands
        effects: list[Effect] = [SendMessage(sender, self.jobs.message())] if self.jobs.follow(message) else []
        quiet = self._confirmed | {record.job for record in message.jobs if again and record.state is JobState.PAUSED}
        told = [plan for job, plan in self.plans.items() if job not in quiet and self.may_tell(self.node, job)]
        effects += [SendMessage(sender, plan) for plan in told]
        waiting = [record.job for record in message.jobs if record.state is JobState.WAITING]  # perhaps for the spec
        specs = [self._spec_of(job) for job in waiting if self.may_tell(self.node, job)]
        return effects + [SendMessage(sender, Submit(spec)) for spec in specs if spec is not None]

    def _introduce(self, now: float) -> list[Effect]:
        """Tell a leader that shows no list which jobs there are, and were: its process may have begun after that."""
        due, leader = self._introduce_at, self.leader
        if due is None or leader is None or not self.jobs.records:
            self._introduce_at = None
        elif now >= due:
            self._introduce_at = now + REPEAT_SECONDS
            return [SendMessage(leader, self.jobs.message())]
        return []

    def _overruled(self, now: float) -> list[Effect]:
        """A correction may say that the job in hand is long over."""
        if self.procedure is None or not self.jobs.ended(self.procedure.record.job):
            return []
        return self.procedure.overrule(self.jobs.records[self.procedure.record.job], now)

    def _in_hand(self, job: JobId) -> bool:
        return self.procedure is not None and self.procedure.record.job == job

    def _member_changed(self, record: MemberRecord, before: MemberState | None) -> list[Effect]:
        if self._members.get(record.node, record).boot != record.boot:
            self.committed.update({job: without(told, record.node) for job, told in self.committed.items()})
        self._members[record.node] = record
        self._figures.forget()
        back = record.state is MemberState.ALIVE and before is not MemberState.ALIVE
        if not (self.leads and back and self.jobs.records) or record.node == self.node:
            return []
        return [SendMessage(record.node, self.jobs.message()), *self._plan_for([record.node])]

    def _lineage_changed(self, event: LineageChanged) -> None:
        """What a lineage that was given up has planned is void; what it has ended stays ended."""
        if event.discarded:
            self.procedure = None
            self._specs = {job: known.spec for job, known in self.plans.items()} | self._specs
            for told in (self.plans, self.committed, self._starts):
                told.clear()

    def _leader_changed(self, leader: NodeId | None, term: int, now: float) -> None:
        if (leader, term) == (self.leader, self._term):
            return
        self.leader, self._term, self._confirmed = leader, term, set()
        self.procedure = self._list_at = self._plan_at = None
        self._submissions.hasten()
        self._introduce_at = None if self.leads else now + REPEAT_SECONDS
        if not self.leads:
            self.jobs.obey(term)
            return
        self.jobs.lead(term)
        self._links = Links(self._members)
        self._orphans = Orphans(self._members, self._spec_of)
        self._version, self._told_number, self._told_plan, self._list_at = 0, -1, None, now
        self._begin_again()

    def _begin_again(self) -> None:
        """What an earlier leader had in hand, and had not brought to run, goes back to the queue."""
        for record in self.jobs.unended():
            if record.state in {JobState.PREPARING, JobState.WAITING} and not self._in_hand(record.job):
                self.jobs.put(replace(record, state=JobState.QUEUED, reason=""))
                self._causes[record.job] = "leader"

    # ---------------------------------------------------------------------------------------------- leading

    def _lead(self, now: float) -> list[Effect]:
        effects: list[Effect] = []
        self._settle()
        waiting = [r for r in self.jobs.unended() if r.state in READY and not self._in_hand(r.job)]
        for orphan in self._orphans.look(waiting, now):
            self.jobs.put(orphan)
        if self.procedure is not None and self._queue.yields(self.procedure.record, now):
            self._causes.setdefault(self.procedure.record.job, "leader" if self.procedure.record.step else "")
            self.procedure = None
        deserted = self._deserted()
        while self.procedure is None and not deserted and (record := self._queue.next() or self._held()) is not None:
            effects += self._take_up(record, now)
            self._settle()
        return effects + self._broadcast(now)

    def _settle(self) -> None:
        """Bring the list in line with the procedure; one that is through makes room."""
        if self.procedure is None:
            return
        self._version = self.procedure.version
        self.jobs.put(self.procedure.record)
        if self.procedure.stage is Stage.OVER:
            self._leavers.relieve(self.procedure.record)
            self.procedure = None

    def _take_up(self, record: JobRecord, now: float) -> list[Effect]:
        job = record.job
        known, told, spec = self.plans.get(job), self.committed.get(job), self._spec_of(job)
        live = (self._members, self._leavers, self._links, self._figures)
        lead = Surroundings(self.node, self._term, *live, self._replicas, self._interval)
        self.procedure = Procedure(record, lead, self._version, None if known is None else known.plan)
        cause = self._causes.pop(job, "")
        if record.state is JobState.RUNNING:
            stamp, version = self._starts.get(job, (None, 0))
            began = version if known is not None and stamp == known.plan.stamp else record.step
            return self.procedure.adopt(known, began, told, spec, now)
        return [] if spec is None else self.procedure.begin(spec, told, now, cause)

    def _spec_of(self, job: JobId) -> JobSpec | None:
        """Return the job as it was handed in, or as the plan that ran last names it."""
        known = self.plans.get(job)
        return self._specs.get(job, None if known is None else known.spec)

    def _spares(self, node: NodeId) -> bool:
        """Whether nothing of any job hangs on this node."""
        return self._held() is None if self.procedure is None else self.procedure.spares(node)

    def _held(self) -> JobRecord | None:
        """Return a job that stands, and of which whoever leaves may hold what nobody who stays does."""
        held = (r for r in self.jobs.unended() if r.state is JobState.PAUSED and r.step and self._leavers.hold(r.job))
        return None if self._deserted() else next((r for r in held if self._spec_of(r.job) is not None), None)

    def _deserted(self) -> bool:
        """Whether all who are there want to leave."""
        return bool(self._leavers) and self._leavers.are_all(present(self._members))

    def _broadcast(self, now: float) -> list[Effect]:
        """Tell everyone the list and the plan that runs: on a change, and when it is time."""
        effects: list[Effect] = []
        running = self._running_plan()
        if running is None:
            self._told_plan = self._plan_at = None
        elif running != self._told_plan or (self._plan_at is not None and now >= self._plan_at):
            hearers = self._others() + ([] if running == self._told_plan else [self.node])  # it may have no part in it
            self._told_plan, self._plan_at = running, now + IDLE_SECONDS
            effects += self._plan_for(hearers)
        changed = self.jobs.number != self._told_number
        if self.jobs.records and (changed or (self._list_at is not None and now >= self._list_at)):
            self._told_number = self.jobs.number
            self._list_at = now + (REPEAT_SECONDS if changed or self.jobs.unended() else IDLE_SECONDS)
            effects += [SendMessage(to, self.jobs.message()) for to in self._others()]
        self._list_at = self._list_at if self.jobs.records else None
        return effects

    def _others(self) -> list[NodeId]:
        return [n for n, m in self._members.items() if n != self.node and m.state not in GONE]

    def _running_plan(self) -> PlanChosen | None:
        if (procedure := self.procedure) is None or procedure.plan is None or procedure.spec is None:
            return None
        return PlanChosen(procedure.plan, procedure.spec) if procedure.stage in IN_FORCE else None

    def _plan_for(self, nodes: list[NodeId]) -> list[Effect]:
        if (running := self._running_plan()) is None:
            return []
        self.plans[running.spec.job] = running
        return [SendMessage(to, running) for to in nodes]

    def _forget_ended(self) -> None:
        kept = (self.plans, self.committed, self._specs, self._starts, self._causes)
        for job in {job for each in kept for job in each if self.jobs.ended(job)}:
            for each in kept:
                each.pop(job, None)
