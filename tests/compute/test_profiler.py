"""Measuring is cheap, leaves no traces, and says the truth about sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from edged.compute.capture import Captured, capture
from edged.compute.layers import interface
from edged.compute.profiler import calibrate, profile
from edged.compute.stage import Stage
from edged.core.job import Phase, Work


def test_calibration_is_a_positive_number_and_leaves_the_generator_alone() -> None:
    state = torch.default_generator.get_state()
    assert 0.001 < calibrate() < 1000
    assert torch.equal(torch.default_generator.get_state(), state)


def test_a_wide_layer_costs_more_than_a_narrow_one_and_sizes_are_exact() -> None:
    model = nn.Sequential(nn.Linear(16, 512), nn.Sigmoid(), nn.Linear(512, 512), nn.Sigmoid(), nn.Linear(512, 4))
    batch = [torch.rand(32, 16), torch.zeros(32, dtype=torch.long)]
    captured = capture(model, lambda net, given: functional.cross_entropy(net(given[0]), given[1]), batch)
    layers = profile(captured.program, captured.values, captured.state, batch, budget_seconds=30.0)
    assert len(layers) == len(captured.program.layers)
    assert sum(layer.parameter_bytes for layer in layers) == 4 * sum(p.numel() for p in model.parameters())
    assert layers[0].crossing_bytes == 32 * 512 * 4
    assert layers[0].activation_bytes >= 32 * 512 * 4
    widest = max(layers, key=lambda layer: layer.parameter_bytes)
    assert max(layers, key=lambda layer: layer.forward_seconds + layer.backward_seconds) is widest
    assert all(tensor.grad is None for tensor in captured.state.values())


def test_state_stays_as_it_was() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    batch = [torch.rand(8, 4)]
    captured = capture(model, lambda net, given: net(given[0]).mean(), batch)
    before = {name: tensor.clone() for name, tensor in captured.state.items()}
    profile(captured.program, captured.values, captured.state, batch, budget_seconds=0.0)
    assert all(torch.equal(before[name], tensor) for name, tensor in captured.state.items())


class Watched(TorchDispatchMode):
    """Knows every memory that operations make while it is on, and which of it is still there."""

    def __init__(self) -> None:
        super().__init__()
        self.made: list[tuple[StorageWeakRef, int, int]] = []

    def __torch_dispatch__(self, function: Any, _types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        result = function(*arguments, **(keywords or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                storage = leaf.untyped_storage()
                self.made.append((StorageWeakRef(storage), storage.data_ptr(), storage.nbytes()))
        return result

    def alive(self, without: set[int]) -> int:
        """Bytes that are still there, each memory once."""
        there = {place: size for storage, place, size in self.made if not storage.expired()}
        return sum(size for place, size in there.items() if place not in without)


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out, self.norm = nn.Linear(16, 48), nn.Linear(16, 3), nn.LayerNorm(16)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = (part.unflatten(-1, (4, 4)).transpose(1, 2) for part in self.mix(self.norm(x)).chunk(3, dim=-1))
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
        return self.out((x + functional.dropout(mixed, 0.2, self.training)).mean(1))


def convolutions() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.3),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.Hardtanh(inplace=True), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(8 * 9, 3), nn.LogSoftmax(dim=1),
    )  # fmt: skip


def chain() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 20), nn.Tanh(), nn.Linear(20, 20), nn.Sigmoid(), nn.Linear(20, 3))


def run_through(captured: Captured, borders: list[tuple[int, int]], batch: list[torch.Tensor]) -> int:
    """Bytes that stay after a micro-batch's forwards through stages, besides state and the program's inputs."""
    live = {
        spec.name: captured.state[spec.name].clone().requires_grad_(spec.requires_grad)
        for spec in captured.program.state
    }
    cpu = torch.device("cpu")
    stages = [
        Stage(captured.program, interface(captured.program, captured.values, *border), cpu, live, seed=0)
        for border in borders
    ]
    given = dict(zip((spec.name for spec in captured.program.inputs), batch, strict=True))
    known = {tensor.untyped_storage().data_ptr() for tensor in (*live.values(), *batch)}
    with Watched() as watched:
        received: dict[str, Any] = {}
        for stage in stages:
            values = {**received, **{name: given[name] for name in stage.interface.inputs}}
            sent = stage.forward(Work(0, Phase.TRAIN, 0), values, 1.0).sent
            received = {n: v.detach() if isinstance(v, torch.Tensor) else v for n, v in sent.items()}
        del values, sent, received
    return watched.alive(known)


@pytest.mark.parametrize(
    ("build", "shape"), [(chain, (6,)), (convolutions, (3, 8, 8)), (Attention, (10, 16))], ids=["chain", "cnn", "sdpa"]
)
def test_what_is_kept_for_the_backward_is_what_stays_in_memory(
    build: Callable[[], nn.Module], shape: tuple[int, ...]
) -> None:
    torch.manual_seed(0)
    batch = [torch.rand(8, *shape), torch.arange(8) % 3]
    captured = capture(build(), lambda net, given: functional.cross_entropy(net(given[0]), given[1]), batch)
    layers = profile(captured.program, captured.values, captured.state, batch, budget_seconds=0.0)
    counted = sum(layer.activation_bytes for layer in layers)
    inputs = sum(tensor.untyped_storage().nbytes() for tensor in batch)  # saved by who takes them, and made before
    last = len(layers) - 1
    cut_everywhere = run_through(captured, [(layer, layer) for layer in range(last + 1)], batch)
    assert counted - inputs <= cut_everywhere <= counted
    whole = run_through(captured, [(0, last)], batch)
    assert 0.7 * counted <= whole <= counted
    assert all(layer.activation_bytes > 0 for layer in layers)
