"""The keeper with real training: what is copied, sent, stored and found again goes on with the reference's bits."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.core.effects import (
    BuildStages,
    DropHeld,
    DropJob,
    KeepArrived,
    RunUpdate,
    SendFirstState,
    SendHeld,
    SendProgram,
    SendState,
    StartFeeder,
    StoreHeld,
    TakeNorms,
    TakeSnapshot,
    WriteWeights,
)
from edged.core.events import (
    HeldFound,
    HeldLost,
    HeldStored,
    NormsTaken,
    ParcelArrived,
    ProgramLoaded,
    SnapshotTaken,
    StagesBuilt,
    UpdateDone,
    WeightsWritten,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Holding, HoldingKind, ProgramParcel, Refused, StateParcel
from edged.core.plan import Plan
from edged.errors import MalformedError
from edged.replication import tensor_file
from edged.replication.snapshots import HeldState
from edged.replication.store import Store
from edged.roles import disk, keeper
from edged.roles.cleaner import Cleaner
from tests.roles.bench import OWN, Bench, hand_in, plan_of, write_job
from tests.roles.conftest import spec_of
from tests.roles.test_worker import micro_batch, prepare

OTHER = NodeId("b" * 16)


async def train(bench: Bench, spec: JobSpec, plan: Plan, first: int, stop: int) -> None:
    for version in range(first, stop):
        for number in range(spec.micro_batches):
            await micro_batch(bench, spec, plan, Work(version, Phase.TRAIN, number), 0.5)
        bench.do(TakeNorms(plan.stamp, version + 1))
        norms = (await bench.until(NormsTaken)).norms
        bench.do(RunUpdate(plan.stamp, version + 1, norms))
        await bench.until(UpdateDone)


async def take(bench: Bench, plan: Plan, version: int) -> list[SnapshotTaken]:
    for hop in plan.routes[0].hops:
        bench.do(TakeSnapshot(plan.stamp, hop.first_layer, hop.last_layer, version))
    return [await bench.until(SnapshotTaken) for _ in plan.routes[0].hops]


async def result(bench: Bench, spec: JobSpec, plan: Plan) -> str:
    for hop in plan.routes[0].hops:
        bench.do(SendState(OWN, plan.stamp, hop.first_layer, hop.last_layer, spec.steps))
        await bench.until(ParcelArrived, lambda event: isinstance(event.parcel, StateParcel))
    bench.do(WriteWeights(plan.stamp, spec.steps, 0))
    written = await bench.until(WeightsWritten)
    assert written.problem == ""
    return written.state_sha256


async def go_on(bench: Bench, spec: JobSpec, version: int, pieces: list[tuple[int, int]], *cuts: int) -> str:
    """Build another plan from held layers, train to the end; returns the digest of the weights."""
    plan = plan_of(spec, *cuts)
    plan = replace(plan, stamp=Stamp(spec.job, 1, 2))
    for first, last in pieces:
        bench.do(SendHeld(OWN, plan.stamp, first, last, version, replica=False))
        arrived = await bench.until(ParcelArrived, lambda event: isinstance(event.parcel, StateParcel))
        assert (arrived.parcel.first_layer, arrived.parcel.last_layer) == (first, last)
    bench.do(BuildStages(plan, spec, version))
    assert (await bench.until(StagesBuilt)).problem == ""
    await train(bench, spec, plan, version, spec.steps)
    return await result(bench, spec, plan)


async def test_snapshots_survive_the_process_and_another_cut_goes_on_from_them(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    plan = plan_of(spec, 2)
    last = len(spec.layers) - 1
    expected = train_local(load(f"{path}:job")).state_sha256
    async with Bench(tmp_path) as bench:
        assert (await prepare(bench, spec, plan)).problem == ""
        bench.do(StartFeeder(spec))
        await train(bench, spec, plan, 0, 2)
        taken = await take(bench, plan, 2)
        assert [(each.first_layer, each.last_layer, each.version) for each in taken] == [(0, 1, 2), (2, last, 2)]
        assert all(each.problem == "" and each.seconds > 0 and each.size_bytes > 0 for each in taken)
        bench.do(StoreHeld(spec, 2))
        assert await bench.until(HeldStored) == HeldStored(spec.job, 2, "")
        await train(bench, spec, plan, 2, 4)
        assert await go_on(bench, spec, 2, [(0, 0), (1, 1), (2, last)], 1) == expected
    async with Bench(tmp_path) as bench:  # a new process: all it has is on the disk
        busy = threading.Event()
        bench.engine.run(lambda _executor: busy.wait(200.0), lambda _done: None, pytest.fail)
        await bench.keeper.open()
        disk = HoldingKind.DISK
        found = (Holding(0, 1, 2, disk), Holding(2, last, 2, disk))
        assert await bench.until(HeldFound) == HeldFound(spec.job, found, program=True, data=False, spec=spec)
        assert bench.worker.program(spec.job) is None  # it counts before it is loaded, and building waits for it
        assert not [event for event in bench.events if isinstance(event, ProgramLoaded)]
        busy.set()
        assert await bench.until(ProgramLoaded) == ProgramLoaded(spec.job)
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        assert await go_on(bench, spec, 2, [(0, 1), (2, last)]) == expected


async def test_what_came_and_was_not_built_goes_into_the_next_plan(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    plan, later = plan_of(spec), replace(plan_of(spec), stamp=Stamp(spec.job, 1, 2))
    last = len(spec.layers) - 1
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        for first, end in [(0, 1), (2, last)]:
            bench.do(SendFirstState(OWN, plan.stamp, first, end))
            await bench.until(ParcelArrived)
        bench.do(KeepArrived(plan.stamp, 0, 1, 0))
        kept = await bench.until(SnapshotTaken)
        assert (kept.problem, kept.size_bytes > 0) == ("", True)
        for first, end, version in [(0, 0, 0), (0, 1, 1)]:
            bench.do(KeepArrived(plan.stamp, first, end, version))
            assert (await bench.until(SnapshotTaken)).problem == "it is not here any more"
        room, bench.worker.memory_bytes = bench.worker.memory_bytes, kept.size_bytes
        bench.do(KeepArrived(plan.stamp, 2, last, 0))
        assert (await bench.until(SnapshotTaken)).problem == "memory has no room for more of it"
        bench.worker.memory_bytes = room
        bench.worker.drop_stages(plan.stamp)
        bench.do(SendHeld(OWN, later.stamp, 0, 1, 0, replica=False))
        await bench.until(ParcelArrived)
        bench.do(SendFirstState(OWN, later.stamp, 2, last))
        await bench.until(ParcelArrived)
        bench.do(BuildStages(later, spec, 0))
        assert (await bench.until(StagesBuilt)).problem == ""
        assert bench.shelf.take(later.stamp, 0) == ()
        await train(bench, spec, later, 0, spec.steps)
        assert await result(bench, spec, later) == train_local(load(f"{path}:job")).state_sha256


async def test_what_is_wanted_of_the_disk_for_an_older_plan_is_not_read(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan, last = plan_of(spec), len(spec.layers) - 1
    later = Stamp(spec.job, 1, 2)
    async with Bench(tmp_path) as bench:
        assert (await prepare(bench, spec, plan)).problem == ""
        bench.do(TakeSnapshot(plan.stamp, 0, last, 0))
        await bench.until(SnapshotTaken)
        bench.do(StoreHeld(spec, 0))
        await bench.until(HeldStored)
        bench.do(DropHeld(spec.job, (0,)))
        bench.parcels.clear()
        for stamp, layer in [(plan.stamp, 0), (plan.stamp, 1), (later, 0), (later, 1)]:
            bench.do(SendHeld(OTHER, stamp, layer, layer, 0, replica=False))
        done = asyncio.Event()
        bench.disk.run(lambda: None, lambda _nothing: done.set(), pytest.fail)  # after them
        await done.wait()
        sent = [(header.stamp, header.first_layer) for _, header in bench.parcels if isinstance(header, StateParcel)]
        assert sent == [(later, 0), (later, 1)]
        assert bench.messages == []


async def test_a_replica_is_handed_on_and_let_go(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    last = len(spec.layers) - 1
    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        await take(bench, plan, 0)
        bench.do(SendHeld(OTHER, plan.stamp, 0, last, 0, replica=True))
        to, replica = bench.parcels.pop()
        assert (to, replica.replica) == (OTHER, True)
        held = bench.snapshots.at(spec.job, 0)[0]
        bench.do(DropHeld(spec.job, (0,)))
        assert bench.snapshots.size_bytes == 0
        bench.send_parcel(OWN, replica, held.buffers)  # as if it had come from elsewhere
        await bench.until(ParcelArrived, lambda event: event.parcel == replica)
        assert bench.shelf.read(plan.stamp, 0) == ()
        bench.do(SendHeld(OTHER, plan.stamp, 1, 2, 0, replica=False))
        to, moved = bench.parcels.pop()
        assert (moved.first_layer, moved.last_layer, moved.replica) == (1, 2, False)
        assert 0 < len(moved.tensors) < len(replica.tensors)


async def test_a_newer_replica_takes_the_place_of_an_older_one_that_has_not_begun_to_travel(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    last = len(spec.layers) - 1
    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        await take(bench, plan, 0)
        bench.snapshots.put(replace(bench.snapshots.at(spec.job, 0)[0], version=4))
        third = NodeId("c" * 16)
        for to, first, version in ((OTHER, 0, 0), (OTHER, 1, 0), (third, 0, 0), (OTHER, 0, 4), (OTHER, 0, 0)):
            bench.do(SendHeld(to, plan.stamp, first, last, version, replica=True))
        bench.do(SendHeld(OTHER, plan.stamp, 0, last, 0, replica=False))
        states = [(to, header) for to, header in bench.parcels if isinstance(header, StateParcel)]
        sent = [(to, header.first_layer, header.version, header.replica) for to, header in states]
        assert sent[-5:] == [
            (OTHER, 1, 0, True),
            (third, 0, 0, True),
            (OTHER, 0, 4, True),
            (OTHER, 0, 0, True),
            (OTHER, 0, 0, False),
        ]


async def test_an_unsound_replica_never_arrives(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        stamp = Stamp(JobId("aa" * 6), 1, 1)
        bench.worker.take(
            OTHER, StateParcel(stamp, 0, 1, 5, (), b"", replica=True), [], lambda: bench.problems.append("")
        )
        assert bench.problems == []
        assert bench.snapshots.at(stamp.job, 5) == ()


async def test_a_snapshot_of_what_does_not_stand_is_told(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    async with Bench(tmp_path) as bench:
        (taken,) = await take(bench, plan, 0)
        assert "nothing has been built" in taken.problem
        await prepare(bench, spec, plan)
        (taken,) = await take(bench, plan, 1)
        assert "version 1" in taken.problem
        assert bench.snapshots.size_bytes == 0


async def test_what_is_not_held_is_refused_unless_nobody_waits_for_it(tmp_path: Path) -> None:
    stamp = Stamp(JobId("aa" * 6), 1, 1)
    async with Bench(tmp_path) as bench:
        bench.do(SendHeld(OTHER, stamp, 0, 1, 5, replica=True))
        bench.do(SendHeld(OTHER, stamp, 0, 1, 5, replica=False))
        bench.do(SendProgram(OTHER, stamp.job))
        bench.do(SendProgram(OTHER, JobId("../../etc")))
        bench.do(StoreHeld(spec_of(stamp.job), 5))
        assert "nothing is held" in (await bench.until(HeldStored)).problem
        assert bench.disk.stop()
        await bench.turn()
        assert bench.messages == [
            (OTHER, Refused(stamp.job, "layers 0–1 at version 5: they are not here", 5)),
            (OTHER, Refused(stamp.job, "its program is not here")),
            (OTHER, bench.messages[-1][1]),
        ]
        assert "not a job id" in bench.messages[-1][1].reason


async def test_a_full_disk_is_told_once_and_memory_keeps_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        await take(bench, plan, 0)
        monkeypatch.setattr(tensor_file.os, "fsync", full)
        for _ in range(2):
            bench.do(StoreHeld(spec, 0))
            assert "No space left" in (await bench.until(HeldStored)).problem
        assert caplog.text.count("stay in memory only") == 1
        assert len(bench.snapshots.at(spec.job, 0)) == 1
        monkeypatch.undo()
        bench.do(StoreHeld(spec, 0))
        with caplog.at_level(logging.INFO):
            for _ in range(2):
                bench.do(StoreHeld(spec, 0))
                assert (await bench.until(HeldStored)).problem == ""
        assert caplog.text.count("on the disk again") == 1


async def test_a_disk_slower_than_the_commits_keeps_no_more_than_one_version_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is let go in memory must not stay there because the disk has not come to it yet."""
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    begun, may_go_on, saved = threading.Event(), threading.Event(), []
    right = Store.save

    def save(store: Store, spec: JobSpec, program: bytes | None, states: Sequence[HeldState], *others: Any) -> None:
        begun.set()
        assert may_go_on.wait(200)
        saved.append(states[0].version)
        right(store, spec, program, states, *others)

    monkeypatch.setattr(Store, "save", save)
    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        await take(bench, plan, 0)
        whole = bench.snapshots.at(spec.job, 0)[0]
        bench.do(StoreHeld(spec, 0))
        assert begun.wait(200)
        for version in (16, 32, 48, 64):
            bench.snapshots.put(replace(whole, version=version))
            bench.do(StoreHeld(spec, version))
            bench.snapshots.drop(spec.job, (version - 32,))
        del whole
        gc.collect()
        found = [each for each in gc.get_objects() if type(each) is HeldState]
        in_memory = {each.version for each in found if each.job == spec.job}
        assert in_memory == {0, 48, 64}, "one is being written, two are held"
        may_go_on.set()
        outcomes = [await bench.until(HeldStored) for _ in range(5)]
        assert {each.version for each in outcomes if each.problem} == {16, 32, 48}
        assert [each.version for each in outcomes if not each.problem] == [0, 64]
    assert saved == [0, 64]


async def stuck(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> tuple[JobSpec, threading.Event]:
    """Versions 0, 16 and 32 of a job are in memory, 0 is on its way to a disk that waits for the event."""
    spec = hand_in(bench.home, write_job(bench.home))
    plan = plan_of(spec)
    begun, may_go_on, right = threading.Event(), threading.Event(), Store.save

    def save(store: Store, *arguments: Any) -> None:
        begun.set()
        assert may_go_on.wait(200)
        right(store, *arguments)

    monkeypatch.setattr(Store, "save", save)
    await prepare(bench, spec, plan)
    (_,) = await take(bench, plan, 0)
    for version in (16, 32):
        bench.snapshots.put(replace(bench.snapshots.at(spec.job, 0)[0], version=version))
    bench.do(StoreHeld(spec, 0))
    assert begun.wait(200)
    return spec, may_go_on


async def test_a_node_that_goes_waits_until_what_was_put_down_is_written_whatever_was_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Bench(tmp_path) as bench:
        spec, may_go_on = await stuck(bench, monkeypatch)
        bench.do(StoreHeld(spec, 32, (0,), down=True))
        bench.do(StoreHeld(spec, 16, (0, 32)))  # the leader's word, from before
        finishing = asyncio.ensure_future(bench.keeper.finish())
        may_go_on.set()
        await finishing
        assert [holding.version for holding in Store(tmp_path).scan()[0].holdings] == [0, 32]


async def test_a_node_that_goes_does_not_wait_for_ever_and_says_what_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(keeper, "FINISH_SECONDS", 0.0)
    monkeypatch.setattr(disk, "STOP_SECONDS", 0.0)
    async with Bench(tmp_path) as bench:
        _, may_go_on = await stuck(bench, monkeypatch)
        try:
            await bench.keeper.finish()
            assert not bench.disk.stop()
        finally:
            monkeypatch.undo()
            may_go_on.set()
    assert "the disk was too slow" in caplog.text
    assert "the disk was not done" in caplog.text


async def test_a_node_that_writes_nothing_goes_at_once(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        await bench.keeper.finish()


@pytest.mark.parametrize("broken", [OSError(5, "Input/output error"), MalformedError("it is damaged"), None])
async def test_what_cannot_be_read_is_told_to_the_core_before_it_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Exception | None
) -> None:
    def load(*_arguments: Any) -> None:
        if broken is not None:
            raise broken

    monkeypatch.setattr(Store, "load", load)
    stamp = Stamp(JobId("aa" * 6), 1, 1)
    async with Bench(tmp_path) as bench:
        bench.do(SendHeld(OTHER, stamp, 2, 3, 16, replica=False))
        lost = await bench.until(HeldLost)
        reason = {OSError: "Input/output error", MalformedError: "it is damaged"}.get(type(broken), "they are not here")
        assert lost == HeldLost(stamp.job, Holding(2, 3, 16, HoldingKind.DISK), reason)
        assert bench.messages == [(OTHER, Refused(stamp.job, f"layers 2–3 at version 16: {reason}", 16))]


async def test_nothing_is_left_of_a_job_that_is_over(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        await take(bench, plan, 0)
        bench.do(StoreHeld(spec, 0))
        await bench.until(HeldStored)
        bench.do(TakeSnapshot(plan.stamp, 0, len(spec.layers) - 1, 0))
        cleaner = Cleaner(bench.worker, bench.source, bench.keeper, bench.copies, lambda _predicate: None)
        cleaner.table()[DropJob](DropJob(spec.job))
        assert (await bench.until(SnapshotTaken)).problem == "the job is over"
        assert bench.snapshots.size_bytes == 0
        assert bench.worker.program(spec.job) is None
    assert not (tmp_path / "held" / spec.job).exists()


@pytest.mark.parametrize("spooled", [True, False])
async def test_the_program_is_served_by_whoever_has_it(tmp_path: Path, spooled: bool) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    data = (tmp_path / "jobs" / spec.job / "program.msgpack").read_bytes()
    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        await take(bench, plan, 0)
        bench.do(StoreHeld(spec, 0))
        await bench.until(HeldStored)
        bench.parcels.clear()
        bench.do(SendProgram(OTHER, spec.job))  # in memory
        assert bench.parcels == [(OTHER, ProgramParcel(spec.job, len(data)))]
    if not spooled:
        (tmp_path / "jobs" / spec.job / "program.msgpack").unlink()
    async with Bench(tmp_path) as bench:
        bench.do(SendProgram(OTHER, spec.job))  # on disk
        assert bench.disk.stop()
        await bench.turn()
        assert bench.parcels == [(OTHER, ProgramParcel(spec.job, len(data)))]


async def test_a_disk_that_cannot_be_read_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "held").write_text("no folder")
    async with Bench(tmp_path) as bench:
        await bench.keeper.open()
        assert "cannot be read" in caplog.text
        assert not [event for event in bench.events if isinstance(event, HeldFound)]
