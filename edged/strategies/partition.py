"""Cutting a row of layers into contiguous stages for nodes in a given order.

The bottleneck is the slowest stage; A(j, s), the least bottleneck of the first j layers in s stages, is

    A(j, s) = min over i < j of max{ A(i, s-1), seconds of layers i..j-1 on node s }

(Chen et al., FTPipeHD, arXiv 2110.02781; min-max over contiguous cuts, O(N L^2)), with stages that do not fit a node's
memory at infinite cost. Many cuts share nearly the same bottleneck; among those within ``SLACK`` of it the same
recurrence, with sums, finds the cuts that the fewest bytes cross.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable

SLACK = 0.05
"""How much slower than the least bottleneck the slowest stage may be for fewer bytes across the cuts."""

Cost = Callable[[int, int, int], float]
"""``cost(s, first, last)``: what layers ``first..last`` cost as stage ``s``; ``math.inf``: impossible."""


def partition(layers: int, stages: int, seconds: Cost, crossing: Callable[[int], float]) -> tuple[int, ...] | None:
    """First layer of every stage, each of at least one layer; ``None`` if there is no way.

    ``crossing(first)``: bytes across the cut before layer ``first``.
    """
    bottleneck, _ = cheapest(layers, stages, seconds, max)
    if math.isinf(bottleneck):
        return None
    limit = bottleneck * (1.0 + SLACK)

    def crosses(s: int, first: int, last: int) -> float:
        return crossing(first) if seconds(s, first, last) <= limit else math.inf

    _, cuts = cheapest(layers, stages, crosses, operator.add)
    return cuts


def cheapest(
    layers: int, stages: int, cost: Cost, join: Callable[[float, float], float]
) -> tuple[float, tuple[int, ...]]:
    """The least ``join`` of all stages' costs over all contiguous cuts, and the first layer of every stage."""
    nothing: tuple[float, tuple[int, ...]] = (math.inf, ())
    best = [(0.0, nothing[1]), *[nothing] * layers]
    for s in range(stages):
        row = [nothing] * (layers + 1)
        for j in range(s + 1, layers - (stages - s - 1) + 1):
            for i in range(s, j):
                if math.isinf(best[i][0]):
                    continue
                joined = join(best[i][0], cost(s, i, j - 1))
                if joined < row[j][0]:
                    row[j] = (joined, (*best[i][1], i))
        best = row
    return best[layers]
