"""Capture of the six models, and of what is peculiar about modules. Equal bits are proved by ``capture`` itself."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from edged.compute.capture import Captured, capture
from edged.compute.comparison import same_bits
from edged.compute.program import Ref
from edged.compute.program_form import dump, load
from tests.compute.models import CASES, DROPOUT_CASES
from tests.compute.samples import SIZE, captured


@pytest.mark.parametrize("name", [*CASES, *(f"dropout/{name}" for name in DROPOUT_CASES)])
def test_the_six_models_are_captured_whole(name: str) -> None:
    program = captured(name).program
    assert captured(name).notes == ()
    assert program.fixed_batch == 0
    assert program.evaluates
    assert len(program.metrics) == 1
    assert any(operation.random for operation in program.operations) == name.startswith("dropout/")


@pytest.mark.parametrize("name", CASES)
def test_state_has_the_names_of_state_dict(name: str) -> None:
    model = CASES[name].build()
    program = captured(name).program
    listed = [key for spec in program.state if spec.persistent for key in (spec.name, *spec.aliases)]
    assert sorted(listed) == sorted(model.state_dict())
    assert [s.name for s in program.state if s.parameter] == [key for key, _ in model.named_parameters()]
    for key, tensor in captured(name).state.items():
        spec = next(s for s in program.state if s.name == key)
        assert (tuple(tensor.shape), tuple(tensor.stride())) == (spec.shape, spec.strides)


def test_a_tied_weight_is_one_parameter_with_two_names() -> None:
    state = {spec.name: spec for spec in captured("gpt2").program.state}
    assert state["transformer.wte.weight"].aliases == ("lm_head.weight",)
    assert "lm_head.weight" not in state


def test_operations_in_place_are_rewritten_but_for_counters() -> None:
    kept = [o for o in captured("mobilenet").program.operations if o.name.split(".")[1].endswith("_")]
    assert {o.name for o in kept} == {"aten.add_.Tensor"}
    assert {o.flip for o in kept} == {((1, 0),)}


def test_the_model_is_left_as_it_was_found() -> None:
    model = CASES["mobilenet"].build()
    model.get_parameter("head.bias").grad = torch.ones(10)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    generator = torch.get_rng_state()
    case = CASES["mobilenet"]
    capture(model, case.objective, case.batch(SIZE, 1), case.metrics)
    assert all(same_bits(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(model.get_parameter("head.bias").grad, torch.ones(10))
    assert model.get_parameter("head.weight").grad is None
    assert model.training
    assert torch.equal(torch.get_rng_state(), generator)
    assert "forward" not in model.__dict__


def test_metrics_do_not_run_the_model_a_second_time() -> None:
    for name in CASES:
        only = [o for o in captured(name).program.operations if o.evaluation_only]
        assert 0 < len(only) <= 8


class Odd(nn.Module):
    """Runs ``body`` on a hidden layer."""

    def __init__(self, body: Any) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.second = nn.Linear(4, 1)
        self.body = body
        self.register_buffer("scale", torch.full((4,), 2.0), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.body(self, self.first(x))).squeeze(1)


def odd(body: Any, metrics: Any = None, size: int = SIZE) -> Captured:
    generator = torch.Generator().manual_seed(3)
    batch = {"x": torch.randn(size, 4, generator=generator), "y": torch.randn(size, generator=generator)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = Odd(body)
    return capture(model, lambda model, b: functional.mse_loss(model(b["x"]), b["y"]), batch, metrics)


def test_regions_without_gradient_are_marked() -> None:
    def body(net: Odd, h: Tensor) -> Tensor:
        with torch.no_grad():
            weight = h.abs().sum()
        return h * weight

    program = odd(body).program
    assert [o.name for o in program.operations if not o.gradient] == ["aten.abs.default", "aten.sum.default"]


def test_regions_of_autocast_are_marked() -> None:
    def body(net: Odd, h: Tensor) -> Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            weight = h @ h.transpose(0, 1)
        return h + weight.float().mean()

    program = odd(body).program
    assert "bfloat16" in {o.autocast for o in program.operations}


def test_constants_become_buffers_that_state_dict_does_not_list() -> None:
    table = torch.arange(4.0)
    state = {spec.name: spec for spec in odd(lambda net, h: h + table * net.scale).program.state}
    assert not state["constant:0"].persistent
    assert not state["scale"].persistent


def test_a_model_that_fixes_its_batch_is_captured_for_that_size() -> None:
    found = odd(lambda net, h: h.view(SIZE, 2, 2).tanh().view(SIZE, 4))
    assert found.program.fixed_batch == SIZE
    assert "micro-batches of 4 samples only" in found.notes[0]
    assert odd(lambda net, h: h, size=1).program.fixed_batch == 1


def test_a_model_that_evaluates_in_another_way_is_not_evaluated() -> None:
    found = odd(lambda net, h: h * 2 if net.training else h, lambda model, b: {"m": model(b["x"]).sum()})
    assert not found.program.evaluates
    assert found.program.metrics == ()
    assert "cannot be evaluated during training: the loss differs" in found.notes[0]
    assert not any(o.evaluation_only or o.flip for o in found.program.operations)


def moving_average(net: Odd, h: Tensor) -> Tensor:
    if net.training:
        with torch.no_grad():
            net.scale.mul_(0.9).add_(h.mean(0), alpha=0.1)
    return h * net.scale


def test_buffers_that_change_in_training_alone_stay_in_evaluation() -> None:
    found = odd(moving_average)
    assert found.notes == ()
    assert found.program.evaluates
    assert [o.flip for o in found.program.operations if o.name == "aten.copy_.default"] == [
        ((1, Ref("scale")),),
        ((1, Ref("%mul_")),),
    ]
    assert load(dump(found.program)) == found.program


def test_spectral_norm_is_captured_and_evaluated() -> None:
    model = nn.Sequential(nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)), nn.Linear(4, 1))
    found = capture(model, lambda model, x: model(x).mean(), torch.randn(SIZE, 4))
    assert found.program.evaluates


def test_an_objective_may_run_the_model_twice() -> None:
    def twice(model: nn.Module, batch: Any) -> Tensor:
        return (model(batch).sum() - model(batch).mean()) ** 2

    model = Odd(lambda net, h: functional.dropout(h, 0.5, net.training))
    program = capture(model, twice, torch.randn(SIZE, 4)).program
    assert sum(o.name == "aten.dropout.default" for o in program.operations) == 2


def test_integer_metrics_become_floats() -> None:
    found = odd(lambda net, h: h, lambda model, b: {"many": (model(b["x"]) > 0).sum()})
    assert found.program.metrics[0][0] == "many"
