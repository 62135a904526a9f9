"""Samples that are copied from a source with a real feeder to another home, and drawn there when the source is gone."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edged.core.effects import CopyData, DrawSample, DropSample, SendInputs, SendRows, StartFeeder, StopFeeder
from edged.core.events import DataCopied, DataLost, DataNotCopied, FeederFailed, HeldFound, SampleDrawn
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import DataParcel, DataWanted, Inputs, Message, Parcel, TensorSpec
from edged.roles.copies import Copies
from edged.roles.disk import Disk
from tests.roles.bench import OWN, Bench, hand_in, write_job

HOLDER = NodeId("b" * 16)


class Pair:
    """A source and a holder of copies; what they say to each other goes from hand to hand."""

    def __init__(self, source: Bench, holder: Bench) -> None:
        self.source = source
        self.holder = holder
        self.taken = 0
        self.most = 10**9
        self.stopped = asyncio.Event()
        source.carry = self._carry
        holder.tell = self._tell

    def _carry(self, to: NodeId, header: Parcel, buffers: Any) -> None:
        """Parcels arrive, until the most that are let through have."""
        if self.taken >= self.most:
            self.stopped.set()
            return
        self.taken += 1
        assert isinstance(header, DataParcel)
        assert self.holder.copies.expects(header)
        self.holder.copies.take(OWN, header, [memoryview(bytearray(buffer)) for buffer in buffers])

    def _tell(self, to: NodeId, message: Message) -> None:
        assert to == OWN
        assert isinstance(message, DataWanted)
        if message.problem:
            self.stopped.set()
        else:
            self.source.do(SendRows(HOLDER, message.job, message.phase, message.first_row))


@asynccontextmanager
async def pair(tmp_path: Path, spec: JobSpec) -> AsyncIterator[Pair]:
    (tmp_path / "holder").mkdir(exist_ok=True)
    async with Bench(tmp_path) as source, Bench(tmp_path / "holder") as holder:
        holder.specs[spec.job] = spec
        source.source.take_on(spec.job)
        source.do(StartFeeder(spec))
        yield Pair(source, holder)


async def drawn(bench: Bench, spec: JobSpec) -> list[tuple[tuple[TensorSpec, ...], list[bytes]]]:
    """Every micro-batch of the job, as it is sent to a hop."""
    found: list[tuple[tuple[TensorSpec, ...], list[bytes]]] = []

    def take(_to: NodeId, header: Parcel, buffers: Any) -> None:
        assert isinstance(header, Inputs)
        found.append((header.tensors, [bytes(each) for each in buffers]))

    bench.carry = take
    for version in range(spec.steps):
        for work in spec.works_at(version):
            bench.do(DrawSample(spec.job, work))
            await bench.until(SampleDrawn)
            bench.do(SendInputs(HOLDER, Stamp(spec.job, 1, 1), 0, 0, work, (0, 1)))
            bench.do(DropSample(spec.job, work))
    return found


async def test_a_job_is_drawn_from_the_copy_with_the_same_bits_when_its_source_is_gone(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path, epochs=2))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        assert await both.holder.until(DataCopied) == DataCopied(spec.job)
        assert all(isinstance(header, DataParcel) and header.job == spec.job for _, header in both.source.parcels)
        expected = await drawn(both.source, spec)
        data = both.source.source.program(spec.job)
        assert data is not None
        loaded = asyncio.Event()
        both.holder.worker.load_program(spec.job, data, loaded.set)
        await asyncio.wait_for(loaded.wait(), 60)
        taken_over = replace(spec, source=HOLDER)
        (tmp_path / "job.py").unlink()
        both.holder.do(StartFeeder(taken_over))
        assert await drawn(both.holder, taken_over) == expected
        assert len(expected) == 2 * 8
        assert not [event for event in both.holder.events if isinstance(event, FeederFailed)]
        spool = tmp_path / "holder" / "jobs" / spec.job
        assert (spool / "program.msgpack").read_bytes() == data
        both.holder.source.drop_job(spec.job)
        both.holder.copies.drop_job(spec.job)
    assert not spool.exists()
    assert not (tmp_path / "holder" / "samples" / spec.job).exists()


async def test_an_interrupted_copy_goes_on_with_the_first_missing_row(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    path.write_text(
        path.read_text().replace("torch.randn(6,", "torch.randn(20000,").replace("Linear(6,", "Linear(20000,")
    )
    spec = hand_in(tmp_path, path)
    async with pair(tmp_path, spec) as both:
        both.most = 3
        both.source.do(CopyData(spec, HOLDER))
        await asyncio.wait_for(both.stopped.wait(), 60)
        lost = both.source.parcels[-1][1]
        assert isinstance(lost, DataParcel)
        both.most, before = 10**9, len(both.source.parcels)
        both.source.do(CopyData(spec, HOLDER))
        await both.holder.until(DataCopied)
        rows = [header.first_row for _, header in both.source.parcels[before:] if isinstance(header, DataParcel)]
        assert rows[:2] == [0, lost.first_row]
        assert rows == sorted(rows)


async def test_a_feeder_that_dies_meanwhile_is_asked_again(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with pair(tmp_path, spec) as both:
        both.source.do(DrawSample(spec.job, Work(0, Phase.TRAIN, 0)))
        await both.source.until(SampleDrawn)
        process = both.source.source._jobs[spec.job].process
        assert process is not None
        process.kill()
        both.source.do(CopyData(spec, HOLDER))
        await both.source.until(FeederFailed)
        both.source.do(StartFeeder(spec))
        await both.holder.until(DataCopied)


async def test_random_samples_are_not_copied_and_the_job_goes_on(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path, trouble="return torch.randn(6), torch.tensor(index % 3)"))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        told = await both.source.until(DataNotCopied)
        assert told.reason.startswith("sample 0 of data differs when drawn again")
        both.source.do(DrawSample(spec.job, Work(0, Phase.TRAIN, 0)))
        await both.source.until(SampleDrawn)
        both.source.do(CopyData(spec, HOLDER))
        await both.source.turn()
        assert both.source.parcels == []


async def test_samples_that_are_too_many_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.roles.copier.MOST_BYTES", 1000)
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        assert "more than 0.0 GB" in (await both.source.until(DataNotCopied)).reason
        assert both.source.parcels == []


async def test_a_holder_without_room_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**6, 10**6, 3000))
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        await asyncio.wait_for(both.stopped.wait(), 60)
        ((_, wanted),) = both.holder.messages
        assert isinstance(wanted, DataWanted)
        assert "the disk that they would go to has 0.0 GB free" in wanted.problem
    assert not (tmp_path / "holder" / "samples").exists()


async def test_a_whole_copy_is_found_after_a_restart_and_half_a_copy_goes(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        await both.holder.until(DataCopied)
    folder = tmp_path / "holder" / "samples"
    half = folder / "abc"
    shutil.copytree(folder / spec.job, half)
    (half / "copy.json").unlink()
    async with Bench(tmp_path / "holder") as again:
        await again.copies.open()
        assert await again.until(HeldFound) == HeldFound(spec.job, (), program=False, data=True, spec=spec)
        assert again.copies.whole(spec.job) is not None
    assert not half.exists()


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["train-0.rows", "train-1.rows", "copy.json"])
async def test_a_copy_that_was_damaged_on_the_disk_is_not_found_again_and_is_taken_anew(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        await both.holder.until(DataCopied)
    flip_a_bit(tmp_path / "holder" / "samples" / spec.job / name)
    async with pair(tmp_path, spec) as both:
        await both.holder.copies.open()
        both.source.do(CopyData(spec, HOLDER))
        assert await both.holder.until(DataCopied) == DataCopied(spec.job)
        assert await both.holder.copies.damage(spec.job) == ""
        assert not [event for event in both.holder.events if isinstance(event, HeldFound)]
    assert [record.getMessage() for record in caplog.records if "damaged" in record.getMessage()]


async def test_nothing_is_drawn_from_a_copy_that_was_damaged_meanwhile_and_the_job_does_not_end(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with pair(tmp_path, spec) as both:
        both.source.do(CopyData(spec, HOLDER))
        await both.holder.until(DataCopied)
        data, loaded = both.source.source.program(spec.job), asyncio.Event()
        assert data is not None
        both.holder.worker.load_program(spec.job, data, loaded.set)
        await asyncio.wait_for(loaded.wait(), 60)
        flip_a_bit(both.holder.copies.folder(spec.job) / "train-0.rows")
        both.holder.do(StartFeeder(replace(spec, source=HOLDER)))
        both.holder.do(DrawSample(spec.job, Work(0, Phase.TRAIN, 0)))
        lost = await both.holder.until(DataLost)
        assert "train-0.rows is damaged: its digest is not that of its content" in lost.reason
        assert not [event for event in both.holder.events if isinstance(event, FeederFailed | SampleDrawn)]
        assert both.holder.copies.whole(spec.job) is None
    assert not (tmp_path / "holder" / "samples" / spec.job).exists()
    assert not (tmp_path / "holder" / "jobs" / spec.job).exists()


async def test_a_source_that_was_replaced_keeps_no_feeder_and_can_start_one_again(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, Work(0, Phase.TRAIN, 0)))
        await bench.until(SampleDrawn)
        process = bench.source._jobs[spec.job].process
        assert process is not None
        bench.do(StopFeeder(spec.job))
        assert "killed by signal 9" in await asyncio.wait_for(process.wait(), 60)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, Work(0, Phase.TRAIN, 1)))
        await bench.until(SampleDrawn)
        assert not [event for event in bench.events if isinstance(event, FeederFailed)]


async def test_a_job_whose_samples_are_not_here_cannot_be_taken_over(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    (tmp_path / "other").mkdir()
    async with Bench(tmp_path / "other") as bench:
        bench.do(StartFeeder(replace(spec, source=HOLDER)))
        assert await bench.until(DataLost) == DataLost(spec.job, f"the samples of job {spec.name} are not here")


def parcel(**changes: Any) -> DataParcel:
    tensor = TensorSpec("batch", "float32", (4, 3), (3, 1), 48)
    given: dict[str, Any] = {
        "job": JobId("abc"),
        "phase": Phase.TRAIN,
        "first_row": 0,
        "rows": 4,
        "tensors": (tensor,),
        "layouts": (),
    }
    return DataParcel(**(given | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"tensors": ()},
        {"rows": 5},
        {"tensors": (TensorSpec("batch", "float32", (4, 3), (1, 4), 48),)},
        {"tensors": (TensorSpec("batch", "float32", (4, 3), (3, 1), 47),)},
        {"tensors": (TensorSpec("batch", "float32", (), (), 4),)},
        {"tensors": (TensorSpec("batch", "float32", (4, 2**28), (2**28, 1), 2**32),)},
    ],
)
def test_rows_that_make_no_sense_are_refused_before_they_take_memory(tmp_path: Path, changes: Any) -> None:
    copies = Copies(tmp_path, Disk(), lambda _job: None, lambda _event: None, lambda _to, _message: None)
    assert copies.expects(parcel())
    assert not copies.expects(parcel(**changes))
