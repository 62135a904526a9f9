"""Held state on the disk, so that a cluster that was switched off goes on: ``HOME/held/<job id>/``.

::

    job.json                           {"spec": JobSpec}
    program.msgpack                    the program, if this node has it
    VERSION-FIRST-LAST.safetensors     layers FIRST to LAST at VERSION

Every file is there whole or not at all. Bounded: whoever writes a version says which others stay; a job's folder goes
with the job, and never to make room for another job. What another version of edged wrote stays as long, and does not
count. All functions wait for the disk: call them on a thread of their own, one at a time; ``scan`` first.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edged.core.ids import JobId
from edged.core.job import JobSpec
from edged.core.messages import Holding
from edged.errors import UNREADABLE, EdgedError, MalformedError
from edged.replication.snapshots import HeldState, cut
from edged.replication.tensor_file import (
    OtherFormError,
    look,
    read,
    sync_folder,
    verify,
    write,
    write_file,
)

MOST_JOBS: Final = 50
"""Folders, as many as jobs are listed; nothing is written of one more."""

_SUFFIX: Final = ".safetensors"
_NAMES: Final = f"[0-9]*-*-*{_SUFFIX}"
_ID_DIGITS: Final = frozenset("0123456789abcdef")


class FullError(EdgedError):
    """No further job has room here."""


@dataclass(frozen=True, slots=True)
class Found:
    """What lies on the disk of one job: sound holdings, the program if it is there; ``problems`` in sentences.

    ``spec``: the job as a JSON object, if it can be read.
    """

    job: JobId
    holdings: tuple[Holding, ...]
    program: bytes | None
    problems: tuple[str, ...]
    spec: dict[str, Any] | None = None


class Store:
    """The folder of held state in one home."""

    def __init__(self, home: Path) -> None:
        """Touch nothing yet."""
        self._folder = home / "held"
        self._last: tuple[Path, HeldState] | None = None  # what was read last: one file is asked for in many pieces
        self._unread: set[Path] = set()  # they are there, but cannot be read
        self._foreign: set[Path] = set()  # another version of edged can

    def save(
        self,
        spec: JobSpec,
        program: bytes | None,
        states: Sequence[HeldState],
        keep: Collection[int] = (),
        origin: tuple[int, int] = (0, 0),
    ) -> None:
        """Write states of one version, and what else it takes to go on from them.

        Raises ``OSError``, and ``FullError`` where as many other jobs lie here as may.

        Of what is there already of this job only the versions of ``keep`` stay; the rest makes room first.
        What is there already is not written again: layers at a version have the same bits if one plan (``origin``) has
        computed them. What is there of these versions from another plan goes.
        """
        folder = self._place(spec.job)
        written = {state.version for state in states}
        for path in list(self._files(spec.job)):
            if _version(path) not in {*keep, *written} or (_version(path) in written and _from_another(path, origin)):
                path.unlink(missing_ok=True)
        if not folder.exists():
            if sum(any(self._files(JobId(other.name))) for other in self._folders()) >= MOST_JOBS:
                raise FullError(f"{MOST_JOBS} other jobs that are not over lie in {self._folder}")
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.mkdir(mode=0o700)
            sync_folder(self._folder)
        document = json.dumps({"spec": asdict(spec)}).encode()
        if _content(folder / "job.json") != document:
            write_file(folder / "job.json", [document])
        if program is not None and not (folder / "program.msgpack").exists():
            write_file(folder / "program.msgpack", [program])
        for state in states:
            path = folder / f"{state.version}-{state.first_layer}-{state.last_layer}{_SUFFIX}"
            if path in self._unread | self._foreign or not path.exists():
                write(path, state, origin)
                self._unread.discard(path)
                self._foreign.discard(path)
        sync_folder(folder)

    def load(self, job: JobId, version: int, first_layer: int, last_layer: int) -> HeldState | None:
        """These layers, verified, from any file that has them; ``None`` if they are not here.

        The file stays in memory until another is read, or ``let_go``.
        Raises ``OSError``, or ``MalformedError`` if the file is damaged; it is gone then.
        """
        problem: Exception | None = None
        for path in [path for path in self._files(job) if _version(path) == version]:
            try:
                holding = look(path)
                if holding.first_layer <= first_layer <= last_layer <= holding.last_layer:
                    if self._last is None or self._last[0] != path:
                        self._last = None  # before another takes memory
                        self._last = (path, read(path))
                    return cut(self._last[1], first_layer, last_layer)
            except MalformedError as error:
                _discard(path)
                problem = error
            except OSError as error:
                self._unread.add(path)
                problem = error
        if problem is not None:
            raise problem
        return None

    def let_go(self) -> None:
        """No more is wanted of what was read last."""
        self._last = None

    def program(self, job: JobId) -> bytes | None:
        """The program's bytes, if they are here and those that the job names."""
        folder = self._place(job)
        data = _content(folder / "program.msgpack")
        if data is None or hashlib.sha256(data).hexdigest() != _program_named(folder):
            return None
        return data

    def drop_job(self, job: JobId) -> None:
        """Remove all of a job."""
        shutil.rmtree(self._place(job), ignore_errors=True)

    def scan(self) -> tuple[Found, ...]:
        """What lies here; half-written and damaged files go, and those that cannot be read are passed over.

        Reads every file. Raises ``OSError`` where not even the folder can be read.
        """
        return tuple(self._look(JobId(folder.name)) for folder in self._folders())

    def _look(self, job: JobId) -> Found:
        for part in self._place(job).glob(".*.part"):
            _discard(part)
        holdings, problems = [], []
        for path in sorted(self._place(job).glob(_NAMES)):
            try:
                holdings.append(verify(path))
            except OtherFormError as error:
                problems.append(f"{error}; it is left alone")
                self._foreign.add(path)
            except MalformedError as error:
                problems.append(f"{error}; it was removed")
                _discard(path)
            except OSError as error:
                problems.append(f"{path} cannot be read: {error.strerror}; it is left where it is")
                self._unread.add(path)
        ordered = sorted(holdings, key=lambda holding: (holding.version, holding.first_layer))
        return Found(job, tuple(ordered), self.program(job), tuple(problems), _spec_in(self._place(job)))

    def _place(self, job: JobId) -> Path:
        """The folder of a job. Raises ``MalformedError`` for an id that could lead out of the home."""
        if not job or not set(job) <= _ID_DIGITS:
            raise MalformedError(f"{job!r} is not a job id")
        return self._folder / job

    def _folders(self) -> list[Path]:
        if not self._folder.exists():
            return []
        return sorted(path for path in self._folder.iterdir() if set(path.name) <= _ID_DIGITS and path.is_dir())

    def _files(self, job: JobId) -> Iterator[Path]:
        return iter(sorted(path for path in self._place(job).glob(_NAMES) if path not in self._foreign))


def _version(path: Path) -> int:
    text = path.name.partition("-")[0]
    return int(text) if text.isdecimal() else -1


def _from_another(path: Path, origin: tuple[int, int]) -> bool:
    """Whether another plan has computed what a file holds; one that cannot be read is judged elsewhere."""
    try:
        return look(path).origin != origin
    except (MalformedError, OSError):
        return False


def _discard(path: Path) -> None:
    """Remove a file that nobody counts on, if the disk lets it go."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _program_named(folder: Path) -> str:
    return str((_spec_in(folder) or {}).get("program", ""))


def _spec_in(folder: Path) -> dict[str, Any] | None:
    try:
        spec = json.loads(_content(folder / "job.json") or b"")["spec"]
    except UNREADABLE:
        return None
    return spec if isinstance(spec, dict) else None
