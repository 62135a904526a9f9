"""Makes a copy of a job's samples in a folder, as a source and a receiver do together."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from edged.compute.background import Reader
from edged.compute.copied import CopySampler
from edged.compute.rows import Rows, WantRows
from edged.compute.sampling import outline
from edged.compute.tensors import to_wire
from edged.core.job import Phase
from edged.core.messages import TensorSpec
from edged.job import Job
from edged.replication import samples
from edged.roles.spool import spec_from_json


def read(reader: Reader, want: WantRows) -> Rows:
    """Read to the end."""
    reading = reader.read(want)
    try:
        while True:
            next(reading)
    except StopIteration as end:
        rows: Rows = end.value
        return rows


def copy_samples(job: Job, reader: Reader, folder: Path) -> None:
    """Everything that ``reader`` reads of ``job``, written to ``folder``."""
    spec = outline(job)
    incoming = samples.Incoming(folder)
    layouts: dict[Phase, tuple[TensorSpec, ...]] = {Phase.TRAIN: (), Phase.EVALUATE: ()}
    for phase, total in ((Phase.TRAIN, spec.samples), (Phase.EVALUATE, spec.eval_samples)):
        position = 0
        while position < total:
            rows = read(reader, WantRows(phase, position))
            assert rows.first_row == position < rows.stop <= total
            layouts[phase] = rows.layouts or layouts[phase]
            incoming.append(phase, [to_wire(name, tensor)[1] for name, tensor in rows.tensors.items()])
            position = rows.stop
    incoming.finish(asdict(spec), layouts)


def open_copy(folder: Path) -> CopySampler:
    """What the feeder of a node that has taken a job over draws from."""
    copy = samples.read_copy(folder)
    return CopySampler(spec_from_json(copy.spec), copy.layouts, copy.files)
