"""A feeder that is started before its job is handed in: used if the job comes, gone if it does not."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from edged.core.effects import DrawSample, StartFeeder
from edged.core.events import FeederFailed, SampleDrawn
from edged.core.ids import JobId
from edged.core.job import JobSpec, Phase, Work
from edged.roles.announced import MOST
from edged.roles.spool import Feeder, Spool
from tests.roles.bench import Bench, hand_in, write_job
from tests.roles.test_source import feeder_of, is_alive

FIRST = Work(0, Phase.TRAIN, 0)


@pytest.fixture
def handed(tmp_path: Path) -> JobSpec:
    return hand_in(tmp_path, write_job(tmp_path))


def feeder_in(home: Path, job: JobId) -> Feeder:
    feeder = Spool(home, job).read()[1]
    assert feeder is not None
    return feeder


async def started(bench: Bench, job: JobId) -> int:
    """The process id of an announced feeder."""
    process = await bench.source.announced._waiting[job].starting
    return process._process.pid


async def gone(pid: int) -> None:
    async with asyncio.timeout(60):
        while is_alive(pid):  # noqa: ASYNC110 -- a process tells nobody that it ends
            await asyncio.sleep(0.01)


async def test_an_announced_feeder_serves_its_job(tmp_path: Path, handed: JobSpec) -> None:
    async with Bench(tmp_path) as bench:
        withdraw = bench.source.announced.begin(handed.job, feeder_in(tmp_path, handed.job))
        pid = await started(bench, handed.job)
        bench.source.take_on(handed.job)
        withdraw()
        await asyncio.sleep(0)
        bench.do(StartFeeder(handed))
        bench.do(DrawSample(handed.job, FIRST))
        await bench.until(SampleDrawn)
        assert feeder_of(bench, handed) == pid
        assert not [event for event in bench.events if isinstance(event, FeederFailed)]
        bench.source.drop_job(handed.job)
        await gone(pid)


async def test_the_job_file_runs_only_after_the_job_is_handed_in(tmp_path: Path, handed: JobSpec) -> None:
    path = tmp_path / "job.py"
    path.write_text(path.read_text() + f"\nopen({str(tmp_path / 'ran')!r}, 'w').close()\n")
    async with Bench(tmp_path) as bench:
        asked = asyncio.Event()
        settled = bench.source.announced.settled

        async def watched(job: JobId) -> None:
            asked.set()
            await settled(job)

        bench.source.announced.settled = watched  # type: ignore[method-assign]
        bench.source.announced.begin(handed.job, feeder_in(tmp_path, handed.job))
        async with asyncio.timeout(60):
            await asked.wait()
        assert not (tmp_path / "ran").exists()
        bench.source.take_on(handed.job)
        bench.do(StartFeeder(handed))
        bench.do(DrawSample(handed.job, FIRST))
        await bench.until(SampleDrawn)
        assert (tmp_path / "ran").exists()


async def test_a_feeder_whose_job_never_comes_is_ended(tmp_path: Path, handed: JobSpec) -> None:
    feeder = feeder_in(tmp_path, handed.job)
    async with Bench(tmp_path) as bench:
        withdraw = bench.source.announced.begin(handed.job, feeder)
        waiting = asyncio.create_task(bench.source.announced.settled(handed.job))
        pid = await started(bench, handed.job)
        withdraw()
        withdraw()
        async with asyncio.timeout(60):
            await waiting
        await gone(pid)
        bench.source.announced.begin(handed.job, feeder)
        left = await started(bench, handed.job)
    assert not is_alive(left)


async def test_a_feeder_that_died_early_or_was_announced_otherwise_is_started_again(
    tmp_path: Path, handed: JobSpec
) -> None:
    feeder = feeder_in(tmp_path, handed.job)
    async with Bench(tmp_path) as bench:
        bench.source.announced.begin(handed.job, Feeder(feeder.path, "other", (), feeder.folder))
        other = await started(bench, handed.job)
        bench.source.take_on(handed.job)
        await gone(other)
        bench.do(StartFeeder(handed))
        bench.do(DrawSample(handed.job, FIRST))
        await bench.until(SampleDrawn)
        assert feeder_of(bench, handed) != other
    second = hand_in(tmp_path, tmp_path / "job.py")
    async with Bench(tmp_path) as bench:
        bench.source.announced.begin(second.job, feeder)
        pid = await started(bench, second.job)
        bench.source.take_on(second.job)
        await asyncio.sleep(0)
        os.kill(pid, 9)
        await bench.until(FeederFailed)
        bench.do(StartFeeder(second))
        bench.do(DrawSample(second.job, FIRST))
        await bench.until(SampleDrawn)
        assert bench.source._jobs[second.job].deaths == 0


async def test_only_a_few_are_started(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        feeder = Feeder(str(tmp_path / "job.py"), "job", (), str(tmp_path))
        for number in range(MOST + 2):
            bench.source.announced.begin(JobId(f"{number:012x}"), feeder)
        assert len(bench.source.announced._waiting) == MOST
        pids = [await started(bench, job) for job in tuple(bench.source.announced._waiting)]
        bench.source.kill()
        for pid in pids:
            await gone(pid)


async def test_the_announcement_lasts_as_long_as_its_connection(tmp_path: Path, handed: JobSpec) -> None:
    from edged.roles.observer import Observer
    from tests.roles.bench import OWN
    from tests.roles.conftest import record_of

    async with Bench(tmp_path) as bench:
        bench.server._commands._observer = Observer(record_of(OWN, "desk"), dict)
        document = json.loads((Spool(tmp_path, handed.job).folder / "job.json").read_text())["feeder"]
        for feeder, answers in ((document, False), ("nonsense", True)):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
            request = {"command": "announce", "job": handed.job, "feeder": feeder}
            writer.write(json.dumps(request).encode() + b"\n")
            if answers:
                assert b"announce takes a job" in await reader.readline()
            else:
                async with asyncio.timeout(60):
                    while not bench.source.announced._waiting:  # noqa: ASYNC110 -- the answer is silence
                        await asyncio.sleep(0.01)
                pid = await started(bench, handed.job)
            writer.close()
        await gone(pid)
        assert not bench.source.announced._waiting
