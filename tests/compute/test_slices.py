"""A narrow slice of a large value crosses with its strides: the first token of many."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edged.compute.capture import capture
from tests.compute.models import Case
from tests.compute.pipeline import Chain, Recipe, assert_equal, plain_loop

TOKENS = 40


class FirstToken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.third(self.second(self.first(x)[:, 0]).relu())


def build() -> nn.Module:
    torch.manual_seed(0)
    return FirstToken()


def batch(size: int, seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, TOKENS, 8, generator=generator), torch.arange(size) % 4]


def test_the_first_token_of_many_crosses() -> None:
    case = Case(
        build, lambda model, given: functional.cross_entropy(model(given[0]), given[1]), lambda _m, _b: {}, batch
    )
    found = capture(build(), case.objective, batch(5, 0))
    expected = plain_loop(case, Recipe())
    for cut in range(1, len(found.program.layers)):
        assert_equal(Chain(found, case, Recipe(), [cut]).train(), expected)
