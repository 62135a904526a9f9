"""Buffers that forward changes and uses: any number of micro-batches in flight gives the bits of the plain loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edged.compute.capture import capture
from edged.compute.check import check_program
from edged.compute.layers import interface
from edged.errors import JobError
from tests.compute.models import CASES, Case
from tests.compute.pipeline import Chain, Recipe, assert_equal, plain_loop
from tests.compute.samples import captured

WIDTH = 8


class Net(nn.Module):
    """Three linear layers; ``middle`` makes the second's input of the first's output, and changes buffers."""

    def __init__(self, middle: Callable[[Net, Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.third = (nn.Linear(WIDTH, WIDTH) for _ in range(3))
        self.norm = nn.BatchNorm1d(WIDTH)
        self.middle = middle
        self.scale: Tensor
        self.codes: Tensor
        self.register_buffer("scale", torch.ones(WIDTH))
        self.register_buffer("codes", torch.randn(6, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.middle(self, self.first(x))).relu())


def running_scale(net: Net, h: Tensor) -> Tensor:
    if net.training:
        net.scale.mul_(0.9).add_(h.detach().pow(2).mean(0).sqrt() * 0.1)
    return h * net.scale


def divided_before_the_change(net: Net, h: Tensor) -> Tensor:
    divided = h / (net.scale + 0) + h * net.scale.clone()
    with torch.no_grad():
        net.scale.lerp_(h.var(0), 0.1)
    return divided


def codebook(net: Net, h: Tensor) -> Tensor:
    near = functional.one_hot(torch.cdist(h, net.codes).argmin(1), 6).float()
    found = near @ net.codes
    with torch.no_grad():
        net.codes.lerp_((near.t() @ h) / (near.sum(0)[:, None] + 1), 0.1)
    return h + (found - h).detach() + functional.linear(h, net.codes.detach()).mean(1, keepdim=True)


def statistics_of_a_norm(net: Net, h: Tensor) -> Tensor:
    assert net.norm.running_var is not None
    return net.norm(h) / net.norm.running_var


def a_row(net: Net, h: Tensor) -> Tensor:
    row = net.codes[2]
    row.mul_(0.9)
    return h * row + h * net.codes.sum(0)


def case(middle: Callable[[Net, Tensor], Tensor]) -> Case:
    def build() -> nn.Module:
        torch.manual_seed(3)
        return Net(middle)

    def batch(size: int, seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        return [torch.randn(size, WIDTH, generator=generator), torch.randint(0, WIDTH, (size,), generator=generator)]

    def objective(model: nn.Module, given: Any) -> Tensor:
        return functional.cross_entropy(model(given[0]), given[1])

    return Case(build, objective, lambda _model, _batch: {}, batch)


@pytest.mark.parametrize(
    "middle",
    [running_scale, divided_before_the_change, codebook, statistics_of_a_norm, a_row],
    ids=lambda m: m.__name__,
)
def test_pipelines_equal_the_plain_loop(middle: Callable[[Net, Tensor], Tensor]) -> None:
    given, recipe = case(middle), Recipe(batch_size=12, micro_batches=4, samples=12)
    expected = plain_loop(given, recipe)
    found = capture(given.build(), given.objective, given.batch(3, 0))
    layers = len(found.program.layers)
    assert layers > 1
    for cuts in ([], [1], list(range(1, layers))):
        for seed in range(3):
            assert_equal(Chain(found, given, recipe, cuts, seed).train(), expected)


@pytest.mark.parametrize("name", CASES)
def test_running_statistics_are_not_copied(name: str) -> None:
    program = captured(name).program
    assert interface(program, check_program(program), 0, len(program.layers) - 1).changing == ()


def view_of_a_weight(net: Net, h: Tensor) -> Tensor:
    net.second.weight.detach().renorm_(2, 0, 0.3)
    return h


def view_of_a_buffer(net: Net, h: Tensor) -> Tensor:
    net.codes.view(-1, 2).renorm_(2, 0, 0.3)
    return h


def list_of_buffers(net: Net, h: Tensor) -> Tensor:
    torch._foreach_mul_([net.scale], 2.0)
    return h


@pytest.mark.parametrize(
    ("middle", "words"),
    [
        (view_of_a_weight, "changes the parameter second.weight itself"),
        (view_of_a_buffer, r"test_changed_state.py.*the operation aten.renorm_.default"),
        (list_of_buffers, r"test_changed_state.py.*the operation aten._foreach_mul_.Scalar"),
    ],
)
def test_no_change_of_state_is_lost_without_a_word(middle: Callable[[Net, Tensor], Tensor], words: str) -> None:
    given = case(middle)
    with pytest.raises(JobError, match=words):
        capture(given.build(), given.objective, given.batch(3, 0))


def test_latent_max_norm_is_refused() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(12, WIDTH, max_norm=100.0), nn.Flatten(), nn.Linear(2 * WIDTH, 3))
    batch = [torch.randint(0, 12, (4, 2)), torch.arange(4) % 3]
    with pytest.raises(JobError, match="changes the parameter 0.weight"):
        capture(model, lambda net, given: functional.cross_entropy(net(given[0]), given[1]), batch)
