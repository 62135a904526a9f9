"""Measuring is cheap, leaves no traces, and says the truth about sizes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from edged.compute.capture import capture
from edged.compute.profiler import calibrate, profile


def test_calibration_is_a_positive_number_and_leaves_the_generator_alone() -> None:
    state = torch.default_generator.get_state()
    assert 0.001 < calibrate() < 1000
    assert torch.equal(torch.default_generator.get_state(), state)


def test_a_wide_layer_costs_more_than_a_narrow_one_and_sizes_are_exact() -> None:
    model = nn.Sequential(nn.Linear(16, 512), nn.Sigmoid(), nn.Linear(512, 512), nn.Sigmoid(), nn.Linear(512, 4))
    batch = [torch.rand(32, 16), torch.zeros(32, dtype=torch.long)]
    captured = capture(model, lambda net, given: functional.cross_entropy(net(given[0]), given[1]), batch)
    layers = profile(captured.program, captured.values, captured.state, batch, budget_seconds=0.2)
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
