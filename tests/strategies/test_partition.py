"""The recurrence against every possible cut."""

from __future__ import annotations

import itertools
import math
import operator

from hypothesis import given
from hypothesis import strategies as st

from edged.strategies.partition import SLACK, cheapest, partition


def every_cut(layers: int, stages: int):
    for inner in itertools.combinations(range(1, layers), stages - 1):
        yield (0, *inner)


def ranges(cuts: tuple[int, ...], layers: int):
    return [(s, first, end - 1) for s, (first, end) in enumerate(zip(cuts, (*cuts[1:], layers), strict=True))]


@st.composite
def rows(draw):
    layers = draw(st.integers(1, 8))
    stages = draw(st.integers(1, min(4, layers)))
    times = draw(st.lists(st.integers(0, 9), min_size=layers, max_size=layers))
    slowness = draw(st.lists(st.integers(1, 9), min_size=stages, max_size=stages))
    room = draw(st.lists(st.integers(1, 6), min_size=stages, max_size=stages))
    crossing = [0, *draw(st.lists(st.integers(0, 9), min_size=layers - 1, max_size=layers - 1))]

    def seconds(s: int, first: int, last: int) -> float:
        return math.inf if last - first + 1 > room[s] else float(slowness[s] * sum(times[first : last + 1]))

    return layers, stages, seconds, crossing


@given(rows())
def test_no_cut_has_a_lower_bottleneck(row):
    layers, stages, seconds, _ = row
    best = min(max(seconds(*stage) for stage in ranges(cuts, layers)) for cuts in every_cut(layers, stages))
    assert cheapest(layers, stages, seconds, max)[0] == best


@given(rows())
def test_no_cut_near_the_least_bottleneck_is_crossed_by_fewer_bytes(row):
    layers, stages, seconds, crossing = row
    cuts = partition(layers, stages, seconds, crossing.__getitem__)
    every = {each: max(seconds(*stage) for stage in ranges(each, layers)) for each in every_cut(layers, stages)}
    best = min(every.values())
    if math.isinf(best):
        assert cuts is None
        return
    assert cuts is not None
    near = [each for each, bottleneck in every.items() if bottleneck <= best * (1 + SLACK)]
    assert cuts in near
    assert sum(map(crossing.__getitem__, cuts)) == min(sum(map(crossing.__getitem__, each)) for each in near)


def test_more_stages_than_layers_is_impossible():
    assert partition(2, 3, lambda *_: 1.0, lambda _: 0.0) is None
    assert math.isinf(cheapest(2, 3, lambda *_: 1.0, operator.add)[0])
