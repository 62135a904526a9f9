"""A program: a captured model and its loss as plain data, a flat list of operations over named values.

::

    inputs, parameters, buffers ──> operations[0] ... operations[n-1] ──> loss, metrics
                                    └ layer 0 ┘ └ layer 1 ┘ ...

Nothing here computes, and nothing here is torch: a program can be stored, sent, checked and cut without it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Ref:
    """The value called ``name``: an input, a parameter, a buffer or an operation's output."""

    name: str


@dataclass(frozen=True, slots=True)
class Named:
    """A torch constant that is not a number. ``kind``: "dtype", "device", "memory_format" or "layout".

    ``text`` as torch prints it without the prefix ("float32"); a device is always "node" and becomes the node's own.
    """

    kind: str
    text: str


Argument = Ref | Named | int | float | bool | str | None | tuple["Argument", ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """One call of an allowed ATen overload, for example ``aten.conv2d.default``, or of ``_operator`` on integers.

    ``outputs``: names of the results; more than one where the overload returns a tuple ("" for a result nobody uses).
    ``random``: draws from the generator. ``gradient``: false inside a no-gradient region.
    ``evaluation_only``: needed for metrics alone. ``flip``: what evaluation changes: (position or name, value) pairs.
    """

    name: str
    arguments: tuple[Argument, ...]
    keywords: tuple[tuple[str, Argument], ...]
    outputs: tuple[str, ...]
    random: bool
    gradient: bool
    evaluation_only: bool
    flip: tuple[tuple[int | str, Argument], ...]
    autocast: str = ""


@dataclass(frozen=True, slots=True)
class InputSpec:
    """One tensor of the user's batch, in the order of flattening. ``shape[0]`` is the example's micro-batch size."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StateSpec:
    """A parameter or buffer under its first ``state_dict`` name; ``aliases`` are further names of it (tied).

    ``persistent`` is false for buffers and constants that ``state_dict`` does not list. ``strides`` are in elements.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    parameter: bool
    requires_grad: bool
    persistent: bool
    aliases: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """A model and its loss as data.

    ``state`` lists parameters in the order of ``model.parameters()``, then buffers. ``layers`` are half-open ranges
    ``(start, stop)`` of operations, contiguous, covering all. ``loss`` is the name of a scalar value; ``metrics`` maps
    a metric's name to a scalar value. ``fixed_batch`` is the only micro-batch size it can run with, 0 if any.
    """

    inputs: tuple[InputSpec, ...]
    state: tuple[StateSpec, ...]
    operations: tuple[Operation, ...]
    layers: tuple[tuple[int, int], ...]
    loss: str
    metrics: tuple[tuple[str, str], ...]
    fixed_batch: int
    evaluates: bool
