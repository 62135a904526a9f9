"""A whole node: the machines composed, and what passes between them.

::

    event --> fence --> membership --TellMember--> +-----------------+
                |       election   --TellLeader--> | jobs            |
                |                                  | migration       |
                |                                  | keeping sharing | --> effects
                |                                  | leaving pausing |
                +--------------------------------> | running         |
                                                   +-----------------+
    a message that a node sends to itself goes round inside, in the same ``handle``

Nothing is decided here but who hears what. A plan's machines begin when its stages are built and its ``Start`` has
come; they end with ``Halt``, once what is live and stands still has been copied; everything of a job goes when the list
says that it is over.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from edged.core.audience import ELECTION, MEMBERSHIP, OF_CLUSTER, OF_PARCELS, hearers
from edged.core.effects import DropJob, Effect, SendMessage, TellLeader, TellLineage, TellMember, TellReach
from edged.core.election import Election
from edged.core.electorate import SavedVote
from edged.core.events import (
    Event,
    LeaderChanged,
    LeaveAsked,
    LineageChanged,
    MemberChanged,
    MembersCame,
    MessageReceived,
    ReachChanged,
    StagesBuilt,
    TimerFired,
)
from edged.core.expelling import Expelling
from edged.core.guard import Guard
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.inventory import transfer_seconds
from edged.core.job import JobSpec
from edged.core.jobs import JobBoard
from edged.core.keeping import Keeping
from edged.core.keyring import Keyring
from edged.core.leaving import Leaving
from edged.core.membership import Membership, MembershipOptions
from edged.core.messages import (
    Halt,
    JobRecord,
    JobState,
    MemberRecord,
    Message,
    Parcel,
    PlanChosen,
    Prepare,
    Start,
    WorkFailed,
)
from edged.core.migration import Migration
from edged.core.pausing import Pausing
from edged.core.protection import Interval, unmeasured
from edged.core.reach import Reach
from edged.core.running import Running
from edged.core.sharing import Sharing
from edged.core.voter import ElectionOptions
from edged.errors import BrokenInvariantError

MOST_EVENTS = 10_000
"""More events than this inside one ``handle``, and so many for each member, mean that the machines talk in circles."""

MOST_FOR_EACH = 10

_Machine = (
    Membership
    | Election
    | JobBoard
    | Migration
    | Keeping
    | Sharing
    | Leaving
    | Pausing
    | Reach
    | Expelling
    | Keyring
    | Running
)


@dataclass(frozen=True, slots=True)
class NodeOptions:
    """The options of the machines that have any.

    ``interval`` chooses how often a job's state is copied, from the seconds that a copy and a step take; ``replicas``
    is how many other nodes of a plan hold each node's layers.
    """

    membership: MembershipOptions = field(default_factory=MembershipOptions)
    election: ElectionOptions = field(default_factory=ElectionOptions)
    interval: Interval = unmeasured
    replicas: int = 1


class Node:
    """One node as a pure machine: ``handle(event, now)`` gives the effects, ``deadline()`` the next moment.

    ``membership``, ``election``, ``board`` (jobs), ``migration``, ``keeping``, ``sharing``, ``leaving``, ``keyring``
    and ``running`` are for reading by status and tests.
    """

    def __init__(
        self,
        record: MemberRecord,
        options: NodeOptions,
        rng: Random,
        saved: SavedVote | None = None,
        known: Iterable[MemberRecord] = (),
        watch: Callable[[Event], None] | None = None,
        listed: Iterable[JobRecord] = (),
    ) -> None:
        """Compose the machines.

        ``saved`` is what was last written for ``SaveVote``, if anything; ``known`` are members remembered from before.
        ``listed`` is what was last written for ``SaveJobs``.
        ``watch`` is shown every event that passed the fence, once the machines have read it, their own included.
        """
        self.node = record.node
        self.membership = Membership(record, options.membership, rng, known)
        self.election = Election(record.node, options.election, rng, saved, self._steps_done)
        self.board = JobBoard(record, interval=options.interval, replicas=options.replicas, listed=listed)
        self.migration = Migration(record.node)
        self.running = Running(
            record.node, lambda: tuple(member.node for member in self.membership.alive()), self._record_of
        )
        self._guard = Guard(self.board, self._name_of)
        self.fence = self._guard.fence
        plan_of = self.board.plans.get
        self.sharing = Sharing(record.node, plan_of)
        stands = (self.running.standing, self.migration.arrived)
        self.keeping = Keeping(record.node, plan_of, stands, self.migration.has_program, self.sharing.has, record.boot)
        self.leaving = Leaving(record.node, lambda: self.board.leader, self._is_needed, self._moving_seconds)
        self.keyring = Keyring(record.node, self._name_of)
        self._machines: tuple[_Machine, ...] = (
            self.membership,
            self.election,
            self.board,
            self.migration,
            self.keeping,
            self.sharing,
            self.leaving,
            Pausing(self.board.jobs),
            Reach(),
            Expelling(record.node, self.membership.members),
            self.keyring,
            self.running,
        )
        self._deadlines = [_moment(machine) for machine in self._machines]
        self._watch = watch
        self._says_goodbye = False

    # ------------------------------------------------------------------------------------------- contract

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Let every machine that it concerns take in ``event``, and whatever they tell each other about it."""
        out: list[Effect] = []
        events = deque([event])
        handled = 0
        while events:
            handled += 1
            if handled > MOST_EVENTS and handled > MOST_FOR_EACH * len(self.membership.members):
                raise BrokenInvariantError(f"node {self.node}: {type(event).__name__} never comes to an end")
            came: list[MemberRecord] = []
            for effect in self._dispatch(events.popleft(), now):
                if type(effect) is SendMessage:
                    if effect.to == self.node:
                        events.append(MessageReceived(self.node, effect.message))
                        continue
                elif type(effect) is TellMember and effect.before is None:
                    came.append(effect.record)
                elif (told := _told(effect)) is not None:
                    events.append(told)
                out.append(effect)
            if came:
                events.append(MembersCame(tuple(came)))
        return out

    def expects(self, sender: NodeId, parcel: Parcel) -> bool:
        """Whether this node has asked ``sender`` for this parcel, or its plan makes it wait for it, and has it not yet.

        Changes nothing: it is asked before memory is taken for a parcel.
        """
        if self.fence.refusal(parcel):
            return False
        readers = (self.migration, self.keeping, self.sharing, self.running)
        return any(reader.expects(sender, parcel) for reader in readers)

    def spec_of(self, job: JobId) -> JobSpec | None:
        """Return a job as the newest known plan of it has it, while it is not over."""
        chosen = self.board.plans.get(job)
        return None if chosen is None else chosen.spec

    def deadline(self) -> float | None:
        """Return the earliest moment at which some machine wants to be woken."""
        earliest = min(self._deadlines)
        return earliest if earliest < math.inf else None

    def check(self) -> None:
        """Assert the invariants of every machine, and those between them."""
        for machine, deadline in zip(self._machines, self._deadlines, strict=True):
            machine.check()
            assert deadline == _moment(machine), f"{type(machine).__name__} would be woken at the wrong moment"
        self.fence.check()
        preparation = self.migration.preparation
        if self.running.stamp is not None:
            assert preparation is not None, "a plan runs that was never prepared"
            assert preparation.stamp == self.running.stamp, "what runs and what is prepared are different plans"
        for job in self._jobs():
            assert not self.board.jobs.ended(job), f"something is left of job {job}, which is over"

    # ------------------------------------------------------------------------------------- who hears what

    def _dispatch(self, event: Event, now: float) -> list[Effect]:
        audience: Sequence[int]
        if isinstance(event, TimerFired):
            audience = [index for index, moment in enumerate(self._deadlines) if moment <= now]
        else:
            audience = hearers(event)
        of_jobs = not OF_CLUSTER.issuperset(audience)
        if of_jobs and (refusal := self._guard.refusal(event)):
            return self._guard.tell(refusal)
        effects: list[Effect] = []
        for index in audience:
            machine = self._machines[index]
            effects += machine.handle(event, now)
            self._deadlines[index] = _moment(machine)
        if of_jobs:
            effects += self._see_to_jobs(event, now)
        if self._watch is not None:
            self._watch(event)
        return effects

    def _see_to_jobs(self, event: Event, now: float) -> list[Effect]:
        """What follows from an event for this node's part in jobs, once the machines have heard it."""
        effects: list[Effect] = []
        if isinstance(event, LineageChanged) and event.discarded:
            effects += self._give_up_plans()
        elif isinstance(event, StagesBuilt):
            effects += self._stages_built(event, now)
        elif isinstance(event, MessageReceived):
            effects += self._hear_of_plan(event.message, now)
        effects += self._say_goodbye(now)
        return effects + self._drop_what_is_over() + self._write_what_stands()

    def _record_of(self, node: NodeId) -> MemberRecord | None:
        return self.membership.members.get(node)

    def _name_of(self, node: NodeId) -> str:
        record = self._record_of(node)
        return node if record is None else record.name

    # -------------------------------------------------------------------------------- a plan's machines

    def _stages_built(self, built: StagesBuilt, now: float) -> list[Effect]:
        preparation = self.migration.preparation
        if preparation is None or preparation.stamp != built.stamp or built.problem:
            return []
        plan, spec = preparation.prepare.plan, preparation.prepare.spec
        effects = self.running.ready(plan, spec, preparation.version, now)
        self._rewind()
        return effects

    def _hear_of_plan(self, message: Message, now: float) -> list[Effect]:
        match message:
            case Prepare(plan) if self.running.stamp not in {None, plan.stamp}:
                self.running.drop()
                effects: list[Effect] = []
            case Halt(stamp):  # what is live has been copied first, by keeping
                self.running.halt(stamp)
                effects = self.migration.halt(stamp)
            case Start(stamp) if (prepare := self.migration.holds(stamp)) is not None:
                effects = self.running.start(prepare.plan, prepare.spec, message, now)
            case PlanChosen(plan, spec) if self.node in {spec.source, *plan.nodes()}:
                effects = self._must_hold(plan.stamp)
            case _:
                return []
        self._rewind()
        return effects

    def _must_hold(self, stamp: Stamp) -> list[Effect]:
        """A plan counts on this node: if it has nothing of it, this process began after the plan."""
        leader = self.board.leader
        if leader is None or self.board.jobs.ended(stamp.job) or self.migration.holds(stamp) is not None:
            return []
        reason = f"node {self.membership.own.name} was restarted; what it held of the job is lost"
        return [SendMessage(leader, WorkFailed(stamp, reason, final=False, peer=self.node))]

    def _rewind(self) -> None:
        """Note the moments of the plan's machines anew."""
        for index in OF_PARCELS:
            self._deadlines[index] = _moment(self._machines[index])

    def _give_up_plans(self) -> list[Effect]:
        """What a discarded lineage planned is void, though its stamps may be higher than those of the other.

        What is held stays: a layer at a version has the same bits, whoever computed it.
        """
        self.fence.forget()
        self.running.drop()
        effects = self.migration.give_up()
        self._rewind()
        return effects

    def _steps_done(self) -> int:
        """Steps of all jobs on the list: what this node's lineage would lose."""
        return sum(record.step for record in self.board.jobs.records.values())

    def _is_needed(self) -> bool:
        """Whether there are others, and jobs that are not over."""
        return len(self.membership.alive()) > 1 and bool(self.board.jobs.unended())

    def _moving_seconds(self) -> float:
        """How long the layers that move just now are granted; 0.0 if none do.

        Those of jobs that stand move where nothing else is to be done.
        """
        unended = self.board.jobs.unended()
        stands = all(record.state is JobState.PAUSED for record in unended)
        moving = {record.job for record in unended if stands or record.state is JobState.PREPARING}
        granted = (transfer_seconds(known.spec) for job, known in self.board.plans.items() if job in moving)
        return max(granted, default=0.0)

    def _say_goodbye(self, now: float) -> list[Effect]:
        """Nothing holds this node any more: it leads no more, and membership tells the others."""
        if not self.leaving.goes or self._says_goodbye:
            return []
        self._says_goodbye = True
        effects: list[Effect] = [*self.keeping.part()]
        for index in (ELECTION, MEMBERSHIP):
            effects += self._machines[index].handle(LeaveAsked(), now)
            self._deadlines[index] = _moment(self._machines[index])
        return effects

    def _jobs(self) -> set[JobId]:
        """Every job of which this node holds anything."""
        return self.migration.jobs() | self.keeping.jobs() | self.sharing.jobs()

    def _write_what_stands(self) -> list[Effect]:
        """A paused job goes on from the very version at which it stands, also if all nodes are switched off."""
        standing = (record for record in self.board.jobs.records.values() if record.state is JobState.PAUSED)
        return [effect for record in standing for effect in self.keeping.stand(record.job, record.step)]

    def _drop_what_is_over(self) -> list[Effect]:
        """Whatever this node holds of a job goes as soon as the list says that it has ended."""
        effects: list[Effect] = []
        for job in sorted(job for job in self._jobs() if self.board.jobs.ended(job)):
            if self.running.stamp is not None and self.running.stamp.job == job:
                self.running.drop()
            self.running.forget(job)
            effects += [*self.migration.drop(job), *self.keeping.drop(job), DropJob(job)]
            self.sharing.drop(job)
            self._rewind()
        return effects


def _moment(machine: _Machine) -> float:
    moment = machine.deadline()
    return math.inf if moment is None else moment


def _told(effect: Effect) -> Event | None:
    """What the other machines hear of it."""
    match effect:
        case TellMember(record, before, reason):
            return MemberChanged(record, before, reason)
        case TellLeader(leader, term):
            return LeaderChanged(leader, term)
        case TellLineage(lineage, tentative, discarded):
            return LineageChanged(lineage, tentative, discarded)
        case TellReach(nodes):
            return ReachChanged(nodes)
        case _:
            return None
