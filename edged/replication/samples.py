"""Copies of jobs' samples on the disk, so that a job survives the node that has its data: ``HOME/samples/<job id>/``.

::

    train-0.rows, train-1.rows ...     the training samples of each input: raw elements, row after row
    evaluate-0.rows ...                those of the evaluation
    copy.json                          {"form": 1, "spec": JobSpec, "layouts": {"train": [...], "evaluate": [...]},
                                        "digests": {"train-0.rows": SHA-256, ...}}, and in a second line its own digest

Rows come in order and are appended. ``copy.json`` is written last, when all the rest is safely on the disk: a folder
without it is half a copy, and goes. A whole one goes with its job only; one that cannot be read, or that another
version of edged wrote, is left where it is. Digests are taken of what came, before it goes to the disk.

All functions wait for the disk: call them on a thread of their own, one at a time.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Final

from edged.core.ids import JobId
from edged.core.job import Phase
from edged.core.messages import TensorSpec
from edged.errors import UNREADABLE, MalformedError, brief
from edged.replication.tensor_file import OtherFormError, sync_folder, write_file

CHECK_BYTES: Final = 32 * 2**20
"""So much of a copy is compared at once: what else waits for the disk waits no longer than that takes."""

_FORM: Final = 1
_PIECE: Final = 2**20
_NAMES: Final = {Phase.TRAIN: "train", Phase.EVALUATE: "evaluate"}
_ID_DIGITS: Final = frozenset("0123456789abcdef")

Layouts = Mapping[Phase, Sequence[TensorSpec]]
"""How micro-batches lie in memory: for every size that occurs, one entry for each input."""


@dataclass(frozen=True, slots=True)
class SampleCopy:
    """A whole copy. ``spec``: the job's, as a JSON object; ``files``: one for each input; ``digests``: theirs."""

    spec: dict[str, Any]
    layouts: Layouts
    files: Mapping[Phase, tuple[Path, ...]]
    digests: Mapping[Path, str]


def folder_of(home: Path, job: JobId) -> Path:
    """Where a job's copy lies."""
    return home / "samples" / job


class Incoming:
    """A copy that is being written to a folder. What was there goes with the first rows."""

    def __init__(self, folder: Path) -> None:
        """Touch nothing yet."""
        self._folder = folder
        self._digests: dict[str, Any] = {}

    def append(self, phase: Phase, rows: Sequence[memoryview]) -> None:
        """Add rows, one buffer for each input. Raises ``OSError``."""
        if not self._digests:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._folder.mkdir(mode=0o700)
        for number, buffer in enumerate(rows):
            path = _path(self._folder, phase, number)
            self._digests.setdefault(path.name, hashlib.sha256()).update(buffer)
            with path.open("ab") as file:
                file.write(buffer)

    def finish(self, spec: Mapping[str, Any], layouts: Layouts) -> None:
        """All rows are there: make the copy whole. Raises ``OSError``."""
        for path in self._folder.glob("*.rows"):
            with path.open("rb") as file:
                os.fsync(file.fileno())
        document = {
            "form": _FORM,
            "spec": dict(spec),
            "layouts": {_NAMES[phase]: [astuple(one) for one in each] for phase, each in layouts.items()},
            "digests": {name: digest.hexdigest() for name, digest in self._digests.items()},
        }
        text = json.dumps(document).encode()
        write_file(self._folder / "copy.json", [text, b"\n", hashlib.sha256(text).hexdigest().encode()])
        sync_folder(self._folder.parent)


def remove(folder: Path) -> None:
    """Remove a copy, or what there is of it."""
    shutil.rmtree(folder, ignore_errors=True)


def read_copy(folder: Path) -> SampleCopy:
    """The copy in a folder; of the rows, only their number is looked at.

    Raises ``MalformedError`` if it is damaged, ``OtherFormError`` if another version of edged wrote it, ``OSError`` if
    it cannot be read.
    """
    path = folder / "copy.json"
    try:
        text, _, digest = path.read_bytes().partition(b"\n")
        if hashlib.sha256(text).hexdigest().encode() != digest:
            raise MalformedError(f"{path} is damaged: its digest is not that of its content")
        document = json.loads(text)
        if document["form"] != _FORM:
            raise OtherFormError(f"{path} was written by another version of edged")
        layouts = {phase: tuple(map(_spec, document["layouts"][name])) for phase, name in _NAMES.items()}
        spec = dict(document["spec"])
        digests = {folder / str(name): str(each) for name, each in document["digests"].items()}
        wanted = {Phase.TRAIN: int(spec["samples"]), Phase.EVALUATE: int(spec["eval_samples"])}
    except UNREADABLE as error:
        raise MalformedError(f"{path} is damaged: {brief(error)}") from error
    files = {}
    for phase, specs in layouts.items():
        inputs = [one for one in specs if one.shape[:1] == specs[0].shape[:1]]
        files[phase] = tuple(_path(folder, phase, number) for number in range(len(inputs)))
        for file, one in zip(files[phase], inputs, strict=True):
            if not file.exists() or (wanted[phase] > 0 and file.stat().st_size % wanted[phase]):
                raise MalformedError(f"{file} does not hold {wanted[phase]} rows of {one.name}")
    return SampleCopy(spec, layouts, files, digests)


def check(copy: SampleCopy) -> Iterator[bool]:
    """Compare all rows with their digests; yields ``False`` after each piece, so that other work may come between.

    Raises ``MalformedError`` if they are damaged, ``OSError`` if they cannot be read.
    """
    for path in (path for files in copy.files.values() for path in files):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
                if file.tell() % CHECK_BYTES == 0:
                    yield False
        if digest.hexdigest() != copy.digests.get(path):
            raise MalformedError(f"{path} is damaged: its digest is not that of its content")


def scan(home: Path) -> tuple[dict[JobId, SampleCopy], tuple[str, ...]]:
    """The whole copies of a home, not yet checked; half ones and damaged ones go, what cannot be read is passed over.

    Also, in sentences, which were damaged or passed over. Raises ``OSError`` where not even the folder can be read.
    """
    found: dict[JobId, SampleCopy] = {}
    problems = []
    folders = [path for path in (home / "samples").glob("*") if path.is_dir() and set(path.name) <= _ID_DIGITS]
    for folder in sorted(folders):
        try:
            if (folder / "copy.json").exists():
                found[JobId(folder.name)] = read_copy(folder)
            else:
                remove(folder)
        except OtherFormError as error:
            problems.append(f"{error}; it is left alone")
        except MalformedError as error:
            problems.append(f"{error}; this copy of samples was removed")
            remove(folder)
        except OSError as error:
            problems.append(f"the copy of samples in {folder} cannot be read: {error.strerror}; it is left where it is")
    return found, tuple(problems)


def _path(folder: Path, phase: Phase, number: int) -> Path:
    return folder / f"{_NAMES[phase]}-{number}.rows"


def _spec(fields: Sequence[Any]) -> TensorSpec:
    name, dtype, shape, strides, size_bytes, offset = fields
    sizes = tuple(map(int, shape)), tuple(map(int, strides))
    return TensorSpec(str(name), str(dtype), *sizes, int(size_bytes), int(offset))
