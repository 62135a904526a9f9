"""A node's side of losing nothing: what it holds of every job, whom it sends copies, what it answers a ``Halt``.

::

    Start (every, holders)           the schedule takes a snapshot at each version that is due
    SnapshotTaken ──SendHeld──> holders ──Held──> leader        whoever holds a piece says so until it is committed
         └───────────────────────Held──────────> leader
    Committed ──> DropHeld what is older than the two newest; StoreHeld what all are to write
    HeldStored ──Stored──> leader
    Halt ──> TakeSnapshot of what stands between two steps, KeepArrived ──> SnapshotTaken ──> Inventory
    WantSnapshot ──> SendHeld or SendFirstState

Layers at a version have the same bits whoever computed them, so any piece is as good as any other. Only what is *said*
belongs to a plan: a new plan begins with nothing told and nothing sent, a new leader with nothing told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Final

from edged.core.effects import (
    DropHeld,
    Effect,
    KeepArrived,
    Log,
    SendFirstState,
    SendHeld,
    SendMessage,
    TakeSnapshot,
)
from edged.core.events import (
    Event,
    HeldFound,
    HeldLost,
    HeldStored,
    JobSubmitted,
    LeaderChanged,
    LineageChanged,
    LinkLost,
    MemberChanged,
    MembersCame,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    SnapshotTaken,
)
from edged.core.holdings import Entry
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.kept import Kept
from edged.core.messages import (
    Committed,
    Halt,
    Holding,
    HoldingKind,
    Inventory,
    MemberRecord,
    Message,
    Parcel,
    PlanChosen,
    Prepare,
    Refused,
    Start,
    StateParcel,
    WantSnapshot,
    WorkFailed,
)
from edged.core.plan import Plan, layers_in_words
from edged.core.sending import Sending
from edged.core.watch import GONE

REPEAT_SECONDS: Final = 2.0
"""What the leader has not shown to know is told again this often."""


class Keeping:
    """What ``node`` holds, job by job; the bytes are with the shell, under the same names."""

    def __init__(
        self,
        node: NodeId,
        plan_of: Callable[[JobId], PlanChosen | None],
        standing: Iterable[Callable[[Stamp], Sequence[TakeSnapshot | KeepArrived]]],
        has_program: Callable[[JobId], bool],
        has_data: Callable[[JobId], bool],
        boot: int,
    ) -> None:
        """Hold nothing.

        ``plan_of`` gives the newest known plan of a job; ``standing`` tell how to keep what plans older than a
        stamp have made or brought; ``has_program`` and ``has_data`` whether a job's program is here, and whether its
        samples can be drawn.
        """
        self.node, self._boot = node, boot
        self._plan_of, self._standing = plan_of, tuple(standing)
        self._has_program = has_program
        self._has_data = has_data
        self._jobs: dict[JobId, Kept] = {}
        self._leader: NodeId | None = None
        self._boots: dict[NodeId, int] = {}
        self._gone: set[NodeId] = set()
        self._served: set[tuple[NodeId, WantSnapshot]] = set()
        self._torn: dict[NodeId, Stamp] = {}
        self._tell_at: float | None = None

    # ------------------------------------------------------------------------------------------- contract

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then say and send what is due."""
        for kept in self._jobs.values():
            kept.try_again(now)
        effects = self._take_in(event, now)
        return effects + self._replicate(now) + self._tell(now)

    def deadline(self) -> float | None:
        """Return when to say or send something again."""
        sendings = (kept.sending for kept in self._jobs.values())
        moments = [self._tell_at, *(sending.resend_at for sending in sendings if sending is not None)]
        moments += [kept.again_at for kept in self._jobs.values()]
        return min((moment for moment in moments if moment is not None), default=None)

    def check(self) -> None:
        """Assert that every job stays within its bounds."""
        for kept in self._jobs.values():
            kept.holdings.check()
            assert kept.sending is None or kept.sending.start.stamp == kept.stamp, "copies of another plan are sent"

    def jobs(self) -> set[JobId]:
        """Return the jobs of which anything is known here."""
        return set(self._jobs)

    def holdings(self, job: JobId) -> tuple[Holding, ...]:
        """Return what is held of a job, the first weights included."""
        return self._jobs.get(job, Kept()).listed()

    def expects(self, sender: NodeId, parcel: Parcel) -> bool:
        """Whether the sender's part in the plan makes it copy this piece, and it is not here. Changes nothing."""
        if not isinstance(parcel, StateParcel) or not parcel.replica or sender == self.node:
            return False
        chosen, kept = self._plan_of(parcel.stamp.job), self._jobs.get(parcel.stamp.job)
        if chosen is None or chosen.plan.stamp != parcel.stamp or parcel.version > chosen.spec.steps:
            return False
        layers = (parcel.first_layer, parcel.last_layer)
        if not any((hop.first_layer, hop.last_layer) == layers for *_, hop in chosen.plan.hops_of(sender)):
            return False
        return kept is None or kept.holdings.wants(*layers, parcel.version)

    def stand(self, job: JobId, version: int) -> list[Effect]:
        """The job is paused at this version: what is held of it goes to disk, once. All may be switched off now."""
        kept = self._jobs.get(job)
        return [] if kept is None else [*kept.put_down(version)]

    def part(self) -> list[Effect]:
        """This node goes, once the newest that it holds is on the disk: all others may go as well."""
        return [effect for kept in self._jobs.values() for effect in kept.part()]

    def drop(self, job: JobId) -> list[Effect]:
        """Forget the job, which is over."""
        kept = self._jobs.pop(job, None)
        self._served = {(node, want) for node, want in self._served if want.stamp.job != job}
        self._torn = {node: stamp for node, stamp in self._torn.items() if stamp.job != job}
        versions = () if kept is None else tuple(sorted(kept.holdings.versions()))
        return [DropHeld(job, versions)] if versions else []

    # --------------------------------------------------------------------------------------------- taking in

    def _take_in(self, event: Event, now: float) -> list[Effect]:
        match event:
            case MessageReceived(sender, message):
                return self._hear(sender, message, now)
            case SnapshotTaken():
                return self._snapshot_taken(event, now)
            case ParcelArrived(sender, StateParcel(replica=True) as parcel) if self.expects(sender, parcel):
                return self._replica_came(parcel, now)
            case HeldFound(job, holdings, spec=spec):
                kept = self._job(job)
                kept.spec = kept.spec or spec
                kept.holdings.disk.found(holdings)
            case HeldStored(job, version, problem) if job in self._jobs:
                self._tell_at = now
                return [*self._jobs[job].written(version, problem, now)]
            case HeldLost(job, layers, reason) if job in self._jobs:
                self._jobs[job].lose(layers)
                return [Log("warning", "keeping", f"{_in_words(layers)} cannot be read from disk: {reason}")]
            case JobSubmitted(spec):
                kept = self._job(spec.job)
                kept.spec, kept.home = spec, True
            case LeaderChanged(leader):
                return self._led_by(leader, now)
            case _:
                self._notice(event, now)
        return []

    def _notice(self, event: Event, now: float) -> None:
        """Who is there, what was lost."""
        match event:
            case ParcelLost(node, parcel):
                self._lost(node, parcel, now)
            case LinkLost(node):
                self._parted(node)
            case MemberChanged() | MembersCame():
                for record in event.records:
                    self._member_changed(record)
            case LineageChanged(discarded=discarded) if discarded:
                for kept in self._jobs.values():
                    kept.stamp = kept.halted_by = kept.sending = None
                    kept.holdings.follow(None)
                    kept.unheard()
            case _:
                pass

    def _hear(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case Halt(stamp):
                return self._halt(sender, stamp)
            case Prepare(plan, spec) | PlanChosen(plan, spec):
                kept = self._follow(plan.stamp)
                kept.spec, kept.halted_by, self._tell_at = spec, None, now
                if spec.asynchronous and kept.stamp == plan.stamp:
                    return self._let_go(spec.job, kept.holdings.begin(plan))
            case Start():
                self._started(message, now)
            case Committed():
                return self._committed(message, now)
            case WantSnapshot():
                return self._serve(sender, message)
        return []

    def _job(self, job: JobId) -> Kept:
        return self._jobs.setdefault(job, Kept())

    def _follow(self, stamp: Stamp) -> Kept:
        """The leader has named this plan: what was said and sent under an older one counts no more."""
        kept = self._job(stamp.job)
        if kept.stamp is None or kept.stamp < stamp:
            kept.stamp, kept.sending = stamp, None
            kept.holdings.follow(stamp)
            kept.unheard()
        return kept

    # ---------------------------------------------------------------------------------------------- the halt

    def _halt(self, sender: NodeId, stamp: Stamp) -> list[Effect]:
        """Copy what is live while it stands still, keep what has come, then say what is held; again, only say it."""
        kept = self._follow(stamp)
        kept.halted_by = sender
        effects: list[Effect] = []
        for copy in (each for stands in self._standing for each in stands(stamp)):
            piece = (copy.first_layer, copy.last_layer, copy.version)
            if piece not in kept.taking and not kept.holdings.covers(*piece):
                kept.taking.add(piece)
                effects.append(copy)
        return effects + self._inventory(kept)

    def _inventory(self, kept: Kept) -> list[Effect]:
        """Answer the newest ``Halt``, unless a copy is still being made for it or a plan has followed."""
        if kept.halted_by is None or kept.stamp is None or kept.taking:
            return []
        job = kept.stamp.job
        inventory = Inventory(kept.stamp, kept.listed(), self._has_program(job), self._has_data(job))
        return [SendMessage(kept.halted_by, inventory)]

    def _led_by(self, leader: NodeId | None, now: float) -> list[Effect]:
        """Whoever leads now has been told nothing, and may not know that an earlier leader has halted a plan."""
        self._leader, self._tell_at = leader, now
        effects: list[Effect] = []
        for kept in self._jobs.values():
            kept.unheard()
            if leader is not None and kept.halted_by is not None:
                kept.halted_by = leader
                effects += self._inventory(kept)
        return effects

    def _snapshot_taken(self, taken: SnapshotTaken, now: float) -> list[Effect]:
        job, piece = taken.stamp.job, (taken.first_layer, taken.last_layer, taken.version)
        kept = self._jobs.get(job)
        if kept is None:  # the job is over; nothing is to be left of it
            return [] if taken.problem else [DropHeld(job, (taken.version,))]
        kept.taking.discard(piece)
        effects: list[Effect] = []
        if taken.problem:
            effects.append(Log("warning", "keeping", f"version {taken.version} is not copied: {taken.problem}"))
        else:
            held = Entry(HoldingKind.SNAPSHOT, taken.stamp, taken.seconds, taken.size_bytes)
            effects += self._let_go(job, kept.holdings.keep(piece, held))
            self._tell_at = now
        return effects + self._inventory(kept)

    # --------------------------------------------------------------------------------------- copies for others

    def _started(self, start: Start, now: float) -> None:
        kept = self._follow(start.stamp)
        if kept.stamp != start.stamp:  # a new leader adopts a plan, and has not heard that there is a newer one
            return
        kept.halted_by, kept.holdings.every, kept.holdings.start = None, max(1, start.every), start.version
        if kept.sending is None:
            kept.sending, self._tell_at = Sending(start), now
            self._served.clear()  # all have what they built from; who asks from now on wants what is kept
        kept.sending.follow(start)

    def _replicate(self, now: float) -> list[Effect]:
        """Send the newest of this node's own layers to the holders that were not sent it."""
        effects: list[Effect] = []
        for job, kept in self._jobs.items():
            plan = self._plan_in_force(job, kept)
            if kept.sending is not None and plan is not None:
                effects += kept.sending.due(kept.newest(plan, self.node), self._gone, now)
        return effects

    def _replica_came(self, parcel: StateParcel, now: float) -> list[Effect]:
        kept = self._follow(parcel.stamp)
        size = sum(tensor.size_bytes for tensor in parcel.tensors) + len(parcel.extra)
        piece = (parcel.first_layer, parcel.last_layer, parcel.version)
        self._tell_at = now
        entry = Entry(HoldingKind.REPLICA, parcel.stamp, 0.0, size)
        return self._let_go(parcel.stamp.job, kept.holdings.keep(piece, entry))

    def _committed(self, word: Committed, now: float) -> list[Effect]:
        """Clean up behind a version that all who should hold; write what all are to write."""
        kept, job = self._follow(word.stamp), word.stamp.job
        kept.holdings.every = max(1, word.every)
        if word.version < 0:
            return []
        if word.stored >= 0:
            kept.holdings.disk.stored(word.stored)
        if kept.storing != word.storing:
            kept.storing, self._tell_at = word.storing, now
        effects = kept.store(word.storing)  # before memory lets it go
        lying = frozenset((each.first_layer, each.last_layer) for each in word.layers if self.node in each.holders)
        if (kept.committed, kept.counted) != (word.version, lying):
            kept.committed, kept.counted, self._tell_at = word.version, lying, self._tell_at or now
        if kept.sending is not None:
            kept.sending.commit(word)
        return effects + self._let_go(job, kept.holdings.commit(word.version))

    def _serve(self, sender: NodeId, want: WantSnapshot) -> list[Effect]:
        """Hand out what an ``Inventory`` named, each question once as long as the session lasts."""
        kept, first, last = self._jobs.get(want.stamp.job), want.first_layer, want.last_layer
        if kept is not None and kept.holdings.covers(first, last, want.version):
            answer: Effect = SendHeld(sender, want.stamp, first, last, want.version, replica=False)
        elif kept is not None and kept.home and want.version == 0:
            answer = SendFirstState(sender, want.stamp, first, last)
        else:
            reason = f"node {self.node} does not hold {layers_in_words(first, last)} at version {want.version}"
            return [SendMessage(sender, Refused(want.stamp.job, reason, want.version))]
        if (sender, want) in self._served:
            return []
        self._served.add((sender, want))
        return [answer, *self._tell_torn(sender, want)]

    def _tell_torn(self, sender: NodeId, want: WantSnapshot) -> list[Effect]:
        """Whoever asks again for what was lost on the way lives, and the connection to it does not."""
        if self._torn.pop(sender, None) != want.stamp or self._leader is None:
            return []
        reason = "the connection broke while layers went over it"
        return [SendMessage(self._leader, WorkFailed(want.stamp, reason, final=False, peer=sender))]

    # ------------------------------------------------------------------------------------ who is there and not

    def _lost(self, node: NodeId, parcel: Parcel, now: float) -> None:
        self._parted(node)
        if not isinstance(parcel, StateParcel):
            return
        if not parcel.replica:
            self._torn[node] = parcel.stamp
            return
        kept = self._jobs.get(parcel.stamp.job)
        if kept is not None and kept.sending is not None and kept.stamp == parcel.stamp:
            kept.sending.lose(node, (parcel.first_layer, parcel.last_layer), parcel.version, now)

    def _parted(self, node: NodeId) -> None:
        """What was on its way to this node may be lost, and it may ask again."""
        self._served = {(other, want) for other, want in self._served if other != node}

    def _member_changed(self, record: MemberRecord) -> None:
        node = record.node
        changed = self._boots.get(node, record.boot) != record.boot
        self._boots[node] = record.boot
        if record.state in GONE:
            self._gone.add(node)
        else:
            self._gone.discard(node)
        if record.state in GONE or changed:
            self._parted(node)
            for kept in self._jobs.values():
                if kept.sending is not None:
                    kept.sending.forget(node)

    # ------------------------------------------------------------------------------------------- telling

    def _tell(self, now: float) -> list[Effect]:
        """Tell the leader what it has not shown to know: now that something is new, and again."""
        if self._tell_at is None or now < self._tell_at:
            return []
        plans = ((self._plan_in_force(job, kept), kept) for job, kept in self._jobs.items())
        messages = [message for plan, kept in plans if plan is not None for message in kept.untold(plan, self._boot)]
        self._tell_at = now + REPEAT_SECONDS if messages and self._leader is not None else None
        return [] if self._leader is None else [SendMessage(self._leader, message) for message in messages]

    # --------------------------------------------------------------------------------------------- small parts

    def _plan_in_force(self, job: JobId, kept: Kept) -> Plan | None:
        """The newest plan named, if it is known as well."""
        chosen = self._plan_of(job)
        return chosen.plan if chosen is not None and chosen.plan.stamp == kept.stamp else None

    @staticmethod
    def _let_go(job: JobId, versions: tuple[int, ...]) -> list[Effect]:
        return [DropHeld(job, versions)] if versions else []


def _in_words(held: Holding) -> str:
    what = "the first weights" if held.kind is HoldingKind.FIRST else f"version {held.version}"
    return f"{what} of {layers_in_words(held.first_layer, held.last_layer)}"
