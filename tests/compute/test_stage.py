"""Plain loop, one stage and many stages give the same bits: weights, buffers, optimizer, losses."""

import random
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch.optim import lr_scheduler

from edged.compute.check import check_program
from edged.compute.layers import interface
from edged.compute.stage import Stage
from edged.core.job import Phase, Work
from edged.errors import BrokenInvariantError
from tests.compute.models import CASES, DROPOUT_CASES
from tests.compute.pipeline import CPU, Chain, Recipe, assert_equal, everywhere, plain_loop
from tests.compute.samples import captured

SGD = Recipe()
ADAMW = Recipe(
    optimizer=partial(torch.optim.AdamW, lr=1e-2),
    scheduler=partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=20),
    clip_norm=0.5,
    samples=17,
    drop_last=False,
)


def some_cuts(layers: int, seed: int) -> list[list[int]]:
    rng = random.Random(seed)
    counts = [0, 1, 2, min(4, layers - 1)]
    return [sorted(rng.sample(range(1, layers), min(count, layers - 1))) for count in counts]


@pytest.mark.parametrize("recipe", [SGD, ADAMW], ids=["SGD with momentum", "AdamW, clipping, OneCycleLR, ragged"])
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_stages_equals_the_plain_loop(name: str, recipe: Recipe) -> None:
    expected = plain_loop(CASES[name], recipe)
    for seed, cuts in enumerate(some_cuts(len(captured(name).program.layers), seed=3)):
        outcome = Chain(captured(name), CASES[name], recipe, cuts, seed).train()
        assert_equal(outcome, expected)
        assert outcome.rates == expected.rates


@pytest.mark.parametrize("name", CASES)
def test_cuts_between_any_two_operations_equal_the_plain_loop(name: str) -> None:
    recipe = replace(SGD, steps=2)
    expected = plain_loop(CASES[name], recipe)
    program = everywhere(captured(name))
    rng = random.Random(8)
    for seed in range(3):
        cuts = sorted(rng.sample(range(1, len(program.program.layers)), 3))
        assert_equal(Chain(program, CASES[name], recipe, cuts, seed).train(), expected)


@pytest.mark.parametrize("name", DROPOUT_CASES)
def test_dropout_does_not_depend_on_the_cuts(name: str) -> None:
    found, case = captured(f"dropout/{name}"), DROPOUT_CASES[name]
    outcomes = [
        Chain(found, case, ADAMW, cuts, seed).train()
        for seed, cuts in enumerate(some_cuts(len(found.program.layers), seed=4))
    ]
    for outcome in outcomes[1:]:
        assert_equal(outcome, outcomes[0])
    other = Chain(found, case, replace(ADAMW, seed=6), []).train()
    assert other.losses != outcomes[0].losses


@pytest.mark.parametrize("name", CASES)
def test_evaluation_is_the_modules_own_and_changes_nothing(name: str) -> None:
    case, recipe = CASES[name], replace(SGD, eval_samples=8)
    model = case.build().eval()
    batches = [case.batch(size, number) for number, size in enumerate((5, 3))]
    expected = [
        (
            float(case.objective(model, batch).detach()),
            {k: float(v.detach()) for k, v in case.metrics(model, batch).items()},
        )
        for batch in batches
    ]
    for cuts in some_cuts(len(captured(name).program.layers), seed=5)[:3]:
        chain = Chain(captured(name), case, recipe, cuts)
        assert chain.evaluate(0) == expected
        assert_equal(chain.train(), plain_loop(case, recipe))


def whole(name: str) -> tuple[Stage, dict[str, torch.Tensor]]:
    found = captured(name)
    state = {spec.name: found.state[spec.name].clone().requires_grad_(spec.parameter) for spec in found.program.state}
    taken = interface(found.program, check_program(found.program), 0, len(found.program.layers) - 1)
    return Stage(found.program, taken, CPU, state, 0), state


def inputs(name: str) -> dict[str, torch.Tensor]:
    drawn = torch.utils._pytree.tree_leaves(CASES[name].batch(5, 0))
    return {spec.name: leaf for spec, leaf in zip(captured(name).program.inputs, drawn, strict=True)}


def test_an_abandoned_step_leaves_neither_graphs_nor_gradients() -> None:
    stage, state = whole("unet")
    stage.forward(Work(0, Phase.TRAIN, 0), inputs("unet"), 0.5)
    stage.backward(Work(0, Phase.TRAIN, 0), {})
    stage.forward(Work(0, Phase.TRAIN, 1), inputs("unet"), 0.5)
    assert stage.in_flight == 1
    assert any(value.grad is not None for value in state.values())
    stage.abandon()
    assert stage.in_flight == 0
    assert all(value.grad is None for value in state.values())


def test_a_backward_frees_its_graph_and_needs_its_forward() -> None:
    stage, _ = whole("residual")
    work = Work(0, Phase.TRAIN, 0)
    with pytest.raises(BrokenInvariantError, match="without its forward"):
        stage.backward(work, {})
    stage.forward(work, inputs("residual"), 1.0)
    assert stage.backward(work, {}) == {}
    assert stage.in_flight == 0


def test_an_evaluation_keeps_no_graph() -> None:
    stage, _ = whole("residual")
    output = stage.forward(Work(0, Phase.EVALUATE, 0), inputs("residual"), 1.0)
    assert stage.in_flight == 0
    assert not output.loss.requires_grad


def test_every_operation_can_be_timed() -> None:
    stage, _ = whole("lstm")
    timings: dict[int, float] = {}
    stage.forward(Work(0, Phase.TRAIN, 0), inputs("lstm"), 1.0, timings)
    training = [i for i, op in enumerate(captured("lstm").program.operations) if not op.evaluation_only]
    assert sorted(timings) == training
    assert sum(timings.values()) > 0.0
