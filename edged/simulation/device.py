"""The shell of one simulated device: it computes, copies, writes and sends in no more than time.

It does what the roles do, in their order; there are no tensors, only their sizes. ``Home`` is what lies on the disk and
survives the process.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from edged.core.effects import (
    BuildStages,
    CopyData,
    DrawSample,
    DropHeld,
    DropJob,
    DropStages,
    Effect,
    KeepArrived,
    RunBackward,
    RunForward,
    RunUpdate,
    SaveJobs,
    SaveVote,
    SendActivation,
    SendFirstState,
    SendGradient,
    SendHeld,
    SendInputs,
    SendProgram,
    SendState,
    StoreHeld,
    TakeNorms,
    TakeSnapshot,
    WriteWeights,
)
from edged.core.electorate import SavedVote
from edged.core.events import (
    BackwardDone,
    DataCopied,
    Event,
    ForwardDone,
    HeldFound,
    HeldStored,
    JobSubmitted,
    NormsTaken,
    ParcelArrived,
    ParcelRefused,
    ProgramLoaded,
    SampleDrawn,
    SnapshotTaken,
    StagesBuilt,
    UpdateDone,
    WeightsWritten,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import (
    Activation,
    DataParcel,
    Gradient,
    Holding,
    HoldingKind,
    Inputs,
    JobRecord,
    Parcel,
    ProgramParcel,
    StateParcel,
)
from edged.core.node import Node
from edged.core.plan import Plan
from edged.core.simulate import Simulation
from edged.simulation.freight import Freight
from edged.strategies.figures import Figures

PROGRAM_BYTES = 200_000
COPIED_BYTES_PER_SECOND = 2e9
WRITTEN_BYTES_PER_SECOND = 50e6
BUILD_SECONDS = 0.2
DRAW_SECONDS = 0.001

Piece = tuple[int, int, int]
"""First layer, last layer, weight version."""


@dataclass(slots=True)
class Home:
    """What lies on a device's disk. ``spool``: the jobs that were handed in here."""

    boot: int = 0
    saved: SavedVote | None = None
    listed: tuple[JobRecord, ...] = ()
    spool: dict[JobId, JobSpec] = field(default_factory=dict)
    specs: dict[JobId, JobSpec] = field(default_factory=dict)
    held: dict[JobId, dict[Piece, tuple[int, int]]] = field(default_factory=dict)
    samples: set[JobId] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class Setting:
    """What all devices of one simulation share. ``figures``: seconds on the source, and bytes; by job."""

    simulation: Simulation
    freight: Freight
    figures: Mapping[JobId, Figures]
    data_bytes: int


class Device:
    """One process on one device. ``slowness``: how many times longer than on the source everything takes."""

    def __init__(self, node: NodeId, home: Home, setting: Setting, slowness: float) -> None:
        """Begin; ``attach`` the machine before anything happens."""
        self.node = node
        self.home = home
        self.slowness = slowness
        self.ended = False
        self._setting = setting
        self._simulation = setting.simulation
        self._machine: Node | None = None
        self._waiting: list[Callable[[], None]] = []
        self._plans: dict[Stamp, Plan] = {}
        self._memory: dict[JobId, set[Piece]] = {}
        self._compute_free = self._disk_free = 0.0
        self._table: dict[type, Callable[[Any], None]] = {
            BuildStages: self._build,
            DropStages: self._drop_stages,
            DropJob: self._drop_job,
            RunForward: self._forward,
            RunBackward: self._backward,
            TakeNorms: self._norms,
            RunUpdate: self._update,
            SendActivation: self._activation,
            SendGradient: self._gradient,
            SendInputs: self._inputs,
            DrawSample: self._draw,
            TakeSnapshot: self._snapshot,
            KeepArrived: self._keep_arrived,
            DropHeld: self._drop_held,
            StoreHeld: self._store,
            SendHeld: self._send_state,
            SendState: self._send_state,
            SendFirstState: self._send_state,
            SendProgram: self._send_program,
            CopyData: self._copy_data,
            WriteWeights: self._write_weights,
            SaveVote: self._save_vote,
            SaveJobs: self._save_jobs,
        }

    def attach(self, machine: Node) -> None:
        """Tell the core what lies on the disk."""
        self._machine = machine
        for job in sorted(self.home.held.keys() | self.home.samples):
            held = self.home.held.get(job, {})
            holdings = [Holding(*piece, HoldingKind.DISK, origin) for piece, origin in held.items()]
            data, spec = job in self.home.samples, self.home.specs.get(job)
            there = bool(holdings)
            self._post(HeldFound(job, tuple(sorted(holdings, key=str)), program=there, data=data, spec=spec))
            self._post(ProgramLoaded(job))
        for spec in self.home.spool.values():
            self._post(JobSubmitted(spec))

    def perform(self, effect: Effect) -> None:
        """Do what the core has decided."""
        method = self._table.get(type(effect))
        if method is not None:
            method(effect)

    def take(self, sender: NodeId, parcel: Parcel) -> None:
        """A parcel is complete: the core is asked whether it is wanted, then told."""
        if self._simulation.hosts[self.node].paused_at is not None:
            self._waiting.append(lambda: self.take(sender, parcel))
            return
        if self._machine is None or not self._machine.expects(sender, parcel):
            self._post(ParcelRefused(sender, parcel))
            return
        if isinstance(parcel, DataParcel):
            self.home.samples.add(parcel.job)
            self._write(self._setting.data_bytes, lambda: DataCopied(parcel.job))
            return
        if isinstance(parcel, StateParcel) and parcel.replica:
            self._hold(parcel.stamp.job, (parcel.first_layer, parcel.last_layer, parcel.version))
        self._post(ParcelArrived(sender, parcel))

    def go_on(self) -> None:
        """The process was stopped, and continues: what waited for it comes first."""
        waiting, self._waiting = self._waiting, []
        for happen in waiting:
            happen()

    # ------------------------------------------------------------------------------------------- what takes time

    def _post(self, event: Event) -> None:
        self._simulation.post(self.node, event)

    def _later(self, moment: float, happen: Callable[[], None]) -> None:
        """In this process, if it still lives then; one that is stopped does it when it goes on."""

        def call() -> None:
            if self.ended:
                return
            if self._simulation.hosts[self.node].paused_at is None:
                happen()
            else:
                self._waiting.append(happen)

        self._simulation.at(moment, call)

    def _compute(self, seconds: float, answer: Callable[[], Event]) -> None:
        """One after the other, on the one compute thread."""
        self._compute_free = max(self._compute_free, self._simulation.now) + seconds * self.slowness
        self._later(self._compute_free, lambda: self._post(answer()))

    def _write(self, size_bytes: int, answer: Callable[[], Event]) -> None:
        begin = max(self._disk_free, self._simulation.now)
        self._disk_free = begin + size_bytes / WRITTEN_BYTES_PER_SECOND
        self._later(self._disk_free, lambda: self._post(answer()))

    def _send(self, to: NodeId, parcel: Parcel, size_bytes: int) -> None:
        self._setting.freight.send(self.node, to, parcel, size_bytes)

    def _state_bytes(self, job: JobId, first: int, last: int) -> int:
        return self._setting.figures[job].state_bytes(first, last)

    # ---------------------------------------------------------------------------------------------------- stages

    def _build(self, effect: BuildStages) -> None:
        stamp = effect.plan.stamp
        self._plans[stamp] = effect.plan
        self._compute(BUILD_SECONDS, lambda: StagesBuilt(stamp, ""))

    def _drop_stages(self, effect: DropStages) -> None:
        self._plans.pop(effect.stamp, None)
        self._setting.freight.forget(self.node, effect.stamp)

    def _drop_job(self, effect: DropJob) -> None:
        for kept in (self._memory, self.home.held, self.home.specs, self.home.spool):
            kept.pop(effect.job, None)
        self.home.samples.discard(effect.job)

    def _share(self, job: JobId, work: Work) -> float:
        """How large this micro-batch is, of a full one."""
        spec = self._setting.figures[job].spec
        return spec.sizes(work.version, work.phase)[work.micro_batch] / spec.micro_batch_size

    def _forward(self, effect: RunForward) -> None:
        stamp, route, h, work = effect.stamp, effect.route, effect.hop, effect.work
        hops = self._plans[stamp].routes[route].hops
        stretch = self._setting.figures[stamp.job].stretch(self.node, hops[h].first_layer, hops[h].last_layer)
        seconds = stretch.forward * self._share(stamp.job, work)
        loss = 1.0 if h + 1 == len(hops) else None
        self._compute(seconds, lambda: ForwardDone(stamp, route, h, work, seconds * self.slowness, loss, ()))

    def _backward(self, effect: RunBackward) -> None:
        stamp, route, h, work = effect.stamp, effect.route, effect.hop, effect.work
        hop = self._plans[stamp].routes[route].hops[h]
        stretch = self._setting.figures[stamp.job].stretch(self.node, hop.first_layer, hop.last_layer)
        seconds = stretch.backward * self._share(stamp.job, work)
        self._compute(seconds, lambda: BackwardDone(stamp, route, h, work, seconds * self.slowness))

    def _norms(self, effect: TakeNorms) -> None:
        self._compute(self._flush_seconds(effect.stamp)[0], lambda: NormsTaken(effect.stamp, effect.version, ()))

    def _update(self, effect: RunUpdate) -> None:
        seconds = self._flush_seconds(effect.stamp)[1]
        self._compute(seconds, lambda: UpdateDone(effect.stamp, effect.version, seconds * self.slowness, 0.1))

    def _flush_seconds(self, stamp: Stamp) -> tuple[float, float]:
        ranges = {(hop.first_layer, hop.last_layer) for _, _, hop in self._plans[stamp].hops_of(self.node)}
        flush = self._setting.figures[stamp.job].flush(self.node, sorted(ranges))
        return flush.norms, flush.update

    # ---------------------------------------------------------------------------------------------- between hops

    def _crossing(self, stamp: Stamp, route: int, hop: int) -> int:
        first = self._plans[stamp].routes[route].hops[hop].first_layer
        return self._setting.figures[stamp.job].spec.layers[first - 1].crossing_bytes

    def _activation(self, effect: SendActivation) -> None:
        stamp, route, hop = effect.stamp, effect.route, effect.hop + 1
        header = Activation(stamp, route, hop, effect.work, (), ())
        self._send(effect.to, header, self._crossing(stamp, route, hop))

    def _gradient(self, effect: SendGradient) -> None:
        stamp, route, hop = effect.stamp, effect.route, effect.hop
        self._send(effect.to, Gradient(stamp, route, hop - 1, effect.work, ()), self._crossing(stamp, route, hop))

    def _draw(self, effect: DrawSample) -> None:
        self._later(self._simulation.now + DRAW_SECONDS, lambda: self._post(SampleDrawn(effect.job, effect.work)))

    def _inputs(self, effect: SendInputs) -> None:
        stamp, route, hop, work = effect.stamp, effect.route, effect.hop, effect.work
        size = self._setting.figures[stamp.job].input_bytes(0, 0) if hop == 0 else 0
        self._send(effect.to, Inputs(stamp, route, hop, work, ()), size or 0)

    # ---------------------------------------------------------------------------------------------------- copies

    def _hold(self, job: JobId, piece: Piece) -> None:
        self._memory.setdefault(job, set()).add(piece)

    def _snapshot(self, effect: TakeSnapshot) -> None:
        job, piece = effect.stamp.job, (effect.first_layer, effect.last_layer, effect.version)
        size = self._state_bytes(job, *piece[:2])
        seconds = size / COPIED_BYTES_PER_SECOND

        def taken() -> Event:
            self._hold(job, piece)
            return SnapshotTaken(effect.stamp, *piece, seconds * self.slowness, size, "")

        self._compute(seconds, taken)

    def _keep_arrived(self, effect: KeepArrived) -> None:
        piece = (effect.first_layer, effect.last_layer, effect.version)
        self._hold(effect.stamp.job, piece)
        self._post(SnapshotTaken(effect.stamp, *piece, 0.0, self._state_bytes(effect.stamp.job, *piece[:2]), ""))

    def _drop_held(self, effect: DropHeld) -> None:
        kept = self._memory.get(effect.job, set())
        self._memory[effect.job] = {piece for piece in kept if piece[2] not in effect.versions}

    def _store(self, effect: StoreHeld) -> None:
        job, version = effect.spec.job, effect.version
        pieces = {piece for piece in self._memory.get(job, ()) if piece[2] == version}

        def written() -> Event:
            held = self.home.held.get(job, {}).items()
            stays = {p: its for p, its in held if p[2] in effect.keep or (p[2] == version and its == effect.origin)}
            self.home.held[job] = stays | dict.fromkeys(pieces, effect.origin)
            self.home.specs[job] = effect.spec
            return HeldStored(job, version, "" if pieces else f"nothing is held of version {version}")

        self._write(sum(self._state_bytes(job, first, last) for first, last, _ in pieces), written)

    def _send_state(self, effect: SendHeld | SendState | SendFirstState) -> None:
        stamp, first, last = effect.stamp, effect.first_layer, effect.last_layer
        version = 0 if isinstance(effect, SendFirstState) else effect.version
        replica = isinstance(effect, SendHeld) and effect.replica
        header = StateParcel(stamp, first, last, version, (), b"", replica=replica)
        self._send(effect.to, header, self._state_bytes(stamp.job, first, last))

    def _send_program(self, effect: SendProgram) -> None:
        self._send(effect.to, ProgramParcel(effect.job, PROGRAM_BYTES), PROGRAM_BYTES)

    def _copy_data(self, effect: CopyData) -> None:
        """All samples at once: they travel behind everything else anyway."""
        rows = DataParcel(effect.spec.job, Phase.TRAIN, 0, effect.spec.samples, (), ())
        self._send(effect.to, rows, self._setting.data_bytes)

    def _write_weights(self, effect: WriteWeights) -> None:
        size = self._state_bytes(effect.stamp.job, 0, len(self._setting.figures[effect.stamp.job].spec.layers) - 1)
        self._write(size, lambda: WeightsWritten(effect.stamp, effect.token, "weights", "", ""))

    def _save_vote(self, effect: SaveVote) -> None:
        self.home.saved = SavedVote(effect.term, effect.voted_for, effect.electorate)

    def _save_jobs(self, effect: SaveJobs) -> None:
        self.home.listed = effect.records
