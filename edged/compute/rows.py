"""A job's samples row by row, in the order of the data set, for a copy that another node can draw from.

A copy stands in for the data set only if rows put together are what the data set would have given. So every sample
is drawn twice, with different random state, and must be equal bit for bit; and what ``collate`` makes of a chunk of
samples must be, row by row, what it makes of each alone. How a collated micro-batch lies in memory (strides and
alignment, which matter to the last bits) is noted once for every size that occurs.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import torch

from edged.compute.expectations import occurring
from edged.compute.sampling import Sampler, data_name, flatten, preserved_random_state
from edged.compute.seeding import mix
from edged.compute.tensors import acceptable, to_wire
from edged.core.job import Phase
from edged.core.messages import TensorSpec
from edged.errors import JobError

ROWS_BYTES: Final = 2**18
"""About as much is handed over at a time: what waits behind it on a slow link waits a tenth of a second."""

_FIRST, _AGAIN = 4, 5
"""Keep the two draws' random states apart, and from those of training."""


@dataclass(frozen=True, slots=True)
class WantRows:
    """Asks for some samples of a data set, from row ``first_row`` on."""

    phase: Phase
    first_row: int


@dataclass(frozen=True, slots=True)
class Rows:
    """Samples ``first_row`` and following: a contiguous tensor for each input, stacked along dimension 0.

    ``layouts`` come with row 0: for every size of micro-batch that occurs, one entry for each input.
    """

    phase: Phase
    first_row: int
    tensors: Mapping[str, torch.Tensor]
    layouts: tuple[TensorSpec, ...]

    @property
    def stop(self) -> int:
        """The row after the last."""
        return self.first_row + _count(self.tensors)


Reading = Generator[None, None, Rows]
"""Yields after every small piece of work, returns the rows. Raises ``JobError`` if there can be no copy."""


@dataclass(slots=True)
class _Read:
    """What is known of one data set: layouts by size of micro-batch, and the chunk that was read last."""

    layouts: dict[int, tuple[TensorSpec, ...]] = field(default_factory=dict)
    chunk: Rows | None = None


class RowReader:
    """Reads and checks the samples of one job."""

    def __init__(self, sampler: Sampler) -> None:
        """Reads nothing yet."""
        self._sampler = sampler
        self._spec = sampler.spec
        self._read = {phase: _Read() for phase in Phase}

    def read(self, want: WantRows) -> Reading:
        """Rows from the one that is wanted on: at least one, about ``ROWS_BYTES`` if there are as many."""
        phase, first = want.phase, want.first_row
        read, total = self._read[phase], self._total(phase)
        if not 0 <= first < total:
            raise JobError(f"{data_name(phase)} has no sample {first}: it has {total}")
        if not read.layouts:
            read.chunk = yield from self._begin(phase)
        pieces: list[Mapping[str, torch.Tensor]] = []
        size, position = 0, first
        while position < total:
            if read.chunk is None or not read.chunk.first_row <= position < read.chunk.stop:
                read.chunk = yield from self._chunk(phase, *self._bounds(phase, position))
            begin = position - read.chunk.first_row
            row = sum(tensor[:1].nbytes for tensor in read.chunk.tensors.values())
            fit = (ROWS_BYTES - size) // max(1, row)
            if pieces and fit < 1:
                break
            end = min(begin + max(1, fit), _count(read.chunk.tensors))
            pieces.append({name: tensor[begin:end] for name, tensor in read.chunk.tensors.items()})
            size, position = size + (end - begin) * row, position + end - begin
        tensors = {name: torch.cat([piece[name] for piece in pieces]) for name in pieces[0]}
        layouts = tuple(spec for each in read.layouts.values() for spec in each) if first == 0 else ()
        return Rows(phase, first, tensors, layouts)

    def _total(self, phase: Phase) -> int:
        return self._spec.samples if phase is Phase.TRAIN else self._spec.eval_samples

    def _bounds(self, phase: Phase, position: int) -> tuple[int, int]:
        """The chunk around a row: of a size that occurs in the job where that is possible."""
        size, total = self._spec.micro_batch_size, self._total(phase)
        start = position - position % size
        stop = min(start + size, total)
        if stop - start not in self._read[phase].layouts and size in self._read[phase].layouts:
            start = stop - size
        return start, stop

    def _begin(self, phase: Phase) -> Generator[None, None, Rows]:
        """Note how micro-batches of each size lie in memory; returns the first chunk."""
        sizes = sorted(occurring(self._spec, phase), reverse=True)
        samples: list[Any] = []
        for index in range(sizes[0]):
            sample, _ = yield from self._sample(phase, index)
            samples.append(sample)
        for size in sizes:
            specs = _specs(self._collated(phase, 0, samples[:size]))
            strange = next((spec for spec in specs if not acceptable(spec)), None)
            if strange is not None:
                raise JobError(f"{strange.name} of {data_name(phase)} lies in memory in a way that cannot be kept")
            self._read[phase].layouts[size] = specs
            yield
        return (yield from self._chunk(phase, 0, sizes[0]))

    def _chunk(self, phase: Phase, start: int, stop: int) -> Generator[None, None, Rows]:
        """Samples ``start`` to ``stop``, checked."""
        samples, singles = [], []
        for index in range(start, stop):
            sample, single = yield from self._sample(phase, index)
            samples.append(sample)
            singles.append(single)
        batch = self._collated(phase, start, samples)
        known = self._read[phase].layouts.get(stop - start)
        if known is not None and _unplaced(known) != _unplaced(_specs(batch)):
            raise JobError(
                f"micro-batches of {stop - start} samples of {data_name(phase)} are not all alike in type, shape and "
                f"layout: that of sample {start} and following differs from the first"
            )
        for number, single in enumerate(singles):
            row = {name: tensor[number : number + 1] for name, tensor in batch.items()}
            if not _equal(row, single):
                raise JobError(
                    f"sample {start + number} of {data_name(phase)}, collated with others, is not what it is alone"
                )
            yield
        return Rows(phase, start, {name: _plain(tensor) for name, tensor in batch.items()}, ())

    def _sample(self, phase: Phase, index: int) -> Generator[None, None, tuple[Any, dict[str, torch.Tensor]]]:
        """One sample, as the data set gives it and collated alone, if it is the same when drawn again."""
        drawn = []
        for which in (_FIRST, _AGAIN):
            seed = mix(mix(self._spec.seed, which), index)
            with preserved_random_state():
                sample = self._sampler.sample(phase, index, seed)
                drawn.append((sample, flatten(self._sampler.collated(phase, index, [sample], seed), 1)))
            yield
        if not _equal(drawn[0][1], drawn[1][1]):
            raise JobError(f"sample {index} of {data_name(phase)} differs when drawn again (is it made at random?)")
        return drawn[0]

    def _collated(self, phase: Phase, first: int, samples: list[Any]) -> dict[str, torch.Tensor]:
        with preserved_random_state():
            return flatten(self._sampler.collated(phase, first, list(samples), self._spec.seed), len(samples))


def _count(tensors: Mapping[str, torch.Tensor]) -> int:
    return int(next(iter(tensors.values())).shape[0])


def _specs(batch: Mapping[str, torch.Tensor]) -> tuple[TensorSpec, ...]:
    return tuple(to_wire(name, tensor)[0] for name, tensor in batch.items())


def _unplaced(specs: tuple[TensorSpec, ...]) -> list[TensorSpec]:
    """Without the offsets: those of memory that numpy made, say, differ from time to time."""
    return [replace(spec, offset=0) for spec in specs]


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The elements in a contiguous tensor of its own, on the CPU."""
    return tensor.detach().resolve_conj().resolve_neg().to("cpu").clone(memory_format=torch.contiguous_format)


def _equal(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    """Whether names, types, shapes and all bits agree; strides may differ."""
    if list(one) != list(other):
        return False
    pairs = [(_plain(one[name]), _plain(other[name])) for name in one]
    return all(a.dtype == b.dtype and a.shape == b.shape and _bits(a) == _bits(b) for a, b in pairs)


def _bits(tensor: torch.Tensor) -> memoryview:
    return to_wire("", tensor)[1]
