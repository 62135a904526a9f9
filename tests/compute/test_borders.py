"""Where a program may be cut, and where it is."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edged.compute.borders import MAX_LAYERS, choose_layers, crossing_bytes
from edged.compute.check import check_program
from edged.compute.exactness import forbidden
from edged.compute.program import Ref
from tests.compute.samples import captured, op, program

LEAST = {"mobilenet": 9, "residual": 5, "unet": 5, "gpt2": 7, "bert": 8, "lstm": 3}


@pytest.mark.parametrize(("name", "least"), LEAST.items())
def test_every_model_has_enough_layers(name: str, least: int) -> None:
    layers = captured(name).program.layers
    assert len(layers) >= least
    assert layers[0][0] == 0
    assert layers[-1][1] == len(captured(name).program.operations)
    assert all(before[1] == after[0] for before, after in pairwise(layers))


def test_memory_changed_in_place_is_not_torn_from_its_views() -> None:
    torn = program(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.view.default", Ref("h"), (-1,), out="v"),
        op("aten.relu.default", Ref("x"), out="other"),
        op("aten.mul_.Tensor", Ref("v"), 2.0, out="m"),
        op("aten.mean.default", Ref("h"), out="loss"),
    )
    assert forbidden(torn, check_program(torn)) == {1, 2, 3}


def test_a_buffer_that_changes_stays_within_one_layer() -> None:
    changing = program(
        op("aten.mul.Tensor", Ref("w"), Ref("b"), out="h"),
        op("aten.relu.default", Ref("h"), out="r"),
        op("aten.add_.Tensor", Ref("b"), 1, out="c"),
        op("aten.add.Tensor", Ref("r"), Ref("b"), out="s"),
        op("aten.mean.default", Ref("s"), out="loss"),
    )
    assert forbidden(changing, check_program(changing)) == {1, 2, 3}


def test_a_very_deep_program_has_a_bounded_number_of_layers() -> None:
    names = [f"h{i}" for i in range(300)]
    body = [op("aten.matmul.default", Ref(a), Ref("w"), out=b) for a, b in pairwise(["x", *names])]
    deep = program(*body, op("aten.mean.default", Ref(names[-1]), out="loss"))
    layers = choose_layers(deep, check_program(deep))
    assert len(layers) == MAX_LAYERS
    assert max(stop - start for start, stop in layers) <= 4


def test_borders_inside_a_transformer_block_that_cross_more_are_dropped() -> None:
    whole = captured("bert").program
    costs = crossing_bytes(whole, check_program(whole))
    cuts = [costs[start] for start, _ in whole.layers[1:-2]]
    hidden = 4 * 12 * 32 * 4
    assert all(hidden <= cost < 1.7 * hidden for cost in cuts)
