"""What a search through random programs found to change bits: barred as a border, or carried over it."""

from __future__ import annotations

import pytest
import torch

from edged.compute.check import check_program
from edged.compute.exactness import forbidden
from edged.compute.program import InputSpec, Operation, Ref, StateSpec
from tests.compute.samples import op, program
from tests.compute.test_random_cuts import Case, in_parts, plain


def barred(*operations: Operation) -> set[int]:
    made = program(*operations, op("aten.mean.default", Ref("s"), out="loss"))
    return forbidden(made, check_program(made))


@pytest.mark.parametrize("name", ["contiguous", "positive", "relu_"])
def test_one_tensor_does_not_cross_under_two_names(name: str) -> None:
    first = op("aten.matmul.default", Ref("x"), Ref("w"), out="h")
    second = op(f"aten.{name}.default", Ref("h"), out="same")
    third = op("aten.sin.default", Ref("h"), out="r")
    fourth = op("aten.add.Tensor", Ref("same"), Ref("r"), out="s")
    assert barred(first, second, third, fourth) - {1} == {2}
    chained = op("aten.add.Tensor", Ref("h"), Ref("r"), out="s")
    assert barred(first, second, third, chained) - {1} == set()


def test_what_may_be_one_tensor_at_another_size_does_not_cross_under_two_names() -> None:
    body = (
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.transpose.int", Ref("h"), 0, 1, out="t"),
        op("aten.contiguous.default", Ref("t"), out="c"),
        op("aten.add.Tensor", Ref("t"), Ref("c"), out="s"),
    )
    assert barred(*body) == {3}


def test_values_without_gradient_may_cross_under_two_names() -> None:
    body = (
        op("aten.sin.default", Ref("x"), out="h"),
        op("aten.positive.default", Ref("h"), out="same"),
        op("aten.matmul.default", Ref("same"), Ref("w"), out="r"),
        op("aten.add.Tensor", Ref("h"), Ref("r"), out="s"),
    )
    assert barred(*body) == set()


def test_memory_that_was_changed_in_place_crosses_under_one_name() -> None:
    body = (
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.view.default", Ref("h"), (-1,), out="v"),
        op("aten.add_.Tensor", Ref("h"), 1.0, out="m"),
        op("aten.sin.default", Ref("h"), out="r"),
        op("aten.mul.Tensor", Ref("r"), Ref("h"), out="a"),
        op("aten.sum.default", Ref("v"), out="t"),
        op("aten.add.Tensor", Ref("a"), Ref("t"), out="s"),
    )
    assert barred(*body) == {1, 2, 3, 4}


def test_a_tensor_that_overlaps_itself_does_not_cross() -> None:
    body = (
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.unfold.default", Ref("h"), 0, 2, 1, out="windows"),
        op("aten.sin.default", Ref("windows"), out="s"),
    )
    assert barred(*body) == {2}


WIDTH, TOKENS = 17, 3


def second_half(*tail: Operation) -> Case:
    """``tail`` makes ``s`` of the halves of a split; ``second`` begins 12 bytes past a multiple of 64."""
    made = program(
        op("aten.linear.default", Ref("x"), Ref("first"), out="h"),
        op("aten.split_with_sizes.default", Ref("h"), (TOKENS, TOKENS), out=("top", "second")),
        *tail,
        op("aten.mul.Tensor", Ref("s"), Ref("s"), out="q"),
        op("aten.sum.default", Ref("q"), out="loss"),
        inputs=(InputSpec("x", "float32", (2 * TOKENS, WIDTH)),),
        state=tuple(StateSpec(n, "float32", (WIDTH, WIDTH), (WIDTH, 1), True, True, True, ()) for n in ("first", "w")),
        evaluates=False,
    )
    generator = torch.Generator().manual_seed(1)
    state = {name: torch.randn(WIDTH, WIDTH, generator=generator) / WIDTH for name in ("first", "w")}
    return Case(made, check_program(made), state)


MISALIGNED = {
    "forward": (op("aten.linear.default", Ref("second"), Ref("w"), out="s"),),
    "backward": (
        op("aten.matmul.default", Ref("top"), Ref("w"), out="k"),
        op("aten.cat.default", (Ref("x"), Ref("k")), out="s"),
    ),
}


@pytest.mark.parametrize("way", MISALIGNED)
def test_every_cut_keeps_the_alignment_that_matrix_products_depend_on(way: str) -> None:
    case = second_half(*MISALIGNED[way])
    expected = plain(case, "sgd")
    for border in range(1, len(case.program.operations)):
        found = in_parts(case, "sgd", [border])
        assert all(torch.equal(found[name], expected[name]) for name in expected), border
