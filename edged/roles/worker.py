"""The worker: everything that a node does because it holds layers.

Each computing effect becomes one piece of work on the compute thread and ends in exactly one event. What a forward or a
backward leaves for a neighbour waits here until the core says to whom it goes; arrived state waits until the core says
what it is for.
"""

from __future__ import annotations

import hashlib
import mmap
import statistics
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import psutil

from edged.core.effects import (
    BuildStages,
    KeepArrived,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendGradient,
    SendState,
    TakeNorms,
)
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    ForwardDone,
    MemoryRanOut,
    NormsTaken,
    SelfMeasured,
    SnapshotTaken,
    StagesBuilt,
    UpdateDone,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import (
    Activation,
    DataParcel,
    Gradient,
    Inputs,
    Parcel,
    ProgramParcel,
    SoundingParcel,
    StateParcel,
)
from edged.core.parcels import PROGRAM_BYTES
from edged.errors import MalformedError, ProgramRefusedError, ShortageError
from edged.replication.snapshots import Snapshots, held_of
from edged.roles.engine import Engine
from edged.roles.pump import Post, Table
from edged.roles.shelf import Shelf
from edged.telemetry.logs import topic_logger

if TYPE_CHECKING:
    from edged.compute.executor import BackwardResult, Executor, ForwardResult, UpdateResult
    from edged.compute.hosting import Outgoing
    from edged.compute.state import StateCopy

R = TypeVar("R")

SendParcel = Callable[[NodeId, Parcel, Sequence[memoryview]], None]

PROBED_BYTES = 1 << 20
"""Before a parcel so large is taken in, the system is asked whether it would give the memory."""

Wants = Callable[[NodeId, Parcel], bool]
"""Whether the core waits for a parcel from this sender."""


class Worker:
    """Computes; holds outgoing values by place and work."""

    def __init__(
        self,
        own_id: NodeId,
        engine: Engine,
        shelf: Shelf,
        snapshots: Snapshots,
        post: Post,
        send_parcel: SendParcel,
        wants: Wants,
    ) -> None:
        """Results go to ``post``; parcels leave through ``send_parcel``; only what the core ``wants`` is taken in.

        State that is to be run goes to the ``shelf``, replicas to the ``snapshots``.
        """
        self._own_id = own_id
        self._engine = engine
        self._shelf = shelf
        self._snapshots = snapshots
        self._post = post
        self._send_parcel = send_parcel
        self._wants = wants
        self._forward: dict[tuple[Stamp, int, int, Work], Outgoing] = {}
        self._backward: dict[tuple[Stamp, int, int, Work], Outgoing] = {}
        self._live: set[Stamp] = set()
        self._programs: dict[JobId, tuple[str, bytes]] = {}
        self._loading: dict[JobId, list[Callable[[], None]]] = {}
        self._program_problems: dict[JobId, str] = {}
        self._forward_seconds: deque[float] = deque(maxlen=32)
        self._backward_seconds: deque[float] = deque(maxlen=32)
        self.memory_bytes = 0
        """Budget for training, once measured; smaller each time that memory ran out."""
        self._most_bytes = 0
        engine.watch_memory(self._run_out)

    def table(self) -> Table:
        """Building, computing, handing on."""
        return {
            BuildStages: self._build,
            KeepArrived: self._keep_arrived,
            RunForward: self._run_forward,
            RunBackward: self._run_backward,
            TakeNorms: self._take_norms,
            RunUpdate: self._run_update,
            SendActivation: self._send_activation,
            SendGradient: self._send_gradient,
            SendState: self._send_state,
        }

    def start(
        self,
        measure: Callable[[Executor], tuple[float, str]],
        memory: Callable[[], int],
        failed: Callable[[str], None],
    ) -> None:
        """Load torch and calibrate; ends in ``SelfMeasured``, or ``failed`` if this device cannot compute.

        ``measure`` gives slowness and device, ``memory`` the bytes that training may use.
        """

        def done(result: tuple[float, str]) -> None:
            slowness, device = result
            self.grant(memory())
            self._post(SelfMeasured(slowness, self.memory_bytes, device))

        self._engine.start(measure, done, failed)

    def micro_batch_seconds(self) -> float:
        """Median forward plus median backward time of the latest micro-batches; 0.0 before the first."""
        forward, backward = self._forward_seconds, self._backward_seconds
        return (statistics.median(forward) if forward else 0.0) + (statistics.median(backward) if backward else 0.0)

    def expects(self, sender: NodeId, header: Parcel) -> bool:
        """Whether a parcel with this header may take memory. Called before its first buffer is received.

        The core knows whether it was asked for, the executor whether it fits.
        """
        if not self._wants(sender, header):
            return False
        if isinstance(header, ProgramParcel):
            return 0 < header.size_bytes <= PROGRAM_BYTES
        if isinstance(header, DataParcel | SoundingParcel):  # these are for others
            return False
        size = sum(spec.size_bytes for spec in header.tensors)
        if isinstance(header, StateParcel) and size > self._most_bytes:
            return False
        return self._engine.expects(header) and self._has_room(header, size)

    def _has_room(self, header: Parcel, size: int) -> bool:
        """Whether the system gives this much memory now; nobody waits for a replica that it has no room for."""
        if size < PROBED_BYTES:
            return True
        try:
            mmap.mmap(-1, size).close()
        except (OSError, MemoryError):
            what = f"memory ran out ({size / 1e6:.0f} MB for what was to come in)"
            if isinstance(header, StateParcel) and header.replica:
                topic_logger("worker").warning("%s: a replica is refused", what)
            else:
                self._run_out(ShortageError(what, psutil.Process().memory_info().rss))
                self._engine.run(lambda executor: executor.relieve(), lambda _held: None, self._complain)
            return False
        return True

    def grant(self, memory_bytes: int) -> None:
        """Training may use so much from now on; what comes in may be as large as it ever could."""
        self.memory_bytes = memory_bytes
        self._most_bytes = max(self._most_bytes, memory_bytes)

    def _run_out(self, shortage: ShortageError) -> None:
        """Memory was refused: from now on the budget is what was held until then, but for bounds on a single change.

        It stays so until the process ends: nobody can tell whether what took the memory will be gone.
        """
        before = self.memory_bytes
        held = shortage.held_bytes + self._snapshots.size_bytes + self._shelf.size_bytes
        self.memory_bytes = min(max(held, before // 64), before * 3 // 4)
        topic_logger("worker").warning(
            "%s while %.1f MB were held: this node's budget is %.1f MB now, not %.1f MB, and its layers move",
            shortage, held / 1e6, self.memory_bytes / 1e6, before / 1e6,
        )  # fmt: skip
        self._forward.clear()
        self._backward.clear()
        self._post(MemoryRanOut(self.memory_bytes, str(shortage)))

    def take(self, sender: NodeId, header: Parcel, buffers: Sequence[memoryview], arrived: Callable[[], None]) -> None:
        """Hold a parcel's buffers; ``arrived`` is called when the core may count on them.

        What is not waited for any more (its plan has ended, it has come by another road) is let go.
        """
        if not self._wants(sender, header):
            topic_logger("worker").info("%s from %s came too late", type(header).__name__, sender)
            return
        match header:
            case ProgramParcel(job, _):
                self.load_program(job, buffers[0], arrived)
            case StateParcel(replica=True):
                self._hold(sender, header, buffers, arrived)
            case StateParcel():
                self._shelf.put(header, buffers)
                arrived()
            case Inputs() | Activation() | Gradient():
                stamp = header.stamp
                self._engine.run(
                    lambda executor: executor.put(header, buffers),
                    lambda _nothing: None,
                    lambda reason: self._post(ComputeFailed(stamp, reason)),
                )
                arrived()

    def _hold(
        self, sender: NodeId, header: StateParcel, buffers: Sequence[memoryview], arrived: Callable[[], None]
    ) -> None:
        try:
            self._snapshots.put(held_of(header, buffers))
        except MalformedError as error:
            topic_logger("worker").warning("a replica from %s was refused: %s", sender, error)
            return
        arrived()

    def program(self, job: JobId) -> bytes | None:
        """The bytes of a program that is loaded."""
        loaded = self._programs.get(job)
        return None if loaded is None else loaded[1]

    def load_program(self, job: JobId, data: bytes | memoryview, done: Callable[[], None]) -> None:
        """Load a program unless it is loaded. A refused one is remembered: building its stages then says why."""
        if job in self._programs:
            done()
            return
        if job in self._loading:
            self._loading[job].append(done)
            return
        self._loading[job] = [done]

        def load(executor: Executor) -> tuple[str, bytes]:
            executor.load_program(job, data)
            return hashlib.sha256(data).hexdigest(), bytes(data)

        def loaded(program: tuple[str, bytes]) -> None:
            if job in self._loading:
                self._programs[job] = program
                self._program_problems.pop(job, None)
            settle()

        def refused(reason: str) -> None:
            if job in self._loading:
                self._program_problems[job] = f"the program was refused: {reason}"
            settle()

        def settle() -> None:
            for waiting in self._loading.pop(job, ()):
                waiting()

        self._engine.run(load, loaded, refused)

    def drop_stages(self, stamp: Stamp) -> None:
        """Forget everything of a plan."""
        self._live.discard(stamp)
        self._shelf.drop(stamp)
        for store in (self._forward, self._backward):
            for key in [key for key in store if key[0] == stamp]:
                del store[key]
        self._engine.run(lambda executor: executor.drop_stages(stamp), lambda _nothing: None, self._complain)

    def drop_job(self, job: JobId) -> None:
        """Forget a job's program, also one that is being loaded."""
        self._loading.pop(job, None)
        self._programs.pop(job, None)
        self._program_problems.pop(job, None)
        self._engine.run(lambda executor: executor.drop_job(job), lambda _nothing: None, self._complain)

    def _build(self, effect: BuildStages) -> None:
        plan, spec, stamp = effect.plan, effect.spec, effect.plan.stamp
        problem = self._program_problems.get(spec.job, "")
        if not problem and self._programs.get(spec.job, (spec.program,))[0] != spec.program:
            problem = "the program that arrived is not the one that the job names"
        states = self._shelf.read(stamp, effect.version)

        def build(executor: Executor) -> None:
            if problem:
                raise ProgramRefusedError(problem)
            executor.build(plan, self._own_id, spec, effect.version, states)

        def built(_nothing: None) -> None:
            self._shelf.take(stamp, effect.version)
            self._post(StagesBuilt(stamp, ""))

        self._live.add(stamp)
        self._engine.run(build, built, lambda reason: self._post(StagesBuilt(stamp, reason)))

    def _keep_arrived(self, effect: KeepArrived) -> None:
        place, problem, size = (effect.first_layer, effect.last_layer), "it is not here any more", 0
        for header, buffers in self._shelf.read(effect.stamp, effect.version):
            if (header.first_layer, header.last_layer) == place:
                problem, size = self._keep(header, buffers)
        self._post(SnapshotTaken(effect.stamp, *place, effect.version, 0.0, size, problem))

    def _keep(self, header: StateParcel, buffers: Sequence[memoryview]) -> tuple[str, int]:
        """Hold what lies on the shelf, within the budget; returns a problem, and the bytes."""
        size = sum(spec.size_bytes for spec in header.tensors)
        if self._snapshots.size_bytes + size > self.memory_bytes:
            return "memory has no room for more of it", 0
        try:
            self._snapshots.put(held_of(header, buffers))
        except MalformedError as error:
            return str(error), 0
        return "", size

    def _run_forward(self, effect: RunForward) -> None:
        stamp, route, hop, work = effect.stamp, effect.route, effect.hop, effect.work

        def done(result: ForwardResult) -> None:
            if result.outgoing is not None and stamp in self._live:
                self._forward[(stamp, route, hop, work)] = result.outgoing
            if work.phase is Phase.TRAIN:
                self._forward_seconds.append(result.seconds)
            self._post(ForwardDone(stamp, route, hop, work, result.seconds, result.loss, result.metrics))

        self._compute(stamp, lambda executor: executor.forward(route, hop, work, effect.weight), done)

    def _run_backward(self, effect: RunBackward) -> None:
        stamp, route, hop, work = effect.stamp, effect.route, effect.hop, effect.work

        def done(result: BackwardResult) -> None:
            if result.outgoing is not None and stamp in self._live:
                self._backward[(stamp, route, hop, work)] = result.outgoing
            self._backward_seconds.append(result.seconds)
            self._post(BackwardDone(stamp, route, hop, work, result.seconds))

        self._compute(stamp, lambda executor: executor.backward(route, hop, work), done)

    def _take_norms(self, effect: TakeNorms) -> None:
        self._compute(
            effect.stamp,
            lambda executor: executor.norms(),
            lambda norms: self._post(NormsTaken(effect.stamp, effect.version, norms)),
        )

    def _run_update(self, effect: RunUpdate) -> None:
        def done(result: UpdateResult) -> None:
            self._post(UpdateDone(effect.stamp, effect.version, result.seconds, result.learning_rate))

        self._compute(
            effect.stamp, lambda executor: executor.update(effect.version, effect.norms, skip=effect.skip), done
        )

    def _send_activation(self, effect: SendActivation) -> None:
        left = self._forward.pop((effect.stamp, effect.route, effect.hop, effect.work), None)
        if left is None:
            self._missing(effect.stamp, "activation", effect.work)
            return
        header = Activation(effect.stamp, effect.route, effect.hop + 1, effect.work, left.tensors, left.scalars)
        self._send_parcel(effect.to, header, left.buffers)

    def _send_gradient(self, effect: SendGradient) -> None:
        left = self._backward.pop((effect.stamp, effect.route, effect.hop, effect.work), None)
        if left is None:
            self._missing(effect.stamp, "gradient", effect.work)
            return
        header = Gradient(effect.stamp, effect.route, effect.hop - 1, effect.work, left.tensors)
        self._send_parcel(effect.to, header, left.buffers)

    def _send_state(self, effect: SendState) -> None:
        first, last = effect.first_layer, effect.last_layer

        def done(copy: StateCopy) -> None:
            if effect.stamp in self._live:
                header = StateParcel(effect.stamp, first, last, effect.version, copy.tensors, copy.extra, replica=False)
                self._send_parcel(effect.to, header, copy.buffers)

        self._compute(effect.stamp, lambda executor: executor.state(first, last), done)

    def _compute(self, stamp: Stamp, function: Callable[[Executor], R], done: Callable[[R], None]) -> None:
        self._engine.run(function, done, lambda reason: self._post(ComputeFailed(stamp, reason)))

    def _missing(self, stamp: Stamp, what: str, work: Work) -> None:
        self._post(ComputeFailed(stamp, f"nothing was left to send as {what} of {work}"))

    @staticmethod
    def _complain(reason: str) -> None:
        topic_logger("worker").warning("%s", reason)
