"""Copies of jobs' samples on the disk, so that a job survives the node that has its data: ``HOME/samples/<job id>/``.

::

    train-0.rows, train-1.rows ...     the training samples of each input: raw elements, row after row
    evaluate-0.rows ...                those of the evaluation
    copy.json                          {"form": 1, "spec": JobSpec, "layouts": {"train": [...], "evaluate": [...]}}

Rows come in order and are appended. ``copy.json`` is written last, when all the rest is safely on the disk: a folder
without it is half a copy, and goes. All functions wait for the disk: call them on a thread of their own, one at a time.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from edged.core.ids import JobId
from edged.core.job import Phase
from edged.core.messages import TensorSpec
from edged.errors import MalformedError
from edged.replication.tensor_file import sync_folder, write_file

MOST_COPIES: Final = 4
"""Folders; where one more is found at the start, the oldest goes."""

_FORM: Final = 1
_NAMES: Final = {Phase.TRAIN: "train", Phase.EVALUATE: "evaluate"}
_ID_DIGITS: Final = frozenset("0123456789abcdef")

Layouts = Mapping[Phase, Sequence[TensorSpec]]
"""How micro-batches lie in memory: for every size that occurs, one entry for each input."""


@dataclass(frozen=True, slots=True)
class SampleCopy:
    """A whole copy. ``spec``: the job's, as a JSON object; ``files``: one for each input."""

    spec: dict[str, Any]
    layouts: Layouts
    files: Mapping[Phase, tuple[Path, ...]]


def folder_of(home: Path, job: JobId) -> Path:
    """Where a job's copy lies."""
    return home / "samples" / job


def begin(folder: Path) -> None:
    """Make an empty folder; what was there goes. Raises ``OSError``."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)


def append(folder: Path, phase: Phase, rows: Sequence[memoryview]) -> None:
    """Add rows, one buffer for each input. Raises ``OSError``."""
    for number, buffer in enumerate(rows):
        with _path(folder, phase, number).open("ab") as file:
            file.write(buffer)


def finish(folder: Path, spec: Mapping[str, Any], layouts: Layouts) -> None:
    """All rows are there: make the copy whole. Raises ``OSError``."""
    for path in folder.glob("*.rows"):
        with path.open("rb") as file:
            os.fsync(file.fileno())
    named = {_NAMES[phase]: [astuple(one) for one in each] for phase, each in layouts.items()}
    write_file(folder / "copy.json", [json.dumps({"form": _FORM, "spec": dict(spec), "layouts": named}).encode()])
    sync_folder(folder.parent)


def remove(folder: Path) -> None:
    """Remove a copy, or what there is of it."""
    shutil.rmtree(folder, ignore_errors=True)


def read_copy(folder: Path) -> SampleCopy:
    """The copy in a folder. Raises ``MalformedError`` if it is damaged, ``OSError`` if it cannot be read."""
    path = folder / "copy.json"
    try:
        document = json.loads(path.read_bytes())
        if document["form"] != _FORM:
            raise MalformedError(f"{path} was written by another version of edged")
        layouts = {phase: tuple(map(_spec, document["layouts"][name])) for phase, name in _NAMES.items()}
        spec = dict(document["spec"])
        wanted = {Phase.TRAIN: int(spec["samples"]), Phase.EVALUATE: int(spec["eval_samples"])}
    except (ValueError, KeyError, TypeError) as error:
        raise MalformedError(f"{path} is damaged: {error}") from error
    files = {}
    for phase, specs in layouts.items():
        inputs = [one for one in specs if one.shape[:1] == specs[0].shape[:1]]
        files[phase] = tuple(_path(folder, phase, number) for number in range(len(inputs)))
        for file, one in zip(files[phase], inputs, strict=True):
            if not file.exists() or (wanted[phase] > 0 and file.stat().st_size % wanted[phase]):
                raise MalformedError(f"{file} does not hold {wanted[phase]} rows of {one.name}")
    return SampleCopy(spec, layouts, files)


def scan(home: Path) -> dict[JobId, SampleCopy]:
    """The whole copies of a home; half ones, damaged ones and those that are too many go. Raises ``OSError``."""
    found: dict[JobId, SampleCopy] = {}
    folders = [path for path in (home / "samples").glob("*") if path.is_dir() and set(path.name) <= _ID_DIGITS]
    for folder in sorted(folders, key=lambda path: path.stat().st_mtime_ns, reverse=True):
        try:
            copy = read_copy(folder) if len(found) < MOST_COPIES else None
        except (MalformedError, OSError):
            copy = None
        if copy is None:
            remove(folder)
        else:
            found[JobId(folder.name)] = copy
    return found


def _path(folder: Path, phase: Phase, number: int) -> Path:
    return folder / f"{_NAMES[phase]}-{number}.rows"


def _spec(fields: Sequence[Any]) -> TensorSpec:
    name, dtype, shape, strides, size_bytes, offset = fields
    sizes = tuple(map(int, shape)), tuple(map(int, strides))
    return TensorSpec(str(name), str(dtype), *sizes, int(size_bytes), int(offset))
