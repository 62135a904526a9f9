"""The executor's door: building, refusing, copying state in mid-run, writing weights."""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.optim import lr_scheduler

from edged.compute.executor import Executor
from edged.compute.program_form import dump
from edged.compute.result import state_sha256
from edged.compute.slowing import Slowdown
from edged.compute.state import write_first_state
from edged.core.ids import JobId, NodeId
from edged.core.job import Phase, Work
from edged.core.messages import Activation, Gradient, Inputs, StateParcel, TensorSpec
from edged.errors import BrokenInvariantError, ConfigError, JobError, MalformedError, ProgramRefusedError
from tests.compute.models import CASES
from tests.compute.pipeline import STAMP, Chain, Recipe, assert_equal, plain_loop
from tests.compute.samples import captured

ADAMW = Recipe(
    optimizer=partial(torch.optim.AdamW, lr=1e-2),
    scheduler=partial(lr_scheduler.CosineAnnealingLR, T_max=5),
    clip_norm=0.5,
    steps=4,
)
FIRST = Work(0, Phase.TRAIN, 0)


def chain(name: str, cuts: tuple[int, ...] = (2,), recipe: Recipe = ADAMW) -> Chain:
    return Chain(captured(name), CASES[name], recipe, cuts)


@pytest.mark.parametrize("name", ["unet", "gpt2"])
def test_state_moved_to_other_cuts_in_mid_run_changes_no_bit(name: str) -> None:
    before = chain(name, (1, 3))
    before.train(0, 2)
    after = Chain(captured(name), CASES[name], ADAMW, (2,), seed=1, states=before.parcels(2), version=2)
    outcome = after.train(2)
    outcome.losses = before.outcome.losses + outcome.losses
    assert_equal(outcome, plain_loop(CASES[name], ADAMW))


@pytest.mark.parametrize("name", ["residual", "gpt2"])
def test_written_weights_are_what_the_module_takes(name: str, tmp_path: Path) -> None:
    trained = chain(name)
    trained.train()
    output = tmp_path / "new" / "weights.safetensors"
    digest = trained.nodes[0].write_weights(STAMP.job, trained.parcels(4), output)
    weights = load_file(output)
    model = CASES[name].build()
    model.load_state_dict(weights)
    expected = plain_loop(CASES[name], ADAMW).state
    assert digest == state_sha256(weights) == state_sha256(expected) == state_sha256(model.state_dict())
    assert [path.name for path in output.parent.iterdir()] == ["weights.safetensors"]


def test_incomplete_or_mixed_weights_are_not_written(tmp_path: Path) -> None:
    trained = chain("residual")
    parcels = trained.parcels(0)
    with pytest.raises(JobError, match="missing"):
        trained.nodes[0].write_weights(STAMP.job, parcels[:1], tmp_path / "x.safetensors")
    mixed = [parcels[0], (replace(parcels[1][0], version=1), parcels[1][1])]
    with pytest.raises(BrokenInvariantError, match="different versions"):
        trained.nodes[0].write_weights(STAMP.job, mixed, tmp_path / "x.safetensors")
    assert not list(tmp_path.iterdir())


def test_first_state_comes_from_the_spool_with_its_strides(tmp_path: Path) -> None:
    found = captured("residual")
    state = dict(found.state)
    state["stem.weight"] = state["stem.weight"].to(memory_format=torch.channels_last)
    write_first_state(tmp_path / "state.safetensors", state)
    executor = Executor("cpu", 1, 1.0)
    executor.load_program(STAMP.job, dump(found.program))
    copied = executor.first_state(STAMP.job, tmp_path / "state.safetensors", 0, 1)
    specs = {spec.name: spec for spec in copied.tensors}
    assert specs["parameter/stem.weight"].strides == state["stem.weight"].stride()
    assert "parameter/head.weight" not in specs
    assert executor.expects(StateParcel(STAMP, 0, 1, 0, copied.tensors, copied.extra, replica=False))
    with pytest.raises(JobError, match="first weights"):
        executor.first_state(STAMP.job, tmp_path / "absent.safetensors", 0, 1)


def test_a_state_copy_does_not_follow_the_training() -> None:
    run = chain("residual", ())
    copied = run.nodes[0].state(0, len(run.program.layers) - 1)
    before = [bytes(buffer) for buffer in copied.buffers]
    run.train(0, 1)
    assert [bytes(buffer) for buffer in copied.buffers] == before


def cut_in_two() -> tuple[Executor, Executor, TensorSpec]:
    """A model on two nodes, and what crosses from the first to the second."""
    run = chain("unet")
    front, back = run.nodes
    sends = front._hosting.interfaces()[0, 0].sends
    spec = sends[0].spec
    good = TensorSpec(sends[0].name, spec.dtype, spec.shape, spec.strides, spec.size_bytes)
    return front, back, good


def test_only_parcels_that_fit_are_expected() -> None:
    front, back, good = cut_in_two()
    arriving = Activation(STAMP, 0, 1, FIRST, (good,), ())
    returning = Gradient(STAMP, 0, 0, FIRST, (good,))
    assert back.expects(arriving)
    assert front.expects(returning)
    assert not front.expects(arriving)
    assert not front.expects(replace(returning, hop=1))
    assert not back.expects(replace(arriving, tensors=(good, good)))
    assert not back.expects(replace(arriving, scalars=(("x", 1),)))
    assert not back.expects(replace(arriving, work=Work(0, Phase.TRAIN, 2)))
    assert not back.expects(replace(arriving, work=Work(99, Phase.TRAIN, 0)))
    assert not back.expects(replace(arriving, work=Work(-1, Phase.TRAIN, 0)))
    for changed in (
        replace(good, name="other"),
        replace(good, dtype="float64", size_bytes=good.size_bytes * 2),
        replace(good, shape=(4, *good.shape[1:]), size_bytes=good.size_bytes * 4 // 5),
        replace(good, size_bytes=good.size_bytes - 4),
        replace(good, strides=(1,)),
    ):
        assert not back.expects(replace(arriving, tensors=(changed,)))
    assert not front.expects(Inputs(STAMP, 0, 0, FIRST, (good,)))


def test_until_others_know_that_memory_ran_out_what_comes_is_expected_and_not_kept() -> None:
    _, back, good = cut_in_two()
    arriving = Activation(STAMP, 0, 1, FIRST, (good,), ())
    assert back.relieve() > 0
    assert back.expects(arriving), "who waits for it in the plan would take a refusal for a fault of the sender"
    assert not back.expects(replace(arriving, tensors=(good, good)))
    back.put(arriving, [memoryview(bytearray(good.size_bytes))])
    assert back.relieve() == 0, "nothing is kept"
    back.drop_stages(STAMP)
    assert not back.expects(arriving)


def test_state_and_programs_are_expected_only_as_they_can_be() -> None:
    run = chain("residual")
    node, (header, _) = run.nodes[0], run.parcels(0)[0]
    assert node.expects(header)
    entry = header.tensors[0]
    for changed in (
        replace(entry, name="parameter/none"),
        replace(entry, name=entry.name.replace("parameter", "buffer")),
        replace(entry, shape=(1, *entry.shape), strides=(1, *entry.strides)),
        replace(entry, size_bytes=0),
        replace(entry, name="optimizer/stem.bias/momentum_buffer"),
    ):
        assert not node.expects(replace(header, tensors=(changed,)))
    assert not node.expects(replace(header, tensors=(entry, entry)))
    stranger = replace(header, stamp=replace(STAMP, job=JobId("1" * 12)))
    assert node.expects(stranger)
    assert not node.expects(replace(stranger, tensors=(replace(entry, size_bytes=0),)))


def test_dropped_stages_take_nothing_more() -> None:
    run = chain("residual", ())
    node = run.nodes[0]
    inputs = Inputs(STAMP, 0, 0, FIRST, ())
    assert node.expects(inputs)
    node.drop_stages(replace(STAMP, version=7))
    assert node.expects(inputs)
    node.drop_stages(STAMP)
    assert not node.expects(inputs)
    node.put(inputs, [])
    with pytest.raises(BrokenInvariantError, match="nothing has been built"):
        node.forward(0, 0, FIRST, 1.0)
    node.drop_job(STAMP.job)
    with pytest.raises(MalformedError, match="has not arrived"):
        node.first_state(STAMP.job, Path("x"), 0, 0)


def test_works_out_of_turn_are_our_own_fault() -> None:
    node = chain("residual", ()).nodes[0]
    with pytest.raises(BrokenInvariantError, match="other weights"):
        node.forward(0, 0, Work(1, Phase.TRAIN, 0), 1.0)
    with pytest.raises(BrokenInvariantError, match="version 2"):
        node.update(2, None)
    with pytest.raises(BrokenInvariantError, match="not run here"):
        node.forward(0, 5, FIRST, 1.0)


def test_an_update_waits_for_all_backwards() -> None:
    run = chain("residual", ())
    run._feed(FIRST, 5)
    run.nodes[0].forward(0, 0, FIRST, 0.5)
    with pytest.raises(BrokenInvariantError, match="in flight"):
        run.nodes[0].update(1, ())


def test_state_of_missing_layers_or_wrong_shapes_is_refused() -> None:
    run = chain("residual")
    parcels = run.parcels(0)
    node = Executor("cpu", 1, 1.0)
    node.load_program(STAMP.job, dump(run.program))
    with pytest.raises(MalformedError, match="missing"):
        node.build(run.plan, NodeId("n0"), run.spec, 0, parcels[1:])
    header, buffers = parcels[0]
    wrong = replace(header, tensors=(replace(header.tensors[0], shape=(1,), strides=(1,), size_bytes=4),))
    with pytest.raises(MalformedError):
        node.build(run.plan, NodeId("n0"), run.spec, 0, [(wrong, buffers[:1])])
    unknown = replace(header, tensors=(replace(header.tensors[0], name="parameter/none"),))
    with pytest.raises(MalformedError, match="no state called"):
        node.build(run.plan, NodeId("n0"), run.spec, 0, [(unknown, buffers[:1])])
    with pytest.raises(MalformedError, match="no JSON"):
        node.build(run.plan, NodeId("n0"), run.spec, 0, [(replace(header, extra=b"{"), buffers)])


def test_a_strangers_bytes_are_refused() -> None:
    with pytest.raises(ProgramRefusedError):
        Executor("cpu", 1, 1.0).load_program(STAMP.job, b"\x93\x01\x02\x03")


def test_slowdown_multiplies_the_seconds() -> None:
    run = chain("residual", ())
    run.nodes[0]._slowdown = Slowdown(5.0)
    run._feed(FIRST, 5)
    before = time.perf_counter()
    result = run.nodes[0].forward(0, 0, FIRST, 1.0)
    assert result.seconds <= time.perf_counter() - before
    slow = run.nodes[0].backward(0, 0, FIRST).seconds
    assert slow > 0.0


def test_a_device_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match="--device"):
        Executor("tpu", 1, 1.0)
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="--device cpu"):
            Executor("cuda", 1, 1.0)
    assert Executor("auto", 1, 1.0).device.type in {"cpu", "cuda", "mps"}


def test_a_skipped_update_counts_and_changes_nothing() -> None:
    run = chain("residual", ())
    run.train(0, 2)
    node = run.nodes[0]
    before = node.state(0, len(run.program.layers) - 1)
    run._pass(2, Phase.TRAIN)
    result = node.update(3, node.norms(), skip=True)
    after = node.state(0, len(run.program.layers) - 1)
    trained = [place for place, spec in enumerate(before.tensors) if not spec.name.startswith("buffer/")]
    assert [bytes(after.buffers[place]) for place in trained] == [bytes(before.buffers[place]) for place in trained]
    assert after.extra == before.extra
    assert node.norms() == ()
    run._pass(3, Phase.TRAIN)
    assert node.update(4, node.norms()).learning_rate == result.learning_rate


def test_a_snapshot_is_of_the_version_that_was_asked_for_and_tells_whose_tensors_are_whose() -> None:
    run = chain("gpt2")
    run.train(0, 1)
    hop, node = run.hops[1], run.nodes[1]
    for stamp, version in ((STAMP, 2), (replace(STAMP, version=2), 1)):
        with pytest.raises(BrokenInvariantError, match="a snapshot of version"):
            node.snapshot(stamp, hop.first_layer, hop.last_layer, version)
    taken = node.snapshot(STAMP, hop.first_layer, hop.last_layer, 1)
    live = node.state(hop.first_layer, hop.last_layer)
    assert taken.seconds > 0
    assert taken.copy.tensors == live.tensors
    assert [bytes(buffer) for buffer in taken.copy.buffers] == [bytes(buffer) for buffer in live.buffers]
    document = json.loads(taken.copy.extra)
    layers = document.pop("layers")
    assert document == json.loads(live.extra)
    for layer, places in enumerate(layers, hop.first_layer):
        own = {spec.name for spec in node.state(layer, layer).tensors if not spec.name.startswith("optimizer/")}
        assert {live.tensors[place].name for place in places} == own
