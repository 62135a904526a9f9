"""Proves that a captured program computes what the module computes, bit for bit, on one example micro-batch.

Export freezes what it does not see: Python's and numpy's randomness, counters, custom backward functions, hooks. So
module and program run side by side, twice, with different random states, and every bit of the loss, the gradients and
the buffers is compared. The model is left as it was found.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edged.compute.interpreter import Interpreter
from edged.compute.program import Program
from edged.compute.structure import python_state, refuse_changes
from edged.compute.tracing import Metrics, Objective
from edged.compute.user_code import UserCode
from edged.errors import JobError

_SEEDS: Final = (11, 2**31 - 7)


@dataclass(frozen=True)
class Subject:
    """The model and what is asked of it. ``names``: its state by the program's names (parameters and buffers)."""

    model: nn.Module
    objective: Objective
    metrics: Metrics | None
    batch: Any
    names: Mapping[str, Tensor]


@dataclass(frozen=True)
class _Outcome:
    """What one run leaves behind: loss and metrics, gradients, buffers."""

    results: dict[str, Tensor]
    gradients: dict[str, Tensor | None]
    buffers: dict[str, Tensor]


def compare_training(program: Program, state: Mapping[str, Tensor], subject: Subject) -> None:
    """Raise ``JobError`` naming the first thing that differs between a training pass of module and program."""
    with _single_thread():
        for seed in _SEEDS:
            expected = _run_module(subject, seed, train=True)
            got = _run_program(program, state, subject, seed, train=True)
            _explain(expected, got)


def compare_evaluation(program: Program, state: Mapping[str, Tensor], subject: Subject) -> str:
    """Compare with ``model.eval()``, gradients enabled; return "" if every bit is the same, else what differs."""
    with _single_thread():
        for seed in _SEEDS:
            expected = _run_module(subject, seed, train=False)
            got = _run_program(program, state, subject, seed, train=False)
            for name, value in (*expected.results.items(), *expected.buffers.items()):
                other = {**got.results, **got.buffers}.get(name)
                if other is None or not same_bits(value, other):
                    return f"{name} differs between model.eval() and the program's evaluation"
    return ""


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put everything of the model back afterwards: values, gradients, modes, buffers that were replaced, generators."""
    tensors = [tensor for tensor in (*model.parameters(), *model.buffers()) if not tensor.is_meta]
    copies = [tensor.detach().clone(memory_format=torch.preserve_format) for tensor in tensors]
    gradients = [tensor.grad for tensor in tensors]
    places = [(module, dict(module._buffers), module.training) for module in model.modules()]  # noqa: SLF001
    numpy = sys.modules.get("numpy")
    drawn = random.getstate(), None if numpy is None else numpy.random.get_state()
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            for module, buffers, training in places:
                module._buffers.update(buffers)  # noqa: SLF001 -- the only way to undo an assignment
                module.training = training
            with torch.no_grad():
                for tensor, copy, gradient in zip(tensors, copies, gradients, strict=True):
                    if not same_bits(tensor, copy):
                        tensor.copy_(copy)
                    tensor.grad = gradient
            random.setstate(drawn[0])
            if numpy is not None:
                numpy.random.set_state(drawn[1])


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors have the same type, shape and bits (unlike ``torch.equal``, of NaN and -0.0 as well)."""
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    flat = [tensor.detach().contiguous().reshape(-1).view(torch.uint8) for tensor in (left, right)]
    return torch.equal(*flat)


def _run_module(subject: Subject, seed: int, *, train: bool) -> _Outcome:
    batch = pytree.tree_map(lambda leaf: leaf.clone(), subject.batch)
    with preserved(subject.model):
        if not train:
            subject.model.eval()
        for parameter in subject.model.parameters():
            parameter.grad = None
        _seed(seed)
        before = _foreign_randomness()
        counted = {} if train else python_state(subject.model, subject.objective, subject.metrics)
        with UserCode("the model cannot run its example batch"):
            loss = subject.objective(subject.model, batch)
            results = {"the loss": loss.detach().clone()}
            if train:
                torch.autograd.backward(loss)
            elif subject.metrics is not None:
                found = subject.metrics(subject.model, batch)
                results.update((f"the metric {name!r}", _metric(value)) for name, value in found.items())
        _check_randomness(before, _foreign_randomness())
        if not train:
            numbers = {key: value for key, value in counted.items() if type(value) in {int, float}}
            refuse_changes(numbers, python_state(subject.model, subject.objective, subject.metrics))
        named = dict(subject.model.named_buffers())
        return _Outcome(
            results,
            {name: _copied(name, t) for name, t in subject.names.items() if isinstance(t, nn.Parameter)},
            {name: named[name].detach().clone() for name in subject.names if name in named},
        )


def _run_program(
    program: Program, state: Mapping[str, Tensor], subject: Subject, seed: int, *, train: bool
) -> _Outcome:
    wanted = {program.loss, *(value for _, value in program.metrics)}
    interpreter = Interpreter(program, torch.device("cpu"), 0, len(program.operations), wanted)
    own = {spec.name: state[spec.name].detach().clone().requires_grad_(spec.requires_grad) for spec in program.state}
    leaves = [leaf.clone() for leaf in pytree.tree_leaves(subject.batch)]
    _seed(seed)
    given = {**own, **{spec.name: leaf for spec, leaf in zip(program.inputs, leaves, strict=True)}}
    values = interpreter.run(given, evaluate=not train)
    results = {"the loss": values[program.loss].detach()}
    if train:
        torch.autograd.backward(values[program.loss])
    else:
        results.update((f"the metric {name!r}", values[value].detach()) for name, value in program.metrics)
    return _Outcome(
        results,
        {spec.name: own[spec.name].grad for spec in program.state if spec.parameter},
        {name: own[name].detach() for name in subject.names if not isinstance(subject.names[name], nn.Parameter)},
    )


def _explain(expected: _Outcome, got: _Outcome) -> None:
    if not same_bits(expected.results["the loss"], got.results["the loss"]):
        raise JobError(
            "the captured program gives another loss than the model: something in forward is not tensor computation "
            "(a counter, the time, other libraries); draw with torch functions and keep counters in buffers"
        )
    for name, gradient in expected.gradients.items():
        other = got.gradients[name]
        if (gradient is None) != (other is None) or (
            gradient is not None and other is not None and not same_bits(gradient, other)
        ):
            raise JobError(
                f"the captured program gives another gradient for {name} than the model: a custom autograd.Function, a "
                "hook on a gradient or autocast in forward is lost in capture; write it with plain torch functions"
            )
    for name, buffer in expected.buffers.items():
        if not same_bits(buffer, got.buffers[name]):
            raise JobError(
                f"the captured program leaves another value in the buffer {name} than the model: "
                "change buffers in forward with tensor operations only"
            )


def _foreign_randomness() -> tuple[Any, Any]:
    numpy = sys.modules.get("numpy")
    return random.getstate(), None if numpy is None else str(numpy.random.get_state(legacy=False))


def _check_randomness(before: tuple[Any, Any], after: tuple[Any, Any]) -> None:
    for source, old, new in zip(("Python's random", "numpy.random"), before, after, strict=True):
        if old != new:
            raise JobError(
                f"the model or the objective draws from {source}, which capture would freeze; draw with torch functions"
            )


def _metric(value: Tensor) -> Tensor:
    number = value.detach().reshape(())
    return number.clone() if number.is_floating_point() else number.to(torch.float32)


def _copied(name: str, parameter: Tensor) -> Tensor | None:
    """A copy of the parameter's gradient."""
    if parameter.grad is not None and parameter.grad.layout is not torch.strided:
        raise JobError(f"the parameter {name} gets a sparse gradient, which edged does not add up: write sparse=False")
    return None if parameter.grad is None else parameter.grad.clone()


def _seed(seed: int) -> None:
    """Put all three generators that a model may draw from in a state made from ``seed``."""
    torch.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**32)


@contextmanager
def _single_thread() -> Iterator[None]:
    """Some backward operations differ from run to run with several threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
