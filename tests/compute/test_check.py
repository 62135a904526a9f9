"""Programs that are refused for their shapes and types, without computing anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from edged.compute.capture import capture
from edged.compute.check import CheckedProgram, check_program
from edged.compute.program import InputSpec, Program, Ref
from edged.errors import ProgramRefusedError
from tests.compute.samples import linear_program, op, program

MISFITS = {
    "shape": program(op("aten.view.default", Ref("x"), (7, 7), out="h"), op("aten.mean.default", Ref("h"), out="loss")),
    "type": program(op("aten.relu.default", "x", out="loss")),
    "missing argument": program(op("aten.matmul.default", Ref("x"), out="loss")),
    "outputs": program(op("aten.mean.default", Ref("w"), out=("loss", "more"))),
    "not a scalar": program(op("aten.relu.default", Ref("w"), out="loss")),
    "no gradient": program(op("aten.mean.default", Ref("x"), out="loss")),
    "text arithmetic": program(op("_operator.mul", "a", 9, out="h"), op("aten.mean.default", Ref("w"), out="loss")),
    "huge number": program(op("_operator.mul", 2**62, 4, out="h"), op("aten.mean.default", Ref("w"), out="loss")),
    "zero division": program(op("_operator.mod", 1, 0, out="h"), op("aten.mean.default", Ref("w"), out="loss")),
    "huge value": program(
        op("aten.zeros.default", (2**20, 2**20), out="h"), op("aten.mean.default", Ref("w"), out="loss")
    ),
    "too many pieces": program(
        op("aten.zeros.default", (2**30,), out="h"),
        op("aten.unbind.int", Ref("h"), out=("", "")),
        op("aten.mean.default", Ref("w"), out="loss"),
    ),
    "too many sections": program(
        op("aten.tensor_split.sections", Ref("w"), 2**40, out=("", "")), op("aten.mean.default", Ref("w"), out="loss")
    ),
    "vector metric": program(op("aten.mean.default", Ref("w"), out="loss"), metrics=(("m", "w"),)),
    "shape out of data": program(
        op("aten.gt.Scalar", Ref("w"), 0.0, out="g"),
        op("aten.index.Tensor", Ref("w"), (Ref("g"),), out="h"),
        op("aten.mean.default", Ref("h"), out="loss"),
    ),
    "not allowed": program(op("aten.from_file.default", "/etc/passwd", out="loss")),
}


@pytest.mark.parametrize("bad", MISFITS.values(), ids=MISFITS.keys())
def test_a_program_that_does_not_fit_its_shapes_is_refused(bad: Program) -> None:
    with pytest.raises(ProgramRefusedError):
        check_program(bad)


def test_values_are_described_for_any_size_of_micro_batch() -> None:
    values = check_program(linear_program(), 2)
    assert values["h"].shape == (2, 3)
    assert values["h"].requires_grad
    assert not values["x"].requires_grad
    assert values["top"].shape == ()
    assert values["w"].size_bytes == 36


def test_a_checked_program_finds_the_values_of_a_size_once() -> None:
    whole = linear_program()
    own = whole.inputs[0].shape[0]
    checked = CheckedProgram(whole)
    first = checked.values({own: True, own + 1: True})
    assert first == {size: check_program(whole, size) for size in (own, own + 1)}
    again = checked.values({own + 1: True})
    assert again.keys() == {own + 1}
    assert again[own + 1] is first[own + 1]


def test_a_program_whose_examples_differ_in_size_is_checked_for_the_size_asked() -> None:
    whole = linear_program()
    odd = replace(whole, inputs=(*whole.inputs, InputSpec("odd", "float32", (7, 2))))
    for size in (whole.inputs[0].shape[0], 7):
        assert CheckedProgram(odd).values({size: True})[size]["odd"].shape == (size, 2)


@pytest.mark.parametrize("bad", [MISFITS["shape"], MISFITS["not allowed"]])
def test_what_does_not_pass_cannot_be_a_checked_program(bad: Program) -> None:
    with pytest.raises(ProgramRefusedError):
        CheckedProgram(bad)


def test_batch_norm_of_one_sample_fits_in_evaluation_alone() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))
    normed = capture(model, lambda net, given: net(given).mean(), torch.zeros(3, 4)).program
    with pytest.raises(ProgramRefusedError, match="batch_norm"):
        check_program(normed, 1)
    assert check_program(normed, 1, training=False)[normed.loss].shape == ()
    checked = CheckedProgram(normed)
    assert checked.values({1: False})[1] is checked.values({1: False})[1]
