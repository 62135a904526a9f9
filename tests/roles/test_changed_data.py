"""A job file that was edited after its job was submitted: a real feeder tells, and nothing else is ever drawn."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from edged.core.effects import DrawSample, SendInputs, StartFeeder
from edged.core.events import FeederFailed, SampleDrawn
from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from tests.roles.bench import Bench, hand_in, write_job
from tests.roles.test_source import feeder_of

FIRST, SECOND = Work(0, Phase.TRAIN, 0), Work(0, Phase.TRAIN, 1)
PEER = NodeId("b" * 16)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def drawn(bench: Bench, spec: JobSpec, work: Work) -> list[bytes]:
    """The bytes of a micro-batch that has been drawn, as they go out."""
    sent: list[list[bytes]] = []
    bench.carry = lambda _to, _header, buffers: sent.append([bytes(buffer) for buffer in buffers])
    bench.do(SendInputs(PEER, Stamp(spec.job, 1, 1), 0, 1, work, (0, 1)))
    return sent[0]


async def feed(bench: Bench, spec: JobSpec, work: Work) -> None:
    bench.do(StartFeeder(spec))
    bench.do(DrawSample(spec.job, work))
    await bench.until(SampleDrawn)


async def kill(bench: Bench, spec: JobSpec) -> None:
    os.kill(feeder_of(bench, spec), 9)
    await bench.until(FeederFailed)


async def told(bench: Bench, spec: JobSpec) -> str:
    """What the job waits for, once it does."""
    while not bench.source._jobs[spec.job].changed:
        await bench.turn()
    return bench.source.waiting()[spec.job]


@pytest.mark.long
@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("return 32", "return 24", "data has 24 samples, and had 32;"),
        ("manual_seed(index)", "manual_seed(index + 1)", " of data is another;"),
        ("generator = torch", "generator = 1 / 0 * torch", "ZeroDivisionError"),
        ("import torch", "import torch, nothing_of_this_name", "the job file was edited, and cannot be used now"),
    ],
)
async def test_a_job_whose_data_was_changed_waits_until_it_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, words: str
) -> None:
    monkeypatch.setattr("edged.roles.source.AGAIN_SECONDS", 0.01)
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        await feed(bench, spec, SECOND)
        right = drawn(bench, spec, SECOND)
        await kill(bench, spec)
        bench.source.drop_samples(spec.job)  # it draws all of this again
        edit(path, old, new)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, SECOND))
        why = await told(bench, spec)
        assert words in why
        assert "; put the job file and the data back as they were and it goes on by itself, or end it: `edged" in why
        assert not [event for event in bench.events if isinstance(event, SampleDrawn | FeederFailed)]
        edit(path, new, old)
        await bench.until(SampleDrawn)
        assert drawn(bench, spec, SECOND) == right
        assert bench.source.waiting() == {}


async def test_a_restarted_node_does_not_go_on_with_other_data(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
    edit(path, "manual_seed(index)", "manual_seed(index + 1)")
    async with Bench(tmp_path) as bench:
        assert bench.source.take_on_again() == (spec,)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        assert " of data is another;" in await told(bench, spec)
        bench.source.drop_job(spec.job)


async def test_a_job_that_has_not_begun_ends_when_its_data_is_another_each_time(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    edit(path, "manual_seed(index)", "manual_seed(index + os.getpid())")
    spec = hand_in(tmp_path, path)
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        failed = await bench.until(FeederFailed)
        assert "of data is another; give what is made at random a fixed seed" in failed.reason
        assert failed.detail


async def test_other_numbers_in_the_file_change_nothing_and_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        await feed(bench, spec, SECOND)
        right = drawn(bench, spec, SECOND)
        await kill(bench, spec)
        bench.source.drop_samples(spec.job)
        edit(path, "batch_size=8, micro_batches=2", "batch_size=16, micro_batches=4, shuffle=False")
        edit(path, "seed=3", "seed=4")
        await feed(bench, spec, SECOND)
        assert drawn(bench, spec, SECOND) == right
    assert "was edited after it was submitted; its samples are the same" in caplog.text
