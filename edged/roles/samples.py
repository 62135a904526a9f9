"""Drawn micro-batches, checked before they go to anyone: a feeder may be any process, and its data sets are the user's.

What does not fit would be refused by the hop that it is for; here it can be said which sample is wrong, and how.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import TensorSpec

LARGEST = 1 << 40
"""Most elements along a dimension, and between two of them."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What the program takes as one of its inputs; ``shape`` lacks the first dimension, which counts the samples."""

    name: str
    dtype: str
    shape: tuple[int, ...]


def trouble(spec: JobSpec, kinds: Sequence[Kind], work: Work, tensors: Sequence[TensorSpec]) -> str:
    """Why what was drawn for ``work`` cannot be used, in one sentence; empty if it can.

    ``work`` is one of the job's. Where no ``kinds`` are known only what makes sense in itself is looked at.
    """
    place = f"{'data' if work.phase is Phase.TRAIN else 'eval_data'}, {work.in_words()}"
    if kinds and [tensor.name for tensor in tensors] != [kind.name for kind in kinds]:
        drawn, wanted = (", ".join(one.name for one in each) or "nothing" for each in (tensors, kinds))
        return f"{place}: it holds {drawn} where the first micro-batch held {wanted}: make all samples alike"
    size = spec.sizes(work.version, work.phase)[work.micro_batch]
    for tensor, kind in zip(tensors, kinds, strict=False):
        shape = (size, *kind.shape)
        if (tensor.dtype, tensor.shape) != (kind.dtype, shape):
            return (
                f"{place}: {tensor.name} is {tensor.dtype} {tensor.shape} where the program takes {kind.dtype} "
                f"{shape}, as in the first micro-batch: make all samples alike, for example pad them to one length"
            )
    for tensor in tensors:
        if len(tensor.shape) != len(tensor.strides) or max((*tensor.shape, *tensor.strides), default=0) > LARGEST:
            return f"{place}: {tensor.name} has the shape {tensor.shape} and the strides {tensor.strides}"
    return ""
