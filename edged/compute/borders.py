"""Chooses a program's layers: borders stand where few bytes cross, between operations with parameters.

::

    conv  bn  relu │ conv  bn  relu  pool │ conv ...      bytes that cross:  ▂ ▂ ▆ ▂ ▂
    └── layer 0 ─┘   └───── layer 1 ────┘                 a bump (▆) between cheap borders is no border
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from edged.compute.exactness import forbidden
from edged.compute.layers import uses
from edged.compute.program import Program
from edged.compute.values import Values

MAX_LAYERS: Final = 200
"""More layers than this help no plan."""
BUMP: Final = 1.7
"""A border goes if this many times the bytes cross it that cross a border not far before it, and one not far behind."""
REACH: Final = 5
"""How many borders away counts as not far."""


def choose_layers(program: Program, values: Values) -> tuple[tuple[int, int], ...]:
    """Half-open ranges of operations, contiguous, covering all."""
    costs = crossing_bytes(program, values)
    barred = forbidden(program, values)
    state = {spec.name for spec in program.state if spec.parameter}
    anchors = [i for i, operation in enumerate(program.operations) if state.intersection(uses(operation))]
    borders = []
    for before, after in pairwise(anchors):
        places = [k for k in range(before + 1, after + 1) if k not in barred]
        if places:
            borders.append(min(places, key=lambda k: (costs[k], -k)))
    borders = _without_bumps(borders, costs)
    while len(borders) >= MAX_LAYERS:
        edges = [0, *borders, len(program.operations)]
        spans = [edges[i + 2] - edges[i] for i in range(len(borders))]
        del borders[spans.index(min(spans))]
    edges = [0, *borders, len(program.operations)]
    return tuple(pairwise(edges))


def crossing_bytes(program: Program, values: Values) -> list[int]:
    """Bytes of the values, made by operations, that cross a border in training, for a border before each operation.

    State that crosses (a tied weight) does not count: it crosses wherever one cuts.
    """
    first, last = _spans(program)
    total = [0] * (len(program.operations) + 1)
    for name, start in first.items():
        if name in last and last[name] > start and name in values:
            total[start + 1] += values[name].size_bytes
            total[last[name] + 1] -= values[name].size_bytes
    for k in range(1, len(total)):
        total[k] += total[k - 1]
    return total


def _spans(program: Program) -> tuple[dict[str, int], dict[str, int]]:
    """Where each value is made and last used, in training."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, operation in enumerate(program.operations):
        if operation.evaluation_only:
            continue
        last.update((name, index) for name in uses(operation))
        first.update((name, index) for name in operation.outputs if name)
    last[program.loss] = len(program.operations) - 1
    return first, last


def _without_bumps(borders: Sequence[int], costs: Sequence[int]) -> list[int]:
    kept = []
    for i, border in enumerate(borders):
        left = min((costs[k] for k in borders[max(0, i - REACH) : i]), default=None)
        right = min((costs[k] for k in borders[i + 1 : i + 1 + REACH]), default=None)
        if left is None or right is None or costs[border] < BUMP * max(left, right):
            kept.append(border)
    return kept
