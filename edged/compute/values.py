"""What is known of a program's values without computing them: kind, dtype, shape, strides, need of a gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ValueSpec:
    """One value for one size of micro-batch.

    ``scalar`` values are Python numbers (a batch size, say); their ``dtype`` is "int", "float" or "bool", their shape
    is empty. Of tensors, ``dtype`` is as torch prints it without the prefix ("float32"), ``strides`` are in elements.
    ``requires_grad`` is what autograd says in training. ``storage`` is a number that values share which may
    be views of the same memory (-1 for a scalar), ``tensor`` one that they share which are one and the same tensor.
    """

    scalar: bool
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    requires_grad: bool
    size_bytes: int
    storage: int
    tensor: int


Values = Mapping[str, ValueSpec]
"""Every value of a program by name: inputs, state, and outputs of operations."""
