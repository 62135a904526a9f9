"""Runs a range of a program's operations: a plain loop over (operation, arguments), as fast as the eager module.

Everything that can be decided once is decided when the interpreter is built: overloads are resolved, constants become
torch's own, evaluation's changes are applied, and each call knows which values nobody needs after it. What is left per
operation is filling in references, calling, and storing the results.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

import torch

from edged.compute.layers import uses
from edged.compute.program import Argument, Named, Operation, Program, Ref
from edged.compute.seeding import generator_of, mix, work_seed
from edged.errors import ProgramRefusedError

_OPERATORS: Final[Mapping[str, Callable[..., Any]]] = {
    name: getattr(operator, name)
    for name in ("add", "sub", "mul", "floordiv", "truediv", "mod", "neg", "pow", "eq", "ne", "lt", "le", "gt", "ge")
}
_PREFIXES: Final = {"dtype": torch.dtype, "memory_format": torch.memory_format, "layout": torch.layout}


@dataclass(frozen=True, slots=True)
class Seeds:
    """What seeds the random operations of one micro-batch: the job's seed, ``Work.version``, ``Work.micro_batch``."""

    seed: int
    step: int
    micro_batch: int


@dataclass(frozen=True, slots=True)
class _Region:
    """Under which modes an operation runs: with gradients or without, and autocast's dtype ("": none)."""

    gradient: bool
    autocast: str


@dataclass(frozen=True, slots=True)
class _Call:
    """One operation, made ready.

    ``template`` holds the positional arguments with ``None`` where ``references`` (position, name) or ``nested``
    (position, items with references inside) fill in. ``many``: the overload returns a sequence. ``dead``: names that
    nobody needs afterwards.
    """

    index: int
    function: Callable[..., Any]
    template: tuple[Any, ...]
    references: tuple[tuple[int, str], ...]
    nested: tuple[tuple[int, Any], ...]
    keywords: tuple[tuple[str, Any], ...]
    outputs: tuple[str, ...]
    many: bool
    random: bool
    region: _Region
    dead: tuple[str, ...]


class Interpreter:
    """Runs operations ``[start, stop)`` of a program on one device.

    ``wanted`` names the values that ``run`` returns; all others are let go after their last use. Not safe for use by
    two threads at once: it sets gradient mode and the default generator.
    """

    def __init__(self, program: Program, device: torch.device, start: int, stop: int, wanted: Collection[str]) -> None:
        """Resolve everything. Raises ``ProgramRefusedError`` for a name that torch does not know."""
        self._device = device
        self._wanted = frozenset(wanted)
        self._generator = generator_of(device)
        numbered = list(enumerate(program.operations))[start:stop]
        self._train = self._compile([(i, op) for i, op in numbered if not op.evaluation_only])
        self._evaluate = self._compile([(i, flipped(op)) for i, op in numbered])

    def run(
        self,
        values: dict[str, Any],
        *,
        evaluate: bool = False,
        seeds: Seeds | None = None,
        timings: dict[int, float] | None = None,
    ) -> dict[str, Any]:
        """Compute, and return the wanted values that exist.

        ``values`` (inputs, state, received values, by name) is used up. Without ``seeds``, random operations draw from
        the generator as it stands, as an eager module would. ``timings`` receives seconds by index of operation, added
        to what is there (on an accelerator it waits for each operation). The gradient mode is the caller's, but for
        operations inside a no-gradient region.
        """
        calls = self._evaluate if evaluate else self._train
        base = None if seeds is None else work_seed(seeds.seed, seeds.step, seeds.micro_batch)
        gradients = torch.is_grad_enabled()
        region: _Region | None = None
        cast: AbstractContextManager[Any] = nullcontext()
        cast.__enter__()
        try:
            for call in calls:
                if call.region is not region:
                    if region is None or call.region.autocast != region.autocast:
                        cast.__exit__(None, None, None)
                        cast = self._autocast(call.region.autocast)
                        cast.__enter__()
                    torch.set_grad_enabled(gradients and call.region.gradient)
                    region = call.region
                if call.random and base is not None:
                    self._generator.manual_seed(mix(base, call.index))
                if timings is None:
                    _perform(call, values)
                else:
                    timings[call.index] = timings.get(call.index, 0.0) + self._timed(call, values)
        finally:
            cast.__exit__(None, None, None)
            torch.set_grad_enabled(gradients)
        return {name: values[name] for name in self._wanted if name in values}

    def _timed(self, call: _Call, values: dict[str, Any]) -> float:
        synchronize(self._device)
        before = perf_counter()
        _perform(call, values)
        synchronize(self._device)
        return perf_counter() - before

    def _autocast(self, text: str) -> AbstractContextManager[Any]:
        if not text:
            return nullcontext()
        return torch.autocast(self._device.type, dtype=constant(Named("dtype", text), self._device))

    def _compile(self, operations: list[tuple[int, Operation]]) -> tuple[_Call, ...]:
        last_use: dict[str, int] = {}
        for index, op in operations:
            for name in (*uses(op), *(name for name in op.outputs if name)):
                last_use[name] = index
        dead: dict[int, list[str]] = {}
        for name, index in last_use.items():
            if name not in self._wanted:
                dead.setdefault(index, []).append(name)
        regions: dict[_Region, _Region] = {}
        calls = []
        for index, op in operations:
            region = _Region(op.gradient, op.autocast)
            calls.append(self._ready(index, op, regions.setdefault(region, region), tuple(dead.get(index, ()))))
        return tuple(calls)

    def _ready(self, index: int, op: Operation, region: _Region, dead: tuple[str, ...]) -> _Call:
        overload, many = resolve(op.name)
        function = getattr(overload, "_op", overload)  # what an overload calls itself, one frame less
        template: list[Any] = []
        references, nested = [], []
        for position, argument in enumerate(op.arguments):
            ready = prepare(argument, self._device)
            template.append(None if _refers(ready) else ready)
            if isinstance(ready, Ref):
                references.append((position, ready.name))
            elif _refers(ready):
                nested.append((position, ready))
        keywords = tuple((key, prepare(argument, self._device)) for key, argument in op.keywords)
        return _Call(
            index, function, tuple(template), tuple(references), tuple(nested), keywords,
            op.outputs, many, op.random, region, dead,
        )  # fmt: skip


def _perform(call: _Call, values: dict[str, Any]) -> None:
    arguments = list(call.template)
    for position, name in call.references:
        arguments[position] = values[name]
    for position, items in call.nested:
        arguments[position] = fill(items, values)
    if call.keywords:
        result = call.function(*arguments, **{key: fill(item, values) for key, item in call.keywords})
    else:
        result = call.function(*arguments)
    if call.many:
        values.update((name, item) for name, item in zip(call.outputs, result, strict=False) if name)
    elif call.outputs:
        values[call.outputs[0]] = result
    for name in call.dead:
        values.pop(name, None)


def flipped(op: Operation) -> Operation:
    """The operation as evaluation runs it."""
    if not op.flip:
        return op
    changes = dict(op.flip)
    return Operation(
        name=op.name,
        arguments=tuple(changes.get(position, argument) for position, argument in enumerate(op.arguments)),
        keywords=tuple((key, changes.get(key, argument)) for key, argument in op.keywords),
        outputs=op.outputs,
        random=op.random,
        gradient=op.gradient,
        evaluation_only=op.evaluation_only,
        flip=(),
        autocast=op.autocast,
    )


def resolve(name: str) -> tuple[Callable[..., Any], bool]:
    """The function called ``name`` ("aten.relu.default", "_operator.mul"), and whether it returns a sequence.

    Raises ``ProgramRefusedError`` if there is none. It is not the allow-list: that is checked when a program is read.
    """
    room, _, rest = name.partition(".")
    if room == "_operator" and rest in _OPERATORS:
        return _OPERATORS[rest], False
    packet, _, overload = rest.partition(".")
    function = getattr(getattr(torch.ops.aten, packet, None), overload, None) if room == "aten" and overload else None
    if not isinstance(function, torch._ops.OpOverload):  # noqa: SLF001 -- the class has no public name
        raise ProgramRefusedError(f"this torch has no operation called {name}")
    returns = function._schema.returns  # noqa: SLF001 -- the only way to know what an overload returns
    return function, len(returns) != 1 or isinstance(returns[0].type, torch.ListType)


def constant(named: Named, device: torch.device) -> Any:
    """The torch constant that ``named`` stands for; a device is always ``device``."""
    if named.kind == "device":
        return device
    kind = _PREFIXES.get(named.kind)
    value = getattr(torch, named.text, None)
    if kind is None or not isinstance(value, kind):
        raise ProgramRefusedError(f"torch has no {named.kind} called {named.text}")
    return value


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was told (nothing to do on a CPU)."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def prepare(argument: Argument, device: torch.device) -> Any:
    """An argument with its constants in place, for ``fill``."""
    if isinstance(argument, Named):
        return constant(argument, device)
    if isinstance(argument, tuple):
        return [prepare(item, device) for item in argument]
    return argument


def _refers(ready: Any) -> bool:
    return isinstance(ready, Ref) or (isinstance(ready, list) and any(map(_refers, ready)))


def fill(ready: Any, values: Mapping[str, Any]) -> Any:
    """A prepared argument with its references replaced by their values."""
    if isinstance(ready, Ref):
        return values[ready.name]
    if isinstance(ready, list):
        return [fill(item, values) for item in ready]
    return ready
