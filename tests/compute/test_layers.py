"""Borders, and what crosses them."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.utils import _pytree as pytree

from edged.compute.check import check_program
from edged.compute.interpreter import Interpreter
from edged.compute.layers import interface
from edged.compute.program import Program
from tests.compute.models import CASES
from tests.compute.samples import SIZE, captured, linear_program, program


def stages(whole: Program, cuts: int) -> list[tuple[int, int]]:
    last = len(whole.layers)
    edges = sorted({round(last * i / cuts) for i in range(cuts + 1)})
    return [(first, stop - 1) for first, stop in pairwise(edges)]


@pytest.mark.parametrize("evaluate", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_stages_that_exchange_what_interfaces_say_give_the_bits_of_the_whole(name: str, evaluate: bool) -> None:
    whole = captured(name).program
    values = check_program(whole)
    batch = dict(zip((s.name for s in whole.inputs), pytree.tree_leaves(CASES[name].batch(SIZE, 3)), strict=True))
    device = torch.device("cpu")

    def state() -> dict[str, Any]:
        return {key: tensor.clone() for key, tensor in captured(name).state.items()}

    everything = Interpreter(whole, device, 0, len(whole.operations), {whole.loss})
    expected = everything.run({**state(), **batch}, evaluate=evaluate)[whole.loss]
    crossing: dict[str, Any] = {}
    owned: list[str] = []
    for first, last in stages(whole, len(whole.layers)):
        part = interface(whole, values, first, last)
        own = state()
        given = {key: own[key] for key in part.state} | {key: batch[key] for key in part.inputs}
        for value in part.receives:
            if not value.evaluation_only or evaluate:
                given[value.name] = crossing[value.name]
        wanted = {value.name for value in part.sends} | {whole.loss}
        crossing = Interpreter(whole, device, part.start, part.stop, wanted).run(given, evaluate=evaluate)
        owned += part.state
    assert torch.equal(crossing[whole.loss], expected)
    assert sorted(owned) == sorted(spec.name for spec in whole.state)


def test_what_a_stage_sends_is_what_the_next_receives() -> None:
    whole = captured("gpt2").program
    values = check_program(whole)
    parts = [interface(whole, values, first, last) for first, last in stages(whole, 4)]
    for before, after in pairwise(parts):
        assert before.sends == after.receives
    assert parts[0].receives == ()
    assert parts[-1].sends == ()


def test_a_tied_weight_belongs_to_its_first_use_and_crosses_once_per_step() -> None:
    whole = captured("gpt2").program
    first = interface(whole, check_program(whole), 0, 2)
    assert "transformer.wte.weight" in first.state
    tied = next(value for value in first.sends if value.name == "transformer.wte.weight")
    assert tied.per_step
    assert tied.gradient


def test_masks_cross_without_gradient_and_hidden_states_with() -> None:
    whole = captured("bert").program
    values = check_program(whole)
    sends = interface(whole, values, 0, len(whole.layers) // 2).sends
    assert {value.gradient for value in sends if value.spec.dtype == "float32"} == {True}
    assert not any(value.gradient for value in sends if value.spec.dtype != "float32")


def test_unet_can_be_cut_through_its_skips() -> None:
    whole = captured("unet").program
    values = check_program(whole)
    crossing = [interface(whole, values, 0, layer).sends for layer in range(len(whole.layers) - 1)]
    assert max(len([value for value in sends if value.gradient]) for sends in crossing) >= 2


def test_labels_go_only_where_they_are_used() -> None:
    whole = captured("mobilenet").program
    values = check_program(whole)
    last = len(whole.layers) - 1
    assert interface(whole, values, 0, 0).inputs == ("batch[0]",)
    assert interface(whole, values, 1, last - 1).inputs == ()
    assert interface(whole, values, last, last).inputs == ("batch[1]",)


def test_what_evaluation_alone_needs_is_marked() -> None:
    whole = linear_program()
    cut = program(*whole.operations, metrics=whole.metrics, layers=((0, 2), (2, 3), (3, 4)))
    sends = interface(cut, check_program(cut), 1, 1).sends
    assert [(value.name, value.evaluation_only) for value in sends] == [("r", True), ("loss", False)]
