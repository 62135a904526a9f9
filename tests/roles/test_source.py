"""The source: samples from a real feeder, what happens when it breaks, and what is left when a job is over."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edged.core.effects import (
    DrawSample,
    DropSample,
    SendFirstState,
    SendInputs,
    StartFeeder,
    WriteWeights,
)
from edged.core.events import (
    ComputeFailed,
    DataLost,
    ExportAsked,
    FeederFailed,
    HeldLost,
    SampleDrawn,
    TimerFired,
    WeightsWritten,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Holding, HoldingKind, Inputs, Refused
from edged.core.running import MOST_ASKED
from edged.errors import JobError
from edged.feeder import serve
from tests.roles.bench import Bench, hand_in, load, write_job
from tests.roles.conftest import spec_of

FIRST = Work(0, Phase.TRAIN, 0)
PEER = NodeId("b" * 16)


@pytest.fixture(scope="module")
def handed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, JobSpec]:
    """One captured job for all tests that do not change it: home, spec."""
    home = tmp_path_factory.mktemp("home")
    return home, hand_in(home, write_job(home))


def feeder_of(bench: Bench, spec: JobSpec) -> int:
    process = bench.source._jobs[spec.job].process
    assert process is not None
    return process._process.pid


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_samples_are_drawn_sent_in_part_and_dropped(handed) -> None:
    home, spec = handed
    async with Bench(home) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        bench.do(DrawSample(spec.job, FIRST))
        await bench.until(SampleDrawn)
        bench.do(DrawSample(spec.job, FIRST))
        await bench.until(SampleDrawn)
        stamp = Stamp(spec.job, 1, 1)
        bench.do(SendInputs(PEER, stamp, 0, 1, FIRST, (1,)))
        ((to, header),) = bench.parcels
        assert to == PEER
        assert isinstance(header, Inputs)
        assert [(spec.dtype, spec.shape) for spec in header.tensors] == [("int64", (4,))]
        bench.do(DropSample(spec.job, FIRST))
        bench.do(SendInputs(PEER, stamp, 0, 1, FIRST, (1,)))
        assert "does not have the inputs" in (await bench.until(ComputeFailed)).reason
        pid = feeder_of(bench, spec)
    assert not is_alive(pid)


async def test_a_killed_feeder_is_a_plain_death_and_can_be_started_again(handed) -> None:
    home, spec = handed
    async with Bench(home) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        await bench.until(SampleDrawn)
        os.kill(feeder_of(bench, spec), 9)
        failed = await bench.until(FeederFailed)
        assert (failed.detail, failed.reason) == ("", "the feeder was killed by signal 9")
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, Work(0, Phase.TRAIN, 1)))
        await bench.until(SampleDrawn)
        assert not [event for event in bench.events if isinstance(event, FeederFailed)]


async def test_what_the_users_code_raises_comes_with_its_traceback(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        write_job(tmp_path, trouble="1 / 0")
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        failed = await bench.until(FeederFailed)
        assert "division by zero" in failed.reason
        assert "1 / 0" in failed.detail


async def test_a_feeder_that_cannot_start_gives_up_after_a_few_deaths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edged.roles.source.DEATHS", 2)
    spec = hand_in(tmp_path, write_job(tmp_path))
    (tmp_path / "job.py").write_text("import os; os._exit(7)")
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        for attempt in range(2):
            bench.do(StartFeeder(spec))
            failed = await bench.until(FeederFailed)
            assert "ended with status 7" in failed.reason
            assert bool(failed.detail) == (attempt == 1)


async def test_a_program_of_the_user_can_feed(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    document = (tmp_path / "jobs" / spec.job / "job.json").read_text()
    before, _, after = document.partition('"feeder": {')
    (tmp_path / "jobs" / spec.job / "job.json").write_text(before + '"feeder": null' + after[after.index("}}") + 2 :])
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        import socket

        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(tmp_path / "node.sock"))
        thread = asyncio.create_task(asyncio.to_thread(serve, connection, spec.job, load(f"{path}:job")))
        await bench.until(SampleDrawn)
        assert bench.source.refusal(spec.job) == "it has a feeder"
        bench.source.drop_job(spec.job)
        async with asyncio.timeout(60):
            await thread
        assert bench.source.refusal(spec.job) == f"job {spec.job} is not running on this node"
        assert not (tmp_path / "jobs" / spec.job).exists()


async def test_the_end_of_a_users_program_ends_its_job(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    folder = tmp_path / "jobs" / spec.job
    document = (folder / "job.json").read_text()
    before, _, after = document.partition('"feeder": {')
    (folder / "job.json").write_text(before + '"feeder": null' + after[after.index("}}") + 2 :])
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(StartFeeder(spec))
        reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
        writer.write(b'{"command": "feed", "job": "%s"}\n' % spec.job.encode())
        assert await reader.readline() == b'{"ok": true}\n'
        writer.close()
        failed = await bench.until(FeederFailed)
        assert "the program that fed this job has gone" in failed.reason
        assert failed.detail


async def test_a_feeder_that_talks_nonsense_is_cut_off(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    frames = [
        b"\xff\xff\xff\xff",
        b"\x00\x00\x00\x02[]",
        b"\x00\x00\x00\x02{}",
        b"\x00\x00\x00\x03abc",
        b'\x00\x00\x00\x31{"work": [0, 1, 0], "tensors": [{"name": "x"}]}  ',
    ]
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        for frame in frames:
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
            writer.write(b'{"command": "feed", "job": "%s"}\n' % spec.job.encode() + frame)
            async with asyncio.timeout(60):
                assert await reader.read() == b'{"ok": true}\n'
            writer.close()


async def test_what_is_not_here_is_refused(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        stamp = Stamp(JobId("ffff"), 1, 1)
        bench.do(SendFirstState(PEER, stamp, 0, 0))
        assert [type(message) for _, message in bench.messages] == [Refused]
        bench.do(StartFeeder(spec_of(stamp.job)))
        assert (await bench.until(DataLost)).reason == f"the samples of job {spec_of(stamp.job).name} are not here"
        bench.do(DrawSample(stamp.job, FIRST))
        assert (await bench.until(FeederFailed)).detail
        bench.do(WriteWeights(stamp, 1, 0))
        assert (await bench.until(WeightsWritten)).problem
        bench.do(DropSample(stamp.job, FIRST))
        bench.source.drop_job(stamp.job)
        with pytest.raises(JobError, match="not submitted here"):
            bench.source.export(stamp.job, tmp_path / "x")


async def idle(bench: Bench) -> None:
    """Wait until the engine has told all that it was asked before."""
    done = asyncio.Event()
    bench.engine.run(lambda _executor: None, lambda _nothing: done.set(), bench.problems.append)
    async with asyncio.timeout(60):
        await done.wait()


@pytest.mark.parametrize("missing", [False, True])
async def test_first_weights_are_not_sent_once_the_job_is_over(tmp_path: Path, *, missing: bool) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        if missing:
            (tmp_path / "jobs" / spec.job / "state.safetensors").unlink()
        effect = SendFirstState(PEER, Stamp(spec.job, 1, 1), 0, 1)
        bench.do(effect)
        await idle(bench)
        assert [to for to, _ in (bench.messages if missing else bench.parcels)] == [PEER]
        bench.do(effect)  # it waits for the engine when the job ends
        bench.source.drop_job(spec.job)
        await idle(bench)
        assert len(bench.messages) + len(bench.parcels) == 1


async def test_jobs_handed_in_before_a_restart_are_taken_on_again(
    tmp_path: Path, write_spool: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
    damaged = write_spool(spec_of())
    (damaged / "accepted").touch()
    (damaged / "job.json").write_text("{}")
    async with Bench(tmp_path) as bench:
        assert bench.source.take_on_again() == (spec,)
        assert "cannot go on" in caplog.text
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        await bench.until(SampleDrawn)
        bench.source.drop_job(spec.job)
    async with Bench(tmp_path) as bench:
        assert bench.source.take_on_again() == ()


async def test_first_weights_that_cannot_be_read_are_refused_with_the_reason(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        (tmp_path / "jobs" / spec.job / "state.safetensors").write_bytes(b"nonsense")
        bench.do(SendFirstState(PEER, Stamp(spec.job, 1, 1), 0, 0))
        bench.engine.run(lambda _executor: None, lambda _nothing: bench.post(TimerFired()), bench.problems.append)
        await bench.until(TimerFired)
        ((to, message),) = bench.messages
        assert isinstance(message, Refused)
        assert (to, message.job) == (PEER, spec.job)
        assert "cannot read the first weights" in message.reason
        lost = await bench.until(HeldLost)
        assert (lost.job, lost.layers) == (spec.job, Holding(0, 0, 0, HoldingKind.FIRST))


async def test_an_export_ends_with_its_job(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        future = bench.source.export(spec.job, tmp_path / "x.safetensors")
        assert (await bench.until(ExportAsked)).token == 1
        bench.source.drop_job(spec.job)
        with pytest.raises(JobError, match="the job ended"):
            await future


async def test_weights_that_cannot_be_written_name_the_reason(handed) -> None:
    home, spec = handed
    async with Bench(home) as bench:
        bench.source.take_on(spec.job)
        bench.do(WriteWeights(Stamp(spec.job, 1, 1), 4, 0))
        assert (await bench.until(WeightsWritten)).problem


async def test_a_micro_batch_unlike_the_first_ends_the_job_with_what_is_wrong(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        write_job(tmp_path, trouble="return torch.zeros(6), torch.zeros(3, dtype=torch.int64)")
        submitted = tmp_path / "jobs" / spec.job / "job.json"
        submitted.write_text(json.dumps({**json.loads(submitted.read_text()), "data": {}}))  # no sample is compared
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, FIRST))
        failed = await bench.until(FeederFailed)
        assert failed.reason.startswith(
            "data, step 1, micro-batch 0: batch[1] is int64 (4, 3) where the program takes int64 (4,), as in the first"
        )
        assert failed.detail


async def test_no_more_exports_wait_than_are_answered(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        futures = [bench.source.export(spec.job, tmp_path / f"{number}") for number in range(MOST_ASKED)]
        with pytest.raises(JobError, match="16 exports are under way already"):
            bench.source.export(spec.job, tmp_path / "one more")
        (tmp_path / "jobs" / spec.job / "program.msgpack").unlink()
        bench.do(WriteWeights(Stamp(spec.job, 1, 1), 1, 1))
        with pytest.raises(JobError, match="folder is gone"):
            await futures[0]
        await bench.source.close()
        for future in futures[1:]:
            with pytest.raises(JobError, match="the node left"):
                await future


async def test_data_that_takes_long_is_waited_for_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.roles.source.SLOW_SECONDS", 0.0)
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        assert bench.source.waiting() == {}
        bench.do(DrawSample(spec.job, FIRST))
        assert bench.source.waiting()[spec.job].startswith("waiting for the data of small: step 1, micro-batch 0 was")
        bench.do(StartFeeder(spec))
        await bench.until(SampleDrawn)
        assert bench.source.waiting() == {}
