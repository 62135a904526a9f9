"""The keeper: holds copies of layers, in memory and on disk, and hands them on; also the program, to whoever asks.

::

    TakeSnapshot ── compute thread ──┐                        ┌─> SendHeld: a parcel, whole or cut
    replica (StateParcel) ───────────┼─> memory ── StoreHeld ─┤
    HOME/held, at the start ─────────┴── disk's thread ───────┘

What the disk cannot take stays in memory, with one warning; training never waits for a disk.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Protocol

from edged.core.effects import DropHeld, SendHeld, SendProgram, StoreHeld, TakeSnapshot
from edged.core.events import HeldFound, HeldLost, HeldStored, ProgramLoaded, SnapshotTaken
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import Holding, HoldingKind, Message, Parcel, ProgramParcel, Refused, StateParcel
from edged.core.plan import layers_in_words
from edged.errors import MalformedError
from edged.replication.snapshots import HeldState, Snapshots, cut
from edged.replication.store import Found, Store
from edged.roles.disk import Disk, words
from edged.roles.engine import Engine
from edged.roles.pump import Post, Table
from edged.roles.source import Source
from edged.roles.spool import known_spec
from edged.roles.worker import SendParcel, Worker
from edged.telemetry.logs import topic_logger

if TYPE_CHECKING:
    from edged.compute.executor import SnapshotResult

ENDED_KEPT = 64
"""Jobs of which what comes late is not held any more."""

FINISH_SECONDS = 5.0
"""How long a node that leaves waits for its disk, and ..."""

SLOW_BYTES_PER_SECOND = 5e6
"""... how fast it takes a disk to be at least: a poor memory card."""


class DropParcels(Protocol):
    """The transport's: forget queued parcels that match."""

    def __call__(self, predicate: Callable[[Parcel], bool], *, to: NodeId, begun: bool) -> None:
        """See ``Transport.drop_parcels``."""


class Keeper:
    """Performs what the core decides about held layers and programs."""

    def __init__(
        self,
        engine: Engine,
        disk: Disk,
        store: Store,
        snapshots: Snapshots,
        worker: Worker,
        source: Source,
        post: Post,
        send: Callable[[NodeId, Message], None],
        send_parcel: SendParcel,
        drop_parcels: DropParcels,
    ) -> None:
        """``disk`` is started and stopped by somebody else; into ``snapshots`` the worker puts replicas.

        ``worker`` and ``source`` know programs; ``drop_parcels`` is the transport's.
        """
        self._engine = engine
        self._disk = disk
        self._store = store
        self._post = post
        self._send = send
        self._send_parcel = send_parcel
        self._drop_parcels = drop_parcels
        self._snapshots = snapshots
        self._worker = worker
        self._source = source
        self._ended: deque[JobId] = deque(maxlen=ENDED_KEPT)
        self._storing: dict[JobId, int] = {}  # bytes that are being written
        self._all_written = asyncio.Event()
        self._all_written.set()
        self._next_store: dict[JobId, StoreHeld] = {}
        self._told_of_disk = False
        self._loads = 0  # pieces that are to be read from the disk
        self._plans: dict[JobId, Stamp] = {}  # for which layers were asked last

    def table(self) -> Table:
        """Taking, sending, dropping, storing; and the program."""
        return {
            TakeSnapshot: self._take_snapshot,
            SendHeld: self._send_held,
            DropHeld: self._drop_held,
            StoreHeld: self._store_held,
            SendProgram: self._send_program,
        }

    async def open(self) -> None:
        """Post a ``HeldFound`` for each job of which something lies on the disk.

        A program that lies there counts at once: it can be handed on, and what is built waits until it is loaded. That
        may take long on a small device, where torch comes first; ``ProgramLoaded`` tells. The worker must have been
        started.
        """
        found: asyncio.Future[tuple[Found, ...]] = asyncio.get_running_loop().create_future()

        def unreadable(reason: str) -> None:
            topic_logger("keeper").warning("what was held on disk cannot be read: %s", reason)
            found.set_result(())

        self._disk.run(self._store.scan, found.set_result, unreadable)
        for each in await found:
            for problem in each.problems:
                topic_logger("keeper").warning("%s", problem)
            if each.holdings or each.program is not None:
                spec = known_spec(each.job, each.spec) if each.holdings else None
                program = each.program is not None
                self._post(HeldFound(each.job, each.holdings, program=program, data=False, spec=spec))
            if each.program is not None:
                self._worker.load_program(each.job, each.program, partial(self._loaded, each.job))

    def _loaded(self, job: JobId) -> None:
        """The program that lay on the disk was loaded, or refused: then no plan is to be changed for this node."""
        if self._worker.program(job) is not None:
            self._post(ProgramLoaded(job))

    async def finish(self) -> None:
        """Wait until all that was to be stored is on the disk, or was refused; no longer than a slow disk takes."""
        size = sum(self._storing.values()) + sum(
            held.size_bytes
            for job, waiting in self._next_store.items()
            for held in self._snapshots.at(job, waiting.version)
        )
        if size:
            topic_logger("keeper").info("%.1f MB of layers go to the disk before this node ends", size / 1e6)
        try:
            async with asyncio.timeout(FINISH_SECONDS + size / SLOW_BYTES_PER_SECOND):
                await self._all_written.wait()
        except TimeoutError:
            topic_logger("keeper").warning(
                "the disk was too slow for %.1f MB of layers that this node holds: they are lost with it", size / 1e6
            )

    def drop_job(self, job: JobId) -> None:
        """The job is over: forget all of it, on disk too."""
        self._ended.append(job)
        self._next_store.pop(job, None)
        self._plans.pop(job, None)
        self._snapshots.drop_job(job)
        self._disk.run(lambda: self._store.drop_job(job), _nothing, _complain)

    # -- held layers

    def _take_snapshot(self, effect: TakeSnapshot) -> None:
        stamp, first, last, version = effect.stamp, effect.first_layer, effect.last_layer, effect.version

        def done(result: SnapshotResult) -> None:
            if stamp.job in self._ended:
                failed("the job is over")
                return
            copy = result.copy
            held = HeldState(stamp.job, first, last, version, copy.tensors, copy.buffers, copy.extra)
            self._snapshots.put(held)
            self._post(SnapshotTaken(stamp, first, last, version, result.seconds, held.size_bytes, ""))

        def failed(reason: str) -> None:
            self._post(SnapshotTaken(stamp, first, last, version, 0.0, 0, reason))

        self._engine.run(lambda executor: executor.snapshot(stamp, first, last, version), done, failed)

    def _send_held(self, effect: SendHeld) -> None:
        job, version, first, last = effect.stamp.job, effect.version, effect.first_layer, effect.last_layer
        self._plans[job] = effect.stamp
        held = self._snapshots.find(job, version, first, last)
        if held is not None:
            self._hand_on(effect, held)
            return

        def load() -> HeldState | str | None:
            if effect.stamp != self._plans.get(job):  # nobody waits for it any more
                return None
            try:
                return self._store.load(job, version, first, last) or "they are not here"
            except (MalformedError, OSError) as error:
                return words(error)

        def loaded(result: HeldState | str | None) -> None:
            self._settle()
            if isinstance(result, str):  # nobody is to ask for them again
                self._post(HeldLost(job, Holding(first, last, version, HoldingKind.DISK), result))
                self._refuse(effect, result)
            elif result is not None:
                self._hand_on(effect, result)

        def failed(reason: str) -> None:
            self._settle()
            self._refuse(effect, reason)

        self._loads += 1
        self._disk.run(load, loaded, failed)

    def _settle(self) -> None:
        self._loads -= 1
        if not self._loads:
            self._disk.run(self._store.let_go, _nothing, _complain)

    def _hand_on(self, effect: SendHeld, held: HeldState) -> None:
        part = cut(held, effect.first_layer, effect.last_layer)
        if effect.replica:  # on a slow link, what is older and has not begun to travel never needs to
            self._drop_parcels(lambda header: _is_older(header, effect), to=effect.to, begun=False)
        self._send_parcel(effect.to, part.parcel(effect.stamp, replica=effect.replica), part.buffers)

    def _refuse(self, effect: SendHeld, why: str) -> None:
        reason = f"{layers_in_words(effect.first_layer, effect.last_layer)} at version {effect.version}: {why}"
        if effect.replica:  # nobody waits for it
            topic_logger("keeper").warning("a replica was not sent: %s", reason)
        else:
            self._send(effect.to, Refused(effect.stamp.job, reason, effect.version))

    def _drop_held(self, effect: DropHeld) -> None:
        self._snapshots.drop(effect.job, effect.versions)
        if (waiting := self._next_store.get(effect.job)) is not None and waiting.version in effect.versions:
            del self._next_store[effect.job]  # what comes of this number later may be from another plan
            self._post(HeldStored(effect.job, waiting.version, f"version {waiting.version} was let go"))

    def _store_held(self, effect: StoreHeld) -> None:
        """Write a version; while one of the job is being written only one other waits, and none in memory."""
        spec, version = effect.spec, effect.version
        job, states = spec.job, self._snapshots.at(spec.job, version)
        if job in self._storing:
            self._wait(effect)
            return
        if not states or job in self._ended:
            self._post(HeldStored(job, version, f"nothing is held of version {version}"))
            return
        program = self._worker.program(job)
        self._storing[job] = sum(state.size_bytes for state in states)
        self._all_written.clear()

        def done(_nothing: None) -> None:
            if self._told_of_disk:
                topic_logger("keeper").info("copies of layers are on the disk again")
            self._told_of_disk = False
            self._stored(job, version, "")

        def failed(reason: str) -> None:
            if not self._told_of_disk:
                topic_logger("keeper").warning("copies of layers stay in memory only: %s", reason)
            self._told_of_disk = True
            self._stored(job, version, reason)

        def save() -> None:
            self._store.save(spec, program or self._source.program(job), states, effect.keep, effect.origin)

        self._disk.run(save, done, failed)

    def _stored(self, job: JobId, version: int, problem: str) -> None:
        del self._storing[job]
        self._post(HeldStored(job, version, problem))
        if (waiting := self._next_store.pop(job, None)) is not None:
            self._store_held(waiting)
        if not self._storing:
            self._all_written.set()

    def _wait(self, effect: StoreHeld) -> None:
        """The newest waits, except behind one that was put down: that has to be written whatever else is."""
        job, waited = effect.spec.job, self._next_store.get(effect.spec.job)
        keeps = waited is not None and waited.down and not effect.down
        given_up = effect if keeps else waited
        if not keeps:
            self._next_store[job] = effect
        if given_up is not None:
            self._post(HeldStored(job, given_up.version, "another version is written instead"))

    # -- the program

    def _send_program(self, effect: SendProgram) -> None:
        job = effect.job

        def hand_on(data: bytes | None) -> None:
            if data is None:
                self._send(effect.to, Refused(job, "its program is not here"))
            else:
                self._send_parcel(effect.to, ProgramParcel(job, len(data)), (memoryview(data),))

        data = self._worker.program(job)
        if data is not None:
            hand_on(data)
            return
        self._disk.run(
            lambda: self._source.program(job) or self._store.program(job),
            hand_on,
            lambda reason: self._send(effect.to, Refused(job, reason)),
        )


def _is_older(header: Parcel, effect: SendHeld) -> bool:
    if not isinstance(header, StateParcel) or not header.replica or header.stamp.job != effect.stamp.job:
        return False
    same = (header.first_layer, header.last_layer) == (effect.first_layer, effect.last_layer)
    return same and (header.stamp, header.version) < (effect.stamp, effect.version)


def _nothing(_result: None) -> None:
    """Nobody waits for this."""


def _complain(reason: str) -> None:
    topic_logger("keeper").warning("%s", reason)
