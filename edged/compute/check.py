"""Runs a program without data: every shape, type and need of a gradient, found by torch's own fake tensors.

Nothing is allocated and nothing is computed, so a stranger's program can be checked whole before any of it runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Final

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from edged.compute.interpreter import fill, flipped, prepare, resolve
from edged.compute.operations import SCALAR_OPERATIONS, overload
from edged.compute.program import Operation, Program
from edged.compute.tensors import DTYPES
from edged.compute.values import Values, ValueSpec
from edged.errors import ProgramRefusedError

MAX_VALUE_BYTES: Final = 2**38
"""Largest single value of a program, for its own example's size of micro-batch."""
MAX_PIECES: Final = 100_000
"""Most pieces that an operation may cut a tensor into."""
_CPU: Final = torch.device("cpu")
_CUTS: Final = tuple(
    f"aten.{name}." for name in ("unbind", "split", "chunk", "tensor_split", "hsplit", "vsplit", "dsplit")
)
_MISFITS: Final = (
    RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError, AssertionError, ArithmeticError,
)  # fmt: skip
"""What torch raises for arguments that do not fit (NotImplementedError is a RuntimeError)."""


class CheckedProgram:
    """A program that passed ``check_program``, together with what was found for a few sizes of micro-batch."""

    def __init__(self, program: Program) -> None:
        """Check it for its example's size. Raises ``ProgramRefusedError``."""
        self.program = program
        found = check_program(program)
        sizes = {spec.shape[0] for spec in program.inputs}
        self._values = {(size, True): found for size in sizes} if len(sizes) == 1 else {}

    def values(self, sizes: Mapping[int, bool]) -> dict[int, Values]:
        """Every value, by size of micro-batch; each is found once, until other sizes are asked for.

        ``sizes``: the sizes, and whether training has them (or evaluation alone). Raises ``ProgramRefusedError`` if the
        program does not fit one of the sizes.
        """
        known = self._values
        self._values = {
            (size, training): known.get((size, True))
            or known.get((size, training))
            or check_program(self.program, size, training=training)
            for size, training in sizes.items()
        }
        return {size: values for (size, _), values in self._values.items()}


def check_program(program: Program, micro_batch: int | None = None, *, training: bool = True) -> Values:
    """Run the whole program on fake tensors, as in training and as in evaluation, and describe every value.

    ``micro_batch``: number of samples; by default the example's. Without ``training`` it is run as in evaluation alone:
    batch norm takes one sample only there. Where evaluation gives another shape than training, or
    none, training's is told. Raises ``ProgramRefusedError`` for an operation that is not allowed or does not fit, a
    loss or metric that is not a scalar, a loss without gradient.
    """
    for operation in program.operations:
        if operation.name not in SCALAR_OPERATIONS:
            overload(operation.name)
    with FakeTensorMode(allow_fallback_kernels=False):
        trained = run_fake(program, micro_batch, evaluate=False) if training else {}
        evaluates = not training or _evaluates_otherwise(program)
        evaluated = run_fake(program, micro_batch, evaluate=True) if evaluates else {}
    values = _joined(describe(trained), describe(evaluated))
    _check_scalar(values, program.loss, "the loss")
    if training and not values[program.loss].requires_grad:
        raise ProgramRefusedError("the loss does not depend on any parameter that wants a gradient")
    for name, source in program.metrics:
        if source in values:
            _check_scalar(values, source, f"the metric {name}")
    return values


def _evaluates_otherwise(program: Program) -> bool:
    return program.evaluates and any(operation.flip or operation.evaluation_only for operation in program.operations)


def run_fake(program: Program, micro_batch: int | None, *, evaluate: bool) -> dict[str, Any]:
    """All values of one run on fake tensors, in order; the caller is inside a ``FakeTensorMode``.

    Raises ``ProgramRefusedError`` for the first operation that does not fit.
    """
    values = _given(program, micro_batch)
    for index, operation in enumerate(program.operations):
        if operation.evaluation_only and not evaluate:
            continue
        try:
            results = _call(flipped(operation) if evaluate else operation, values)
        except _MISFITS as error:
            words = " ".join(str(error).split())[:300]
            raise ProgramRefusedError(f"operation {index} ({operation.name}) does not fit: {words}") from error
        _store(values, operation, results, index)
    return values


def describe(values: Mapping[str, Any]) -> dict[str, ValueSpec]:
    """What the values of a run are; ``storage`` and ``tensor`` are numbered in the order of appearance."""
    numbers: dict[int, int] = {}
    tensors: dict[int, int] = {}
    described = {}
    for name, value in values.items():
        if isinstance(value, torch.Tensor):
            storage = numbers.setdefault(value.untyped_storage()._cdata, len(numbers))  # noqa: SLF001 -- its identity
            described[name] = ValueSpec(
                scalar=False,
                dtype=str(value.dtype).removeprefix("torch."),
                shape=tuple(value.shape),
                strides=tuple(value.stride()),
                requires_grad=value.requires_grad,
                size_bytes=value.numel() * value.element_size(),
                storage=storage,
                tensor=tensors.setdefault(id(value), len(tensors)),
            )
        else:
            kind = type(value).__name__
            described[name] = ValueSpec(
                scalar=True, dtype=kind, shape=(), strides=(), requires_grad=False, size_bytes=8, storage=-1, tensor=-1
            )
    return described


def _given(program: Program, micro_batch: int | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    try:
        for spec in program.inputs:
            size = spec.shape[0] if micro_batch is None else micro_batch
            values[spec.name] = torch.empty((size, *spec.shape[1:]), dtype=DTYPES[spec.dtype])
        for state in program.state:
            values[state.name] = torch.empty_strided(
                state.shape, state.strides, dtype=DTYPES[state.dtype], requires_grad=state.requires_grad
            )
    except _MISFITS as error:
        raise ProgramRefusedError(f"an input or a state tensor cannot be: {error}") from error
    return values


def _joined(trained: Values, evaluated: Values) -> Values:
    """Training's values, and those that only evaluation has; what is shared with a training value keeps its number."""
    shift = len(trained)
    storages = {spec.storage: trained[name].storage for name, spec in evaluated.items() if name in trained}
    tensors = {spec.tensor: trained[name].tensor for name, spec in evaluated.items() if name in trained}
    extra = {
        name: replace(
            spec,
            storage=storages.get(spec.storage, spec.storage + shift),
            tensor=tensors.get(spec.tensor, spec.tensor + shift),
        )
        for name, spec in evaluated.items()
        if name not in trained
    }
    return {**trained, **extra}


def _call(operation: Operation, values: Mapping[str, Any]) -> Any:
    function, many = resolve(operation.name)
    arguments = [fill(prepare(argument, _CPU), values) for argument in operation.arguments]
    if many:
        _check_pieces(arguments, operation.name)
    keywords = {key: fill(prepare(argument, _CPU), values) for key, argument in operation.keywords}
    if operation.name in SCALAR_OPERATIONS:
        if not all(isinstance(argument, int | float) for argument in arguments):
            raise TypeError("sizes are numbers")
        return function(*arguments)
    return _in_region(operation, function, arguments, keywords)


def _check_pieces(arguments: list[Any], name: str) -> None:
    """Refuse what would keep this node busy with making views, even without data."""
    sizes = [size for value in arguments if isinstance(value, torch.Tensor) for size in value.shape]
    if name.startswith("aten.tensor_split."):
        sizes += [value for value in arguments if isinstance(value, int)]
    if max(sizes, default=0) > MAX_PIECES and name.startswith(_CUTS):
        raise ValueError(f"a tensor is cut into more than {MAX_PIECES} pieces")


def _in_region(operation: Operation, function: Callable[..., Any], arguments: list[Any], keywords: Any) -> Any:
    cast = torch.autocast("cpu", dtype=DTYPES[operation.autocast]) if operation.autocast else nullcontext()
    with torch.set_grad_enabled(operation.gradient), cast:
        return function(*arguments, **keywords)


def _store(values: dict[str, Any], operation: Operation, results: Any, index: int) -> None:
    several = isinstance(results, tuple | list)
    outputs = results if several else (results,)
    if len(outputs) != len(operation.outputs) and operation.outputs:
        raise ProgramRefusedError(
            f"operation {index} ({operation.name}) gives {len(outputs)} values, not {len(operation.outputs)}"
        )
    for name, value in zip(operation.outputs, outputs, strict=False):
        if isinstance(value, torch.Tensor):
            if value.numel() * value.element_size() > MAX_VALUE_BYTES or str(value.layout) != "torch.strided":
                raise ProgramRefusedError(f"operation {index} ({operation.name}) gives a value that is too large")
        elif type(value) not in {int, float, bool} or abs(value) >= 2**63:
            raise ProgramRefusedError(f"operation {index} ({operation.name}) gives neither a tensor nor a number")
        if name:
            values[name] = value


def _check_scalar(values: Values, name: str, what: str) -> None:
    spec = values[name]
    if spec.scalar or spec.shape or not spec.dtype.startswith(("float", "bfloat")):
        raise ProgramRefusedError(f"{what} must be one floating point number, got {spec.dtype} of shape {spec.shape}")
