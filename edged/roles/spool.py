"""The spool: one folder per submitted job on its source, ``HOME/jobs/<job id>/``.

::

    program.msgpack       the captured program                     (cleared when the job is over)
    state.safetensors     the first weights                        (cleared when the job is over)
    job.json              {"spec": JobSpec, "feeder": {path, function, set, folder} | null, "output": path | null,
                           "inputs": [[name, dtype, shape without its first dimension], ...],
                           "data": {"data[17]": digest of that sample, ...}, "text": digest of the job file,
                           "pretrained": {file that stands beside a Hugging Face model's weights: its text, ...}}
    accepted              empty: the node has taken the job on        (cleared when the job is over)
    result.safetensors    the final weights, written by the node
    kept.safetensors      the newest weights that were copied, if the job failed; written by the node

Reading it needs no torch.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, get_type_hints

from edged.core.ids import JobId
from edged.core.job import JobSpec, LayerProfile
from edged.core.messages import Submit
from edged.errors import UNREADABLE, BrokenInvariantError, JobError, brief
from edged.replication.tensor_file import sync_folder, write_file
from edged.roles.samples import Kind
from edged.telemetry.logs import topic_logger
from edged.transport.codec import encode

LONGEST_ID = 64
_ID_DIGITS = frozenset("0123456789abcdef")
_AT_ONCE_BYTES = 1 << 20


class Drawing(Protocol):
    """How to start the process that draws a job's samples."""

    @property
    def folder(self) -> str:
        """Where it runs."""

    def arguments(self) -> list[str]:
        """What ``python -m edged.feeder`` is told besides the job and the node."""


@dataclass(frozen=True, slots=True)
class Feeder:
    """How to start the process that draws samples: the job file, the function in it, and what ``--set`` overrides.

    ``folder``: where it runs, so that relative paths in the job mean what they meant to ``edged train``.
    """

    path: str
    function: str
    overrides: tuple[tuple[str, str], ...]
    folder: str

    def arguments(self) -> list[str]:
        """See ``Drawing``."""
        options = ["--path", self.path, "--function", self.function]
        for key, value in self.overrides:
            options += ["--set", f"{key}={value}"]
        return options


@dataclass(frozen=True, slots=True)
class CopyFeeder:
    """Draws from the copy of a job's samples in ``folder``, which was handed in elsewhere."""

    folder: str

    def arguments(self) -> list[str]:
        """See ``Drawing``."""
        return ["--samples", self.folder]


@dataclass(frozen=True, slots=True)
class Submitted:
    """A job as it was submitted: its spec, digests of some samples by name, and that of the job file's text."""

    spec: JobSpec
    data: Mapping[str, str]
    text: str


class Spool:
    """The paths and documents of one job's folder."""

    def __init__(self, home: Path, job: JobId) -> None:
        """Name the folder of ``job``; a job id that could lead out of the home is refused with ``JobError``."""
        if not job or len(job) > LONGEST_ID or not set(job) <= _ID_DIGITS:
            raise JobError(f"{job!r} is not a job id: expected hexadecimal digits, as `edged jobs` prints them")
        self.folder = home / "jobs" / job

    @property
    def program(self) -> Path:
        """The program's bytes."""
        return self.folder / "program.msgpack"

    @property
    def state(self) -> Path:
        """The first weights."""
        return self.folder / "state.safetensors"

    @property
    def result(self) -> Path:
        """The final weights."""
        return self.folder / "result.safetensors"

    @property
    def kept(self) -> Path:
        """The newest weights of a job that failed."""
        return self.folder / "kept.safetensors"

    def read(self) -> tuple[JobSpec, Feeder | None, Path | None]:
        """The job's spec, its feeder (``None``: a process feeds by itself) and the wished output file."""
        return read_spec(self.folder / "job.json")

    def kinds(self) -> tuple[Kind, ...]:
        """What the program takes of each micro-batch. Raises ``JobError``."""
        path = self.folder / "job.json"
        try:
            entries = json.loads(path.read_text(encoding="utf-8"))["inputs"]
            return tuple(Kind(str(name), str(dtype), tuple(map(int, shape))) for name, dtype, shape in entries)
        except (OSError, *UNREADABLE) as error:
            raise JobError(f"{path} is not a job of this version of edged ({brief(error)}); submit it again") from error

    def pretrained(self) -> dict[str, str]:
        """What stands beside a Hugging Face model's weights: texts by file; empty for others. Raises ``JobError``."""
        path = self.folder / "job.json"
        try:
            found = json.loads(path.read_text(encoding="utf-8")).get("pretrained", {})
            return {Path(name).name: str(text) for name, text in found.items()}
        except (OSError, ValueError, AttributeError) as error:
            raise JobError(f"{path} cannot be read ({brief(error)}): export without --pretrained") from error

    def take_over(self, spec: JobSpec, program: bytes, kinds: Sequence[Kind]) -> None:
        """Make the folder of a job that was handed in elsewhere; it has no first weights. Raises ``JobError``."""
        inputs = [[kind.name, kind.dtype, kind.shape] for kind in kinds]
        document = {"spec": asdict(spec), "feeder": None, "output": None, "inputs": inputs}
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.mkdir(exist_ok=True, mode=0o700)
            self.program.write_bytes(program)
            (self.folder / "job.json").write_text(json.dumps(document), encoding="utf-8")
            sync_folder(self.folder.parent)  # the result will lie in it
        except OSError as error:
            raise JobError(f"cannot write {self.folder}: {error.strerror}; is there room?") from error

    def accept(self) -> None:
        """Note that the node has taken the job on: it does so again after a restart. Raises ``JobError``."""
        try:
            self._accepted.touch()
            sync_folder(self.folder)
        except OSError as error:
            raise JobError(f"cannot write {self._accepted}: {error.strerror}; is there room?") from error

    @property
    def is_open(self) -> bool:
        """Whether the node has taken the job on and it is not over; a result that nobody was told of is not the end."""
        return self._accepted.exists() and self.program.exists()

    @property
    def _accepted(self) -> Path:
        return self.folder / "accepted"

    def clear(self) -> None:
        """Remove what only a running job needs; a folder without weights goes as a whole.

        What the disk does not let go is logged, and stays until the node is started again: it knows that the job is
        over, and comes here once more.
        """
        try:
            if not self.result.exists() and not self.kept.exists():
                shutil.rmtree(self.folder)
                return
            for path in (self.program, self.state, self._accepted):
                path.unlink(missing_ok=True)
        except FileNotFoundError:
            pass
        except OSError as error:
            topic_logger("spool").warning("cannot clear %s: %s; the next start tries again", self.folder, error)


def open_jobs(home: Path) -> list[JobId]:
    """The jobs of this home that its node has taken on and that are not over, in the order of their submission."""
    folders = (home / "jobs").glob("[0-9a-f]*")
    spools = [Spool(home, JobId(folder.name)) for folder in folders if set(folder.name) <= _ID_DIGITS]
    still_open = [spool for spool in spools if spool.is_open]
    still_open.sort(key=lambda spool: (spool.folder / "job.json").stat().st_mtime_ns)
    return [JobId(spool.folder.name) for spool in still_open]


def read_spec(path: Path) -> tuple[JobSpec, Feeder | None, Path | None]:
    """Read ``job.json``. Raises ``JobError`` where it is missing or not what ``edged train`` writes."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        spec = spec_from_json(document["spec"])
        feeder = feeder_from_json(document["feeder"])
        output = None if document["output"] is None else Path(document["output"])
    except OSError as error:
        raise JobError(f"cannot read {path}: {error.strerror}; submit the job again with `edged train`") from error
    except UNREADABLE as error:
        raise JobError(f"{path} is not a job of this version of edged ({brief(error)}); submit it again") from error
    return spec, feeder, output


def read_submitted(folder: Path) -> Submitted:
    """What a job's folder says of the job as it was submitted. Raises ``JobError``."""
    path = folder / "job.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        data = {str(name): str(digest) for name, digest in document["data"].items()}
        return Submitted(spec_from_json(document["spec"]), data, str(document["text"]))
    except (OSError, *UNREADABLE) as error:
        raise JobError(f"{path} is not a job of this version of edged ({brief(error)}); submit it again") from error


def spec_from_json(document: dict[str, Any]) -> JobSpec:
    """A ``JobSpec`` from its JSON object, within the bounds that the wire sets.

    Raises one of ``UNREADABLE``, which names the field that is missing, of a wrong type or out of its bounds.
    """
    fields = _typed(JobSpec, document, skip="layers")
    layers = tuple(
        LayerProfile(**_typed(LayerProfile, layer, skip="inputs"), inputs=_ints(layer)) for layer in document["layers"]
    )
    spec = JobSpec(**fields, layers=layers)
    try:
        encode(Submit(spec))
    except BrokenInvariantError as error:
        raise ValueError(f"no node would take it: {error}") from error
    return spec


def known_spec(job: JobId, document: dict[str, Any] | None) -> JobSpec | None:
    """The spec of ``job`` as it was written beside copies of it; ``None`` if that is not one of this version."""
    try:
        spec = None if document is None else spec_from_json(document)
    except UNREADABLE:
        return None
    return spec if spec is not None and spec.job == job else None


def read_bytes(path: Path) -> bytes | None:
    """What is in a file, if it can be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def copy_file(origin: Path, target: Path) -> None:
    """Copy a file so that ``target`` is, at every moment, absent, the old one or complete; on the disk at the end.

    Raises ``OSError`` if the disk refuses; nothing is left behind then.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with origin.open("rb") as file:
        write_file(target, iter(partial(file.read, _AT_ONCE_BYTES), b""))


def write_texts(folder: Path, texts: Mapping[str, str]) -> None:
    """Write small files, as ``copy_file`` writes one."""
    for name, text in texts.items():
        write_file(folder / name, [text.encode()])


def feeder_from_json(document: dict[str, Any] | None) -> Feeder | None:
    """How to start a feeder, from its JSON object. Raises one of ``UNREADABLE``."""
    if document is None:
        return None
    overrides = tuple((str(key), str(value)) for key, value in document.get("set", {}).items())
    path = str(document["path"])
    return Feeder(path, str(document["function"]), overrides, str(document.get("folder", Path(path).parent)))


def _typed(kind: type, document: dict[str, Any], skip: str) -> dict[str, Any]:
    """The plain fields of dataclass ``kind`` in ``document``, each checked against its annotation."""
    values: dict[str, Any] = {}
    for name, hint in get_type_hints(kind).items():
        if name == skip:
            continue
        plain = getattr(hint, "__supertype__", hint)
        value = document[name]
        if plain is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, plain) or (plain is int and isinstance(value, bool)):
            raise ValueError(f"{name} must be {plain.__name__}, got {value!r}")
        values[name] = value
    return values


def _ints(layer: dict[str, Any]) -> tuple[int, ...]:
    if not all(isinstance(index, int) for index in layer["inputs"]):
        raise ValueError(f"inputs must be integers, got {layer['inputs']!r}")
    return tuple(layer["inputs"])
