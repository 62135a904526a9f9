"""Headers of parcels, which travel on the bulk sockets, each followed by raw buffers.

One buffer for each ``TensorSpec``, or exactly one where ``size_bytes`` says so.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.ids import JobId, Stamp
from edged.core.job import Phase, Work

PROGRAM_BYTES = 64 * 2**20
"""The largest program."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One tensor of a parcel: the buffer holds exactly the elements, laid out by ``shape`` and ``strides`` (elements).

    ``dtype`` is a name such as ``float32``. ``name`` is the value's name in the program or the state entry's name.
    ``offset``: how many bytes past a multiple of 64 its first element lay in the sender's memory; the receiver places
    it likewise.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    size_bytes: int
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Inputs:
    """Source to a hop: the program's inputs that the hop's own operations use."""

    stamp: Stamp
    route: int
    hop: int
    work: Work
    tensors: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Activation:
    """A hop to the next (``hop`` is the receiver's index): the values that cross the cut, forward.

    ``scalars`` are integers that cross too (a batch size).
    """

    stamp: Stamp
    route: int
    hop: int
    work: Work
    tensors: tuple[TensorSpec, ...]
    scalars: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Gradient:
    """A hop to the one before it (``hop`` is the receiver's index): gradients of the values that crossed.

    A value that got no gradient is absent.
    """

    stamp: Stamp
    route: int
    hop: int
    work: Work
    tensors: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class StateParcel:
    """Layers' state at one version. Names: ``parameter/NAME``, ``buffer/NAME``, ``optimizer/NAME/KEY``.

    ``extra`` is a JSON document (optimizer numbers, scheduler state), at most 1 MiB. ``replica``: to be held, not run;
    it travels behind everything else.
    """

    stamp: Stamp
    first_layer: int
    last_layer: int
    version: int
    tensors: tuple[TensorSpec, ...]
    extra: bytes
    replica: bool


@dataclass(frozen=True, slots=True)
class ProgramParcel:
    """A program in its msgpack form: one buffer of ``size_bytes``."""

    job: JobId
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DataParcel:
    """Samples ``first_row`` and following of a job's data set, one tensor for each input, stacked along dimension 0.

    ``layouts``, with row 0, tells how micro-batches lie in memory: an entry for every size that occurs and each input.
    """

    job: JobId
    phase: Phase
    first_row: int
    rows: int
    tensors: tuple[TensorSpec, ...]
    layouts: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class SoundingParcel:
    """One buffer of ``size_bytes`` for nothing but its time: it shows what a link carries where no job uses it."""

    size_bytes: int
