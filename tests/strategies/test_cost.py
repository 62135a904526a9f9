"""Seconds and bytes of ranges of layers."""

from __future__ import annotations

import pytest

from edged.core.job import LayerProfile
from edged.strategies.cost import StageCost, as_size, levelled, slowness_of
from tests.core.miniature import make_spec
from tests.strategies.situations import member

LAYERS = (
    LayerProfile(1.0, 2.0, 100, 110, 7, 5, (0,)),
    LayerProfile(0.5, 0.5, 10, 10, 3, 2, ()),
    LayerProfile(0.25, 0.75, 1, 1, 1, 0, (1,)),
)


def test_seconds_are_those_of_the_source_times_slowness():
    cost = StageCost(make_spec(3, layers=LAYERS))
    assert cost.seconds(0, 2, 1.0) == 5.0
    assert cost.seconds(1, 1, 3.0) == 3.0


def test_memory_counts_state_gradients_optimizer_copies_and_what_is_in_flight():
    cost = StageCost(make_spec(3, layers=LAYERS, optimizer_copies=2))
    assert cost.size_bytes(0, 0, 1) == 110 + 3 * 100 + 7
    assert cost.size_bytes(1, 2, 2) == 11 + 3 * 11 + 2 * (3 + 1 + 5)


def test_crossing_bytes_are_those_of_the_layer_before():
    cost = StageCost(make_spec(3, layers=LAYERS))
    assert [cost.crossing_bytes(first) for first in range(3)] == [0, 5, 2]


@pytest.mark.parametrize(("own", "source", "expected"), [(4.0, 2.0, 2.0), (0.0, 2.0, 1.0), (4.0, 0.0, 1.0)])
def test_slowness_is_relative_to_the_source_and_one_where_unmeasured(own, source, expected):
    assert slowness_of(member(1, slowness=own), make_spec(2, source_slowness=source)) == expected


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (999, "999 B"), (2_500_000, "2.5 MB"), (3e9, "3 GB"), (7e12, "7 TB")]
)
def test_sizes_are_written_for_people(size, text):
    assert as_size(size) == text


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        ([], []),
        ([2.0], [2.0]),
        ([1.0, 1.1, 1.05], [1.05, 1.05, 1.05]),
        ([4.0, 1.0, 4.2, 1.0], [4.1, 1.0, 4.1, 1.0]),
        ([1.0, 1.09, 1.18], [1.045, 1.045, 1.18]),
    ],
)
def test_what_a_measurement_cannot_tell_apart_counts_as_equal(measured, expected):
    assert levelled(measured) == pytest.approx(expected)
