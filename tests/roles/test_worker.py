"""The worker trains with the real executor: by hand, effect by effect, it gives the reference's bits."""

import asyncio
import errno
import mmap
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.core.effects import (
    BuildStages,
    DrawSample,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendFirstState,
    SendGradient,
    SendInputs,
    SendProgram,
    SendState,
    StartFeeder,
    TakeNorms,
    WriteWeights,
)
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    ForwardDone,
    MemoryRanOut,
    NormsTaken,
    ParcelArrived,
    SampleDrawn,
    SelfMeasured,
    StagesBuilt,
    UpdateDone,
    WeightsWritten,
)
from edged.core.ids import JobId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Activation, Gradient, Inputs, ProgramParcel, StateParcel, TensorSpec
from edged.core.plan import Plan
from edged.errors import ShortageError
from tests.roles.bench import OWN, Bench, hand_in, plan_of, write_job


async def prepare(bench: Bench, spec: JobSpec, plan: Plan) -> StagesBuilt:
    bench.source.take_on(spec.job)
    bench.do(SendProgram(OWN, spec.job))
    await bench.until(ParcelArrived, lambda event: isinstance(event.parcel, ProgramParcel))
    for _, _, hop in plan.hops_of(OWN):
        bench.do(SendFirstState(OWN, plan.stamp, hop.first_layer, hop.last_layer))
        await bench.until(ParcelArrived, lambda event: isinstance(event.parcel, StateParcel))
    bench.do(BuildStages(plan, spec, 0))
    return await bench.until(StagesBuilt)


async def micro_batch(bench: Bench, spec: JobSpec, plan: Plan, work: Work, weight: float) -> None:
    """One micro-batch over all hops and back."""
    stamp, hops = plan.stamp, plan.routes[0].hops
    bench.do(DrawSample(spec.job, work))
    await bench.until(SampleDrawn, lambda event: event.work == work)
    for h, hop in enumerate(hops):
        used = sorted({i for layer in spec.layers[hop.first_layer : hop.last_layer + 1] for i in layer.inputs})
        if used:
            bench.do(SendInputs(OWN, stamp, 0, h, work, tuple(used)))
        bench.do(RunForward(stamp, 0, h, work, weight))
        done = await bench.until(ForwardDone)
        assert (done.loss is not None) == (h == len(hops) - 1)
        if h < len(hops) - 1:
            bench.do(SendActivation(OWN, stamp, 0, h, work))
    for h in reversed(range(len(hops))):
        bench.do(RunBackward(stamp, 0, h, work))
        await bench.until(BackwardDone)
        if h > 0:
            bench.do(SendGradient(OWN, stamp, 0, h, work))


@pytest.mark.parametrize("hops", [1, 2, 3])
async def test_training_by_hand_equals_the_reference(tmp_path: Path, hops: int) -> None:
    path, output = write_job(tmp_path), tmp_path / "out.safetensors"
    spec = hand_in(tmp_path, path, output)
    plan = plan_of(spec, *range(1, hops))
    async with Bench(tmp_path) as bench:
        assert (await prepare(bench, spec, plan)).problem == ""
        assert await bench.until(SelfMeasured) == SelfMeasured(1.0, 10**9, "cpu")
        bench.do(StartFeeder(spec))
        for version in range(spec.steps):
            for number in range(spec.micro_batches):
                await micro_batch(bench, spec, plan, Work(version, Phase.TRAIN, number), 0.5)
            bench.do(TakeNorms(plan.stamp, version + 1))
            norms = (await bench.until(NormsTaken)).norms
            bench.do(RunUpdate(plan.stamp, version + 1, norms))
            assert (await bench.until(UpdateDone)).version == version + 1
        for hop in plan.routes[0].hops:
            bench.do(SendState(OWN, plan.stamp, hop.first_layer, hop.last_layer, spec.steps))
            await bench.until(ParcelArrived, lambda event: isinstance(event.parcel, StateParcel))
        bench.do(WriteWeights(plan.stamp, spec.steps, 0))
        written = await bench.until(WeightsWritten)
        assert written.problem == ""
        beside = bench.source.export(spec.job, tmp_path / "beside.safetensors")
        bench.do(WriteWeights(plan.stamp, spec.steps, 1))
        assert (await beside)["state_sha256"] == written.state_sha256
        assert written.output == str(output)
        assert bench.worker.micro_batch_seconds() > 0
        assert bench.engine.busy_seconds > 0
        assert not [event for event in bench.events if isinstance(event, ComputeFailed)]
    assert written.state_sha256 == train_local(load(f"{path}:job")).state_sha256
    assert output.read_bytes() == (tmp_path / "jobs" / spec.job / "result.safetensors").read_bytes()


async def whole(bench: Bench, spec: JobSpec, plan: Plan) -> None:
    """All layers of the first version have come home."""
    assert (await prepare(bench, spec, plan)).problem == ""
    for hop in plan.routes[0].hops:
        bench.do(SendState(OWN, plan.stamp, hop.first_layer, hop.last_layer, 0))
        await bench.until(ParcelArrived, lambda event: isinstance(event.parcel, StateParcel))


async def test_a_result_that_the_disk_refuses_is_written_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec, 1)

    def full(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with Bench(tmp_path) as bench:
        await whole(bench, spec, plan)
        with monkeypatch.context() as patch:
            patch.setattr("edged.compute.state.save_file", full)
            bench.do(WriteWeights(plan.stamp, 0, 0))
            refused = await bench.until(WeightsWritten)
        result = tmp_path / "jobs" / spec.job / "result.safetensors"
        assert str(result) in refused.problem
        assert "No space left on device" in refused.problem
        assert "make room" in refused.problem
        beside = bench.source.export(spec.job, tmp_path / "elsewhere.safetensors")
        bench.do(WriteWeights(plan.stamp, 0, 1))  # a full home does not keep them from another disk
        await beside
        assert not result.exists()
        bench.do(WriteWeights(plan.stamp, 0, 0))
        written = await bench.until(WeightsWritten, lambda event: event.token == 0)
        assert (written.problem, written.output) == ("", str(result))
        assert (tmp_path / "elsewhere.safetensors").read_bytes() == result.read_bytes()


async def test_a_result_that_cannot_be_copied_to_its_output_is_safe_in_the_home(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    output = tmp_path / "out.safetensors"
    spec = hand_in(tmp_path, write_job(tmp_path), output)
    output.mkdir()
    plan = plan_of(spec)
    async with Bench(tmp_path) as bench:
        await whole(bench, spec, plan)
        bench.do(WriteWeights(plan.stamp, 0, 0))
        written = await bench.until(WeightsWritten)
    result = tmp_path / "jobs" / spec.job / "result.safetensors"
    assert (written.problem, written.output) == ("", str(result))
    assert written.state_sha256
    assert f"cannot write {output}" in caplog.text
    assert f"the weights are in {result}" in caplog.text


async def test_a_refused_program_is_the_reason_why_stages_cannot_be_built(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.send_parcel(OWN, ProgramParcel(spec.job, 3), [memoryview(b"\xc1\xc1\xc1")])
        await bench.until(ParcelArrived)
        bench.do(BuildStages(plan_of(spec), spec, 0))
        assert "the program was refused" in (await bench.until(StagesBuilt)).problem


async def test_another_program_than_the_job_names_is_refused(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(SendProgram(OWN, spec.job))
        await bench.until(ParcelArrived)
        bench.do(BuildStages(plan_of(spec), replace(spec, program="0" * 64), 0))
        assert "not the one that the job names" in (await bench.until(StagesBuilt)).problem


async def test_computing_without_stages_fails_in_one_event(tmp_path: Path) -> None:
    async with Bench(tmp_path) as bench:
        stamp, work = Stamp(JobId("aa"), 1, 1), Work(0, Phase.TRAIN, 0)
        for effect in (
            RunForward(stamp, 0, 0, work, 1.0),
            RunBackward(stamp, 0, 0, work),
            TakeNorms(stamp, 1),
            RunUpdate(stamp, 1, None),
            SendState(OWN, stamp, 0, 0, 0),
            SendActivation(OWN, stamp, 0, 0, work),
            SendGradient(OWN, stamp, 0, 0, work),
        ):
            bench.do(effect)
            assert (await bench.until(ComputeFailed)).stamp == stamp


async def test_a_dropped_plan_leaves_nothing_to_send(tmp_path: Path) -> None:
    path = write_job(tmp_path)
    spec = hand_in(tmp_path, path)
    plan = plan_of(spec, 1)
    work = Work(0, Phase.TRAIN, 0)
    async with Bench(tmp_path) as bench:
        await prepare(bench, spec, plan)
        bench.do(StartFeeder(spec))
        bench.do(DrawSample(spec.job, work))
        await bench.until(SampleDrawn)
        bench.do(SendInputs(OWN, plan.stamp, 0, 0, work, (0,)))
        bench.do(RunForward(plan.stamp, 0, 0, work, 0.5))
        await bench.until(ForwardDone)
        bench.worker.drop_stages(plan.stamp)
        bench.do(SendActivation(OWN, plan.stamp, 0, 0, work))
        assert "nothing was left" in (await bench.until(ComputeFailed)).reason
        bench.worker.drop_job(spec.job)


async def test_what_does_not_fit_takes_no_memory(tmp_path: Path) -> None:
    stamp, work = Stamp(JobId("aa"), 1, 1), Work(0, Phase.TRAIN, 0)
    spec = TensorSpec("x", "float32", (2,), (1,), 8)
    huge = TensorSpec("parameter/x", "float32", (10**9,), (1,), 4 * 10**9)
    async with Bench(tmp_path) as bench:
        await bench.until(SelfMeasured)
        for header in (
            Inputs(stamp, 0, 0, work, (spec,)),
            Activation(stamp, 0, 1, work, (spec,), ()),
            Gradient(stamp, 0, 0, work, (spec,)),
            ProgramParcel(stamp.job, 2**40),
            StateParcel(stamp, 0, 0, 0, (huge,), b"", replica=False),
        ):
            assert not bench.worker.expects(OWN, header)


async def computed(bench: Bench) -> None:
    """Wait until everything that was asked of the compute thread before is done."""
    over = asyncio.Event()
    bench.engine.run(lambda _executor: None, lambda _nothing: over.set(), lambda _reason: over.set())
    async with asyncio.timeout(60):
        await over.wait()


async def test_what_nobody_asked_for_takes_no_memory(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    async with Bench(tmp_path) as bench:
        await bench.until(SelfMeasured)
        program = ProgramParcel(spec.job, 100)
        state = StateParcel(Stamp(spec.job, 1, 1), 0, 0, 0, (), b"", replica=False)
        assert bench.worker.expects(OWN, program)
        assert bench.worker.expects(OWN, state)
        bench.wants = lambda _header: False
        assert not bench.worker.expects(OWN, program)
        assert not bench.worker.expects(OWN, state)


async def test_state_that_comes_after_its_plan_has_ended_is_let_go(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec)
    async with Bench(tmp_path) as bench:
        bench.source.take_on(spec.job)
        bench.do(SendFirstState(OWN, plan.stamp, 0, plan.layers - 1))
        bench.worker.drop_stages(plan.stamp)
        bench.wants = lambda _header: False
        await computed(bench)
        assert [type(header) for _, header in bench.parcels] == [StateParcel]
        assert bench.shelf.take(plan.stamp, 0) == ()
        assert not [event for event in bench.events if isinstance(event, ParcelArrived)]


async def test_a_job_that_ends_while_its_program_is_loaded_leaves_nothing(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    data = (tmp_path / "jobs" / spec.job / "program.msgpack").read_bytes()
    done: list[str] = []
    async with Bench(tmp_path) as bench:
        await bench.until(SelfMeasured)
        bench.worker.load_program(spec.job, data, lambda: done.append("first"))
        bench.worker.load_program(spec.job, b"never read: it is on its way", lambda: done.append("second"))
        bench.worker.drop_job(spec.job)
        bench.worker.load_program(JobId("ff"), data, lambda: done.append("other"))
        await computed(bench)
        assert done == ["other"]
        assert set(bench.worker._programs) == {"ff"}


async def test_memory_that_runs_out_costs_the_stages_and_shrinks_the_budget(tmp_path: Path) -> None:
    spec = hand_in(tmp_path, write_job(tmp_path))
    plan = plan_of(spec, 1)
    async with Bench(tmp_path) as bench:
        assert (await prepare(bench, spec, plan)).problem == ""
        bench.do(StartFeeder(spec))
        await micro_batch(bench, spec, plan, Work(0, Phase.TRAIN, 0), 0.5)
        bench.worker._compute(plan.stamp, lambda _executor: torch.empty(2**55), lambda _nothing: None)
        ran_out = await bench.until(MemoryRanOut)
        assert (await bench.until(ComputeFailed)).reason == ran_out.reason
        parameters = sum(layer.parameter_bytes for layer in spec.layers)
        assert bench.worker.memory_bytes == ran_out.memory_bytes == 10**9 // 64  # bounded: it held next to nothing
        assert "memory ran out (RuntimeError: " in ran_out.reason
        bench.do(RunUpdate(plan.stamp, 1, None))
        assert "nothing has been built" in (await bench.until(ComputeFailed)).reason
        huge = TensorSpec("parameter/x", "float32", (10**8,), (1,), 4 * 10**8)
        assert parameters < 10**9 // 64 < huge.size_bytes
        copy = StateParcel(plan.stamp, 0, 0, 0, (huge,), b"", replica=True)
        bench.worker.drop_job(spec.job)
        await computed(bench)
        assert bench.worker.expects(OWN, copy)  # what a source is sent in pieces keeps to the budget of the beginning


@pytest.mark.parametrize(("held", "left"), [(10, 12), (100, 100), (500, 500), (750, 600), (2000, 600)])
async def test_the_budget_becomes_what_was_held_within_bounds(tmp_path: Path, held: int, left: int) -> None:
    async with Bench(tmp_path) as bench:
        bench.worker.memory_bytes = 800
        bench.worker._run_out(ShortageError("memory ran out", held))
        assert (await bench.until(MemoryRanOut)).memory_bytes == left


async def test_a_parcel_for_which_the_system_has_no_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = TensorSpec("parameter/x", "float32", (2**20,), (1,), 2**22)
    async with Bench(tmp_path) as bench:
        headers = [StateParcel(Stamp(JobId("aa"), 1, 1), 0, 0, 0, (spec,), b"", replica=r) for r in (True, False)]
        assert [bench.worker.expects(OWN, header) for header in headers] == [True, True]

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

        monkeypatch.setattr(mmap, "mmap", refuse)
        assert not bench.worker.expects(OWN, headers[0])
        assert not [event for event in bench.events if isinstance(event, MemoryRanOut)]  # nobody waits for a replica
        assert not bench.worker.expects(OWN, headers[1])
        assert (await bench.until(MemoryRanOut)).reason == "memory ran out (4 MB for what was to come in)"
