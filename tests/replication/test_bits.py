"""Snapshot, replica, disk, another cut: training goes on from there with the bits of training that never stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from edged.compute.capture import Captured, capture
from edged.core.messages import StateParcel
from edged.core.plan import Hop
from edged.replication.snapshots import held_of
from edged.replication.store import Store
from edged.transport.codec import decode, encode
from tests.compute.models import CASES, DROPOUT_CASES, Case
from tests.compute.pipeline import STAMP, Chain, Recipe, assert_equal
from tests.compute.samples import captured
from tests.roles.conftest import spec_of

BEFORE, AFTER = 2, 3
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9, nesterov=True)
ADAMW = partial(torch.optim.AdamW, lr=1e-2, amsgrad=True)
ONE_CYCLE = partial(lr_scheduler.OneCycleLR, max_lr=0.1, total_steps=BEFORE + AFTER)
COSINE = partial(lr_scheduler.CosineAnnealingLR, T_max=4)


def over_the_wire(header: StateParcel, buffers: Any) -> tuple[StateParcel, list[memoryview]]:
    received = decode(encode(header))
    assert isinstance(received, StateParcel)
    return received, [memoryview(bytearray(buffer)) for buffer in buffers]


def replicate(run: Chain, version: int, store: Store) -> None:
    """Every node's snapshot, sent as a replica and written by its holder."""
    replicas = []
    for hop, node in zip(run.hops, run.nodes, strict=True):
        copy = node.snapshot(STAMP, hop.first_layer, hop.last_layer, version).copy
        header = StateParcel(STAMP, hop.first_layer, hop.last_layer, version, copy.tensors, copy.extra, replica=True)
        assert node.expects(header)
        replicas.append(held_of(*over_the_wire(header, copy.buffers)))
    store.save(spec_of(STAMP.job), None, replicas)


def pieces(run: Chain, version: int, store: Store) -> Callable[[Hop], list[tuple[StateParcel, Any]]]:
    """For a hop, just its own layers, from every holding that has some of them."""

    def of(hop: Hop) -> list[tuple[StateParcel, Any]]:
        found = []
        for old in run.hops:
            first, last = max(old.first_layer, hop.first_layer), min(old.last_layer, hop.last_layer)
            if first <= last:
                held = store.load(STAMP.job, version, first, last)
                assert held is not None
                found.append(over_the_wire(held.parcel(STAMP, replica=False), held.buffers))
        return found

    return of


def replay(found: Captured, case: Any, recipe: Recipe, home: Path) -> None:
    """Three hops before, other three (or two) hops after."""
    store, layers = Store(home), len(found.program.layers)
    undisturbed = Chain(found, case, recipe, (1, 3) if layers > 3 else (1,))
    undisturbed.train(0, BEFORE)
    replicate(undisturbed, BEFORE, store)
    expected = undisturbed.train(BEFORE)
    cuts = (2, layers - 1) if layers > 3 else (2,)
    again = Chain(found, case, recipe, cuts, seed=7, states=pieces(undisturbed, BEFORE, store), version=BEFORE)
    outcome = again.train(BEFORE)
    outcome.losses = expected.losses[: BEFORE * recipe.micro_batches] + outcome.losses
    assert_equal(outcome, expected)
    assert numbers(again) == numbers(undisturbed)


def numbers(run: Chain) -> tuple[list[Any], dict[str, Any]]:
    """What optimizer and scheduler count, 64-bit floats and all: the same on every node, and by parameter."""
    documents = [json.loads(header.extra) for header, _ in run.parcels(0)]
    shared = [(document["group"], document["scheduler"]) for document in documents]
    assert all(each == shared[0] for each in shared)
    return shared[0], {name: entry for document in documents for name, entry in document["entries"].items()}


def recipe_of(optimizer: partial[Any], scheduler: partial[Any], clip_norm: float | None) -> Recipe:
    return Recipe(optimizer=optimizer, scheduler=scheduler, clip_norm=clip_norm, steps=BEFORE + AFTER)


@pytest.mark.parametrize("name", ["unet", "gpt2"])
@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
@pytest.mark.parametrize(("scheduler", "clip_norm"), [(ONE_CYCLE, None), (COSINE, 0.5)], ids=["onecycle", "cosine"])
def test_optimizer_and_scheduler_go_on(
    name: str, optimizer: partial[Any], scheduler: partial[Any], clip_norm: float | None, tmp_path: Path
) -> None:
    replay(captured(name), CASES[name], recipe_of(optimizer, scheduler, clip_norm), tmp_path)


@pytest.mark.parametrize("name", sorted(DROPOUT_CASES))
def test_dropout_goes_on(name: str, tmp_path: Path) -> None:
    recipe = recipe_of(ADAMW, COSINE, 0.5)
    replay(captured(f"dropout/{name}"), DROPOUT_CASES[name], recipe, tmp_path)


@pytest.mark.parametrize("name", ["unet", "residual"])
def test_channels_last_weights_keep_their_layout(name: str, tmp_path: Path) -> None:
    found = captured(name)
    state = {
        key: tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor
        for key, tensor in found.state.items()
    }
    assert any(tensor.stride() != found.state[key].stride() for key, tensor in state.items())
    replay(replace(found, state=state), CASES[name], recipe_of(SGD, COSINE, 0.5), tmp_path)


class Spare(nn.Module):
    """Of two heads, the loss sees one."""

    def __init__(self) -> None:
        """From a fixed seed."""
        super().__init__()
        torch.manual_seed(4)
        self.body = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh())
        self.seen, self.spare = nn.Linear(8, 3), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n, 6) -> (n, 3)."""
        return self.seen(self.body(x))


def test_a_parameter_without_gradients_has_no_optimizer_state_afterwards_either(tmp_path: Path) -> None:
    def batch(size: int, seed: int) -> Any:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(size, 6, generator=generator), torch.randint(3, (size,), generator=generator)

    def objective(model: nn.Module, batch: Any) -> torch.Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    case = Case(Spare, objective, lambda _model, _batch: {}, batch)
    found = capture(case.build(), case.objective, case.batch(5, 0), case.metrics)
    assert any(spec.name == "spare.weight" for spec in found.program.state)
    replay(found, case, recipe_of(ADAMW, ONE_CYCLE, None), tmp_path)
