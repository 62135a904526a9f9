"""Draws a job's micro-batches from a copy of its samples: tensors in files, nothing of the user's.

The same samples in the same order (``order.py``), in memory as ``collate`` laid them out where the data set is.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from pathlib import Path

import torch

from edged.compute.order import Order
from edged.compute.rows import ROWS_BYTES, Rows, WantRows
from edged.compute.tensors import DTYPES, acceptable, placed
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import TensorSpec
from edged.errors import JobError


class CopySampler:
    """Like ``Sampler``, on rows that lie in files, which are mapped into memory."""

    def __init__(
        self, spec: JobSpec, layouts: Mapping[Phase, Sequence[TensorSpec]], files: Mapping[Phase, Sequence[Path]]
    ) -> None:
        """``layouts``: see ``Rows``; ``files``: the rows of each input, one after the other, nothing else.

        Raises ``JobError`` if they are not those of the job.
        """
        self.spec = spec
        self._order = Order(spec)
        self._layouts = {phase: _by_size(each) for phase, each in layouts.items()}
        self._rows = {
            Phase.TRAIN: _mapped(layouts[Phase.TRAIN], files[Phase.TRAIN], spec.samples),
            Phase.EVALUATE: _mapped(layouts[Phase.EVALUATE], files[Phase.EVALUATE], spec.eval_samples),
        }

    def draw(self, work: Work) -> dict[str, torch.Tensor]:
        """The micro-batch's tensors by the names of ``Program.inputs``, in their order. Raises ``JobError``."""
        indices = torch.tensor(self._order.indices(work))
        layout = self._layouts[work.phase].get(len(indices))
        if layout is None:
            raise JobError(f"the copy of the samples knows no micro-batches of {len(indices)}")
        rows = self._rows[work.phase]
        return {spec.name: placed(spec, torch.index_select(rows[spec.name], 0, indices)) for spec in layout}

    def read(self, want: WantRows) -> Generator[None, None, Rows]:
        """Rows for a further copy, as ``RowReader.read``; they were checked when this copy was made."""
        rows = self._rows[want.phase]
        total = self.spec.samples if want.phase is Phase.TRAIN else self.spec.eval_samples
        if not 0 <= want.first_row < total:
            raise JobError(f"the copy of the samples has no row {want.first_row}")
        size = sum(tensor[:1].nbytes for tensor in rows.values())
        stop = want.first_row + max(1, ROWS_BYTES // max(1, size))
        yield
        tensors = {name: tensor[want.first_row : stop].clone() for name, tensor in rows.items()}
        specs = self._layouts[want.phase].values() if want.first_row == 0 else ()
        return Rows(want.phase, want.first_row, tensors, tuple(spec for each in specs for spec in each))


def _by_size(layouts: Sequence[TensorSpec]) -> dict[int, list[TensorSpec]]:
    found: dict[int, list[TensorSpec]] = {}
    for spec in layouts:
        if not acceptable(spec) or not spec.shape:
            raise JobError(f"the copy of the samples is damaged: {spec}")
        found.setdefault(spec.shape[0], []).append(spec)
    return found


def _mapped(layouts: Sequence[TensorSpec], files: Sequence[Path], rows: int) -> dict[str, torch.Tensor]:
    """The rows of each input, by name."""
    inputs = next(iter(_by_size(layouts).values()), [])
    if len(inputs) != len(files):
        raise JobError("the copy of the samples is damaged: it has not a file for each input")
    return {spec.name: _map(spec, path, rows) for spec, path in zip(inputs, files, strict=True)}


def _map(spec: TensorSpec, path: Path, rows: int) -> torch.Tensor:
    dtype, shape = DTYPES[spec.dtype], (rows, *spec.shape[1:])
    expected = torch.Size(shape).numel() * dtype.itemsize
    try:
        size = path.stat().st_size
    except OSError as error:
        raise JobError(f"the copy of the samples cannot be read: {path}: {error.strerror}") from error
    if size != expected:
        raise JobError(f"the copy of the samples is damaged: {path} has {size} bytes, not {expected}")
    if not size:
        return torch.empty(shape, dtype=dtype)
    return torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).view(dtype).view(shape)
