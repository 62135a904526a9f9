"""Clean-up of translated programs."""

from __future__ import annotations

from edged.compute.check import check_program
from edged.compute.program import Operation, Program, Ref
from edged.compute.rewriting import prune, replace_in_place
from tests.compute.samples import op, program


def names(whole: Program) -> list[str]:
    return [operation.name.removeprefix("aten.").split(".")[0] for operation in whole.operations]


def rewritten(*operations: Operation) -> Program:
    found, values = replace_in_place(program(*operations), check_program)
    assert values == check_program(found)
    return found


def test_in_place_becomes_out_of_place_and_later_uses_follow() -> None:
    whole = rewritten(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.relu_.default", Ref("h"), out="r"),
        op("aten.add.Tensor", Ref("h"), Ref("r"), out="s"),
        op("aten.mean.default", Ref("s"), out="loss"),
    )
    assert names(whole) == ["matmul", "relu", "add", "mean"]
    assert whole.operations[2].arguments == (Ref("r"), Ref("r"))


def test_a_chain_in_place_is_rewritten_whole() -> None:
    whole = rewritten(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.add_.Tensor", Ref("h"), Ref("b"), out="a"),
        op("aten.relu_.default", Ref("a"), out="r"),
        op("aten.mean.default", Ref("h"), out="loss"),
    )
    assert names(whole) == ["matmul", "add", "relu", "mean"]
    assert whole.operations[3].arguments == (Ref("r"),)


def test_a_view_whose_base_is_used_later_stays_in_place() -> None:
    whole = rewritten(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.view.default", Ref("h"), (-1,), out="v"),
        op("aten.mul_.Tensor", Ref("v"), 2.0, out="m"),
        op("aten.mean.default", Ref("h"), out="loss"),
    )
    assert "mul_" in names(whole)


def test_a_view_whose_base_is_not_used_later_is_rewritten() -> None:
    whole = rewritten(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.view.default", Ref("h"), (-1,), out="v"),
        op("aten.mul_.Tensor", Ref("v"), 2.0, out="m"),
        op("aten.mean.default", Ref("m"), out="loss"),
    )
    assert "mul" in names(whole)


def test_changes_of_state_stay_in_place() -> None:
    whole = rewritten(
        op("aten.view.default", Ref("b"), (-1,), out="v"),
        op("aten.add_.Tensor", Ref("v"), 1, out="c"),
        op("aten.mean.default", Ref("w"), out="loss"),
    )
    assert "add_" in names(whole)


def test_a_twin_with_other_strides_is_not_taken() -> None:
    whole = rewritten(
        op("aten.ones_like.default", Ref("w"), out="o"),
        op("aten.select.int", Ref("o"), 1, 0, out="s"),
        op("aten.relu_.default", Ref("s"), out="r"),
        op("aten.mul.Tensor", Ref("w"), Ref("r"), out="p"),
        op("aten.mean.default", Ref("p"), out="loss"),
    )
    assert "relu_" in names(whole)


def test_dead_operations_go_and_metrics_are_marked() -> None:
    whole = program(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.relu.default", Ref("h"), out="dead"),
        op("aten.add_.Tensor", Ref("b"), 1, out="counted"),
        op("aten.rand_like.default", Ref("h"), out="drawn", random=True),
        op("aten.mean.default", Ref("h"), out="loss"),
        op("aten.add_.Tensor", Ref("b"), 1, out="again"),
        op("aten.max.default", Ref("h"), out="top"),
        metrics=(("top", "top"),),
    )
    kept = prune(whole, 5)
    assert [(o.outputs[0], o.evaluation_only) for o in kept.operations] == [
        ("h", False), ("counted", False), ("drawn", False), ("loss", False), ("top", True),
    ]  # fmt: skip


def test_a_change_of_a_view_keeps_what_its_base_needs() -> None:
    whole = program(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.view.default", Ref("h"), (-1,), out="v"),
        op("aten.mul_.Tensor", Ref("v"), 2.0, out="m"),
        op("aten.mean.default", Ref("h"), out="loss"),
    )
    assert len(prune(whole, 4).operations) == 4
