"""Asynchronous training in the executor: bits equal those of the delayed-update recurrence, whatever comes when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.optim import lr_scheduler

from edged.compute.check import CheckedProgram
from edged.compute.expectations import sizes
from edged.compute.layers import interface, owned_state
from edged.compute.optimizer import Optimizer, read
from edged.compute.stage import Stage
from edged.compute.state import own, state_dict
from edged.core.job import Phase, Work
from edged.errors import BrokenInvariantError
from tests.compute.models import CASES, DROPOUT_CASES
from tests.compute.pipeline import CPU, STAMP, Chain, Outcome, Recipe, assert_equal, everywhere
from tests.compute.recurrence import Span, delayed
from tests.compute.samples import captured

MOMENTUM = Recipe(
    optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9), batch_size=4, micro_batches=1, samples=4, steps=9,
    mode="async",
)  # fmt: skip
ADAM = replace(
    MOMENTUM, optimizer=partial(torch.optim.Adam, lr=1e-2), scheduler=partial(lr_scheduler.StepLR, step_size=2)
)


@dataclass(frozen=True)
class Cut:
    """Micro-batches ``first`` to ``end - 1`` through stages that begin at the layers ``borders[:-1]``."""

    first: int
    end: int
    borders: tuple[int, ...]


class Stashing(Chain):
    """Executors chained by hand, of which any does next whatever the gates allow."""

    def train_span(self, first: int, end: int) -> Outcome:
        """From an empty pipeline to an empty pipeline."""
        stages = len(self.hops)
        for version in range(first, end):
            self._feed(Work(version, Phase.TRAIN, 0), self.recipe.batch_size)
        forward, backward = [first] * stages, [first] * stages
        while backward[0] < end:
            h, kind = self.rng.choice(list(self._allowed(forward, backward, end)))
            if kind == "F":
                self._forward(h, Work(forward[h], Phase.TRAIN, 0), (self.recipe.batch_size,))
                forward[h] += 1
            else:
                self._backward(h, Work(backward[h], Phase.TRAIN, 0))
                backward[h] += 1
                self.nodes[h].update(backward[h], None)
        return self.collect()

    def _allowed(self, forward: list[int], backward: list[int], end: int) -> Any:
        stages = len(self.hops)
        for h in range(stages):
            d, f, b = stages - h, forward[h], backward[h]
            if f < end and f - b < d and (h == 0 or forward[h - 1] > f):
                yield h, "F"
            if b < f and f >= min(b + d, end) and (h == stages - 1 or backward[h + 1] > b):
                yield h, "B"

    def states(self, version: int) -> list[Any]:
        """What a recovery goes on from: the state of all hops as it is copied."""
        return self.parcels(version)


def plain(case: Any, recipe: Recipe, cuts: Sequence[Cut], owners: Mapping[Cut, Mapping[str, int]]) -> Outcome:
    """The recurrence of ``core/stashing.py``, with the user's module, one micro-batch after the other."""
    model = case.build()
    optimizer = recipe.optimizer(model.parameters())
    scheduler = recipe.scheduler(optimizer) if recipe.scheduler else None
    spans = [Span(cut.first, cut.end, len(cut.borders) - 1, owners[cut]) for cut in cuts]
    losses = delayed(
        model,
        optimizer,
        scheduler,
        lambda i: case.objective(model, case.batch(recipe.batch_size, 100 * i)),
        spans,
        recipe.average_every or 0,
    )
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {
        f"{names[id(parameter)]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    return Outcome(model.state_dict(), kept, losses)


def stages_of(chain: Chain) -> dict[str, int]:
    """Which stage owns a parameter or buffer."""
    program = chain.program
    owned = [
        owned_state(program, program.layers[hop.first_layer][0], program.layers[hop.last_layer][1])
        for hop in chain.hops
    ]
    return {name: h for h, names in enumerate(owned) for name in names}


def train(found: Any, case: Any, recipe: Recipe, spans: Sequence[Cut], seed: int) -> tuple[Outcome, dict[Cut, Any]]:
    """One chain after another; each begins with what the one before had at its end."""
    states: Any = None
    losses: list[float] = []
    owners = {}
    for number, span in enumerate(spans):
        chain = Stashing(found, case, recipe, span.borders[1:-1], seed + number, states, span.first)
        outcome = chain.train_span(span.first, span.end)
        losses += outcome.losses
        owners[span] = stages_of(chain)
        states = chain.states(span.end)
    outcome.losses = losses
    return outcome, owners


def spans_over(found: Any, *cuts: tuple[int, ...], steps: int) -> list[Cut]:
    """As many spans as cuts are given, of about equal length, over those stages."""
    layers = len(found.program.layers)
    ends = [steps * number // len(cuts) for number in range(len(cuts) + 1)]
    return [Cut(*pair, (0, *cut, layers)) for pair, cut in zip(pairwise(ends), cuts, strict=True)]


@pytest.mark.parametrize("recipe", [MOMENTUM, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_bits_equal_the_recurrence(name: str, recipe: Recipe) -> None:
    found = captured(name)
    layers = len(found.program.layers)
    cuts = tuple(sorted({layers // 3, 2 * layers // 3} - {0, layers}))
    spans = spans_over(found, cuts, steps=recipe.steps)
    outcome, owners = train(found, CASES[name], recipe, spans, seed=1)
    assert_equal(outcome, plain(CASES[name], recipe, spans, owners))


@pytest.mark.parametrize("seed", range(4))
def test_timing_changes_no_bit(seed: int) -> None:
    found = captured("residual")
    spans = spans_over(found, (1, 2, 3), steps=MOMENTUM.steps)
    outcome, owners = train(found, CASES["residual"], MOMENTUM, spans, seed)
    assert_equal(outcome, plain(CASES["residual"], MOMENTUM, spans, owners))


def test_other_cuts_in_mid_run_begin_the_recurrence_again_at_that_version() -> None:
    found = captured("mobilenet")
    layers = len(found.program.layers)
    spans = spans_over(found, (layers // 2,), (layers // 4, layers // 2, 3 * layers // 4), (), steps=ADAM.steps)
    outcome, owners = train(found, CASES["mobilenet"], ADAM, spans, seed=3)
    assert_equal(outcome, plain(CASES["mobilenet"], ADAM, spans, owners))


@pytest.mark.parametrize("every", [1, 2, 5])
@pytest.mark.parametrize("recipe", [MOMENTUM, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_averaged_versions_equal_the_recurrence(name: str, recipe: Recipe, every: int) -> None:
    found = captured(name)
    layers = len(found.program.layers)
    cuts = sorted({layers // 4, layers // 2, 3 * layers // 4} - {0, layers})
    spans = spans_over(found, tuple(cuts), tuple(cuts[:1]), steps=recipe.steps)
    averaged = replace(recipe, average_every=every)
    outcome, owners = train(found, CASES[name], averaged, spans, seed=every)
    assert_equal(outcome, plain(CASES[name], averaged, spans, owners))
    differs = plain(CASES[name], recipe, spans, owners)
    assert len(cuts) < 2 or any(not torch.equal(outcome.state[key], differs.state[key]) for key in outcome.state)


def test_one_stage_is_the_plain_loop_of_micro_batches() -> None:
    found = captured("mobilenet")
    spans = spans_over(found, (), steps=4)
    recipe = replace(MOMENTUM, steps=4)
    outcome, _ = train(found, CASES["mobilenet"], recipe, spans, seed=0)
    model = CASES["mobilenet"].build()
    optimizer = recipe.optimizer(model.parameters())
    for i in range(4):
        CASES["mobilenet"].objective(model, CASES["mobilenet"].batch(4, 100 * i)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(tensor, outcome.state[name]) for name, tensor in model.state_dict().items())


def whole(found: Any, case: Any, recipe: Recipe, span: Cut, stage_of: Mapping[str, int]) -> dict[str, torch.Tensor]:
    """The recurrence with the unsplit program, whose random operations are seeded as on a cluster."""
    program, spec = found.program, recipe.spec()
    values = next(iter(CheckedProgram(program).values(sizes(spec)).values()))
    face = interface(program, values, 0, len(program.layers) - 1)
    trained = {s.name for s in program.state if s.parameter and s.requires_grad}
    live = {name: own(tensor, CPU).requires_grad_(name in trained) for name, tensor in found.state.items()}
    optimizer = Optimizer(read(spec.training), {name: live[name] for name in live if name in trained})
    history = [{name: live[name].detach().clone() for name in trained}]
    stages = len(span.borders) - 1
    for i in range(span.first, span.end):
        used = {
            name: history[max(span.first, i - (stages - 1 - stage_of[name]))][name].clone().requires_grad_()
            for name in trained
        }
        stage = Stage(program, face, CPU, {**live, **used}, spec.seed)
        work = Work(i, Phase.TRAIN, 0)
        leaves = torch.utils._pytree.tree_leaves(case.batch(recipe.batch_size, 100 * i))
        stage.forward(work, {given.name: leaf for given, leaf in zip(program.inputs, leaves, strict=True)}, 1.0)
        stage.backward(work, {})
        for name, leaf in used.items():
            live[name].grad = leaf.grad
        optimizer.update()
        history.append({name: live[name].detach().clone() for name in trained})
    return state_dict(program, live)


@pytest.mark.parametrize("name", sorted(DROPOUT_CASES))
def test_dropout_masks_are_those_of_the_micro_batch(name: str) -> None:
    found, case = captured(f"dropout/{name}"), DROPOUT_CASES[name]
    layers = len(found.program.layers)
    span = Cut(0, MOMENTUM.steps, (0, layers // 3, 2 * layers // 3, layers))
    outcome, owners = train(found, case, MOMENTUM, [span], seed=2)
    expected = whole(found, case, MOMENTUM, span, owners[span])
    assert [name for name in expected if not torch.equal(expected[name], outcome.state[name])] == []


def test_a_copy_in_full_flight_is_the_state_of_its_version() -> None:
    """Parameters after so many updates, running statistics after so many micro-batches: a run can go on from there."""
    found = everywhere(captured("mobilenet"))
    layers = len(found.program.layers)
    case, borders = CASES["mobilenet"], (0, layers // 3, 2 * layers // 3, layers)
    chain = Stashing(found, case, MOMENTUM, borders[1:-1], seed=4)
    wanted, taken = 5, {}
    original = [node.update for node in chain.nodes]
    for h, node in enumerate(chain.nodes):

        def update(version: int, norms: Any, h: int = h, node: Any = node) -> Any:
            result = original[h](version, norms)
            if version == wanted:
                assert node._hosting._stages[0, h].in_flight == len(chain.hops) - h - 1
                copy = node.snapshot(STAMP, chain.hops[h].first_layer, chain.hops[h].last_layer, wanted).copy
                taken[h] = {spec.name: bytes(view) for spec, view in zip(copy.tensors, copy.buffers, strict=True)}
            return result

        node.update = update
    chain.train_span(0, MOMENTUM.steps)
    drained = Stashing(found, case, MOMENTUM, borders[1:-1], seed=5)
    drained.train_span(0, wanted)
    for h, node in enumerate(drained.nodes):
        copy = node.snapshot(STAMP, drained.hops[h].first_layer, drained.hops[h].last_layer, wanted).copy
        assert {s.name: bytes(view) for s, view in zip(copy.tensors, copy.buffers, strict=True)} == taken[h]


def test_weights_alive_are_as_many_as_the_window() -> None:
    found = captured("mobilenet")
    layers = len(found.program.layers)
    chain = Stashing(found, CASES["mobilenet"], MOMENTUM, (layers // 3, 2 * layers // 3), seed=6)
    most = [0, 0, 0]
    original = [node.forward for node in chain.nodes]
    for h, node in enumerate(chain.nodes):

        def forward(route: int, hop: int, work: Work, weight: float, h: int = h, node: Any = node) -> Any:
            result = original[h](route, hop, work, weight)
            stage = node._hosting._stages[0, h]
            stashed = [stash.leaves for stash in stage._stash.values()]
            name = next(name for name, tensor in stage._state.items() if tensor.requires_grad)
            places = {leaves[name].data_ptr() for leaves in stashed} | {stage._state[name].data_ptr()}
            most[h] = max(most[h], len(places))
            return result

        node.forward = forward
    chain.train_span(0, MOMENTUM.steps)
    assert most == [3, 2, 1]


def test_a_forward_beyond_the_window_is_our_own_fault() -> None:
    chain = Stashing(captured("residual"), CASES["residual"], MOMENTUM, (2,), seed=0)
    for version in range(3):
        chain._feed(Work(version, Phase.TRAIN, 0), 4)
    for version in range(2):
        chain._forward(0, Work(version, Phase.TRAIN, 0), (4,))
    with pytest.raises(BrokenInvariantError, match="wants other weights"):
        chain._forward(0, Work(2, Phase.TRAIN, 0), (4,))
