"""The comparison of module and program notices any changed bit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edged.compute.comparison import Subject, compare_evaluation, compare_training, preserved, same_bits
from edged.compute.program import Operation, Program
from edged.errors import JobError
from tests.compute.models import CASES
from tests.compute.samples import SIZE, captured


def subject(name: str) -> Subject:
    case = CASES[name]
    model = case.build()
    names = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    return Subject(model, case.objective, case.metrics, case.batch(SIZE, 9), names)


def changed(program: Program, name: str, *arguments: Any) -> Program:
    """The program with the last arguments of its first operation ``name`` replaced."""

    def change(operation: Operation) -> Operation:
        kept = operation.arguments[: len(operation.arguments) - len(arguments)]
        return replace(operation, arguments=(*kept, *arguments))

    at = next(i for i, operation in enumerate(program.operations) if operation.name == name)
    operations = list(program.operations)
    operations[at] = change(operations[at])
    return replace(program, operations=tuple(operations))


def test_the_captured_program_passes() -> None:
    found = captured("residual")
    compare_training(found.program, found.state, subject("residual"))
    assert compare_evaluation(found.program, found.state, subject("residual")) == ""


def test_another_loss_is_noticed() -> None:
    found = captured("residual")
    wrong = changed(found.program, "aten.batch_norm.default", 1e-4, False)
    with pytest.raises(JobError, match="another loss"):
        compare_training(wrong, found.state, subject("residual"))
    assert "the loss differs" in compare_evaluation(wrong, found.state, subject("residual"))


def test_another_buffer_is_noticed() -> None:
    found = captured("residual")
    wrong = changed(found.program, "aten.add_.Tensor", 2)
    with pytest.raises(JobError, match=r"another value in the buffer blocks\.0\.norm\.num_batches_tracked"):
        compare_training(wrong, found.state, subject("residual"))


def test_a_lost_gradient_is_noticed_and_named() -> None:
    found = captured("residual")
    operations = list(found.program.operations)
    operations[0] = replace(operations[0], gradient=False)
    wrong = replace(found.program, operations=tuple(operations))
    with pytest.raises(JobError, match=r"another gradient for stem\.weight"):
        compare_training(wrong, found.state, subject("residual"))


def test_evaluation_that_still_trains_is_noticed() -> None:
    found = captured("residual")
    wrong = replace(found.program, operations=tuple(replace(o, flip=()) for o in found.program.operations))
    assert compare_evaluation(wrong, found.state, subject("residual"))


def test_bits_tell_zeros_apart_and_take_nan_for_nan() -> None:
    assert not same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    assert same_bits(torch.tensor(float("nan")), torch.tensor(float("nan")))
    assert not same_bits(torch.zeros(2), torch.zeros(3))
    assert not same_bits(torch.zeros(2), torch.zeros(2, dtype=torch.float64))
    assert same_bits(torch.tensor([True, False]), torch.tensor([True, False]))


def test_a_preserved_model_gets_back_values_buffers_and_modes() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    mean: Tensor = model[1].running_mean
    before = model[0].weight.detach().clone()
    with preserved(model):
        model.eval()
        model[1].running_mean = torch.ones(2)
        with torch.no_grad():
            model[0].weight.zero_()
    assert model[1].running_mean is mean
    assert model.training
    assert model[1].training
    assert same_bits(model[0].weight, before)
