"""Copies of the samples of jobs that were handed in elsewhere: taken in row by row, kept on the disk, drawn from.

A parcel that goes on where the rows here end is appended; after each one the source is told which row is missing next,
so a copy that was interrupted goes on where it stopped. Half a copy does not survive this process, a whole one does.
Nobody is told of a copy that was found on the disk, and nobody draws from it, before it was compared with its digests.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Final

from edged.core.events import DataCopied, HeldFound
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, Phase
from edged.core.messages import DataParcel, DataWanted, Message, TensorSpec
from edged.errors import MalformedError
from edged.replication.samples import Incoming, SampleCopy, check, folder_of, read_copy, remove, scan
from edged.roles.disk import Disk
from edged.roles.pump import Post
from edged.roles.samples import Kind
from edged.roles.spool import known_spec
from edged.telemetry.logs import topic_logger

DISK_SHARE: Final = 4
"""A copy takes at most one part in so many of what is free on the disk, which is the user's."""

MOST_PARCEL_BYTES: Final = 2**27
"""The largest parcel of rows that is taken in: one row may be large."""

REPEAT_SECONDS: Final = 30.0
"""The missing row is named again when nothing has come for so long: longer than a parcel takes on any useful link."""


@dataclass(slots=True)
class _Arriving:
    """A copy on its way. ``rows``: how many are on the disk; ``inputs``: name, type and row shape of each input."""

    spec: JobSpec
    source: NodeId
    files: Incoming
    inputs: tuple[Kind, ...]
    rows: dict[Phase, int] = field(default_factory=lambda: dict.fromkeys((Phase.TRAIN, Phase.EVALUATE), 0))
    layouts: dict[Phase, tuple[TensorSpec, ...]] = field(default_factory=lambda: {Phase.TRAIN: (), Phase.EVALUATE: ()})
    writing: bool = False
    problem: str = ""
    again: asyncio.TimerHandle | None = None

    def missing(self) -> tuple[Phase, int] | None:
        """The first row that is not here."""
        totals = {Phase.TRAIN: self.spec.samples, Phase.EVALUATE: self.spec.eval_samples}
        return next(((phase, self.rows[phase]) for phase in totals if self.rows[phase] < totals[phase]), None)


class Copies:
    """Takes copies in and knows which are whole."""

    def __init__(
        self,
        home: Path,
        disk: Disk,
        spec_of: Callable[[JobId], JobSpec | None],
        post: Post,
        send: Callable[[NodeId, Message], None],
    ) -> None:
        """``disk`` is started and stopped by somebody else; ``spec_of`` knows the jobs that are not over."""
        self._home = home
        self._disk = disk
        self._spec_of = spec_of
        self._post = post
        self._send = send
        self._arriving: dict[JobId, _Arriving] = {}
        self._whole: dict[JobId, SampleCopy] = {}
        self._found: dict[JobId, NodeId | None] = {}

    async def open(self) -> None:
        """Post a ``HeldFound`` for each sound copy that lies on the disk, as soon as it is checked; all others go."""
        found: asyncio.Future[tuple[dict[JobId, SampleCopy], tuple[str, ...]]]
        found = asyncio.get_running_loop().create_future()

        def unreadable(reason: str) -> None:
            topic_logger("copies").warning("copies of samples cannot be read: %s", reason)
            found.set_result(({}, ()))

        self._disk.run(lambda: scan(self._home), found.set_result, unreadable)
        copies, problems = await found
        for problem in problems:
            topic_logger("copies").warning("%s", problem)
        for job, copy in copies.items():
            self._found[job] = None
            self._check(job, copy, partial(self._is_sound, job, copy), partial(self._is_unsound, job))

    def _is_sound(self, job: JobId, copy: SampleCopy) -> None:
        if job in self._found:
            del self._found[job]
            self._whole[job] = copy
            self._post(HeldFound(job, (), program=False, data=True, spec=known_spec(job, copy.spec)))

    def _is_unsound(self, job: JobId, reason: str) -> None:
        if job not in self._found:
            return
        source = self._found.pop(job)
        topic_logger("copies").warning("the copy of samples in %s is not used: %s", self.folder(job), reason)
        if source is not None:
            self._send(source, DataWanted(job, Phase.TRAIN, 0, ""))

    def _check(self, job: JobId, copy: SampleCopy, sound: Callable[[], None], damaged: Callable[[str], None]) -> None:
        """Compare with the digests, in pieces, so that whatever else waits for the disk has its turn.

        A damaged copy is removed; one that cannot be read, now, is not.
        """
        checking = check(copy)

        def piece() -> bool:
            try:
                return next(checking, True)
            except MalformedError:
                remove(self.folder(job))
                raise

        def look() -> None:
            self._disk.run(piece, lambda done: sound() if done else look(), damaged)

        look()

    async def damage(self, job: JobId) -> str:
        """Why a job cannot be drawn from its copy, in a sentence; empty if it can. Reads all of it."""
        copy = self._whole.get(job)
        if copy is None:
            return "there is no copy of its samples here"
        problem: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._check(job, copy, lambda: problem.set_result(""), problem.set_result)
        return await problem

    def whole(self, job: JobId) -> SampleCopy | None:
        """The copy of a job's samples, if all of them are here."""
        return self._whole.get(job)

    def folder(self, job: JobId) -> Path:
        """Where a job's copy lies."""
        return folder_of(self._home, job)

    def expects(self, header: DataParcel) -> bool:
        """Whether the description of these rows makes sense, before memory is taken for them."""
        tensors = header.tensors
        if not tensors or sum(tensor.size_bytes for tensor in tensors) > MOST_PARCEL_BYTES or header.rows < 1:
            return False
        return all(
            tensor.shape[:1] == (header.rows,)
            and tensor.strides == _contiguous(tensor.shape)
            and tensor.size_bytes % header.rows == 0
            for tensor in tensors
        )

    def take(self, sender: NodeId, header: DataParcel, buffers: Sequence[memoryview]) -> None:
        """Write rows that are missing; tell which are missing next."""
        job, spec = header.job, self._spec_of(header.job)
        if spec is None or job in self._whole:
            return
        if job in self._found:  # it is asked for the first rows if what was found is damaged
            self._found[job] = sender
            return
        arriving = self._arriving.get(job)
        if arriving is None:
            arriving = self._arriving[job] = _Arriving(spec, sender, Incoming(self.folder(job)), _kinds(header.tensors))
            arriving.problem = self._no_room(spec, header)
        arriving.source = sender
        if arriving.writing:
            return
        here = arriving.rows[header.phase]
        goes_on = arriving.missing() == (header.phase, here) and header.first_row <= here
        if arriving.problem:
            self._want(job, arriving)
        elif arriving.inputs != _kinds(header.tensors):
            self._fail(job, arriving, "they are not all of one type and shape")
        elif goes_on and here < header.first_row + header.rows:
            self._append(arriving, header, buffers)
        else:
            self._want(job, arriving)

    def drop_job(self, job: JobId) -> None:
        """The job is over: remove its copy."""
        arriving = self._arriving.pop(job, None)
        if arriving is not None and arriving.again is not None:
            arriving.again.cancel()
        found = job in self._found
        self._found.pop(job, None)
        if found or arriving is not None or self._whole.pop(job, None) is not None:
            self._disk.run(lambda: remove(self.folder(job)), _nothing, _complain)

    def close(self) -> None:
        """Ask nobody any more."""
        for arriving in self._arriving.values():
            if arriving.again is not None:
                arriving.again.cancel()

    def _no_room(self, spec: JobSpec, header: DataParcel) -> str:
        row = sum(tensor.size_bytes for tensor in header.tensors) / header.rows
        total, free = row * (spec.samples + spec.eval_samples), shutil.disk_usage(self._home).free
        if total * DISK_SHARE <= free:
            return ""
        return f"they take about {total / 1e9:.1f} GB, and the disk that they would go to has {free / 1e9:.1f} GB free"

    def _append(self, arriving: _Arriving, header: DataParcel, buffers: Sequence[memoryview]) -> None:
        job, phase = header.job, header.phase
        known = arriving.rows[phase] - header.first_row
        rows = [buffer[known * (len(buffer) // header.rows) :] for buffer in buffers]
        if header.first_row == 0:
            arriving.layouts[phase] = header.layouts
        arriving.writing = True

        def done(_result: None) -> None:
            arriving.rows[phase] += header.rows - known
            self._written(job, arriving)

        self._disk.run(lambda: arriving.files.append(phase, rows), done, self._fails(job))

    def _written(self, job: JobId, arriving: _Arriving) -> None:
        if self._arriving.get(job) is not arriving:
            return
        arriving.writing = False
        if arriving.missing() is not None:
            self._want(job, arriving)
            return
        arriving.writing = True
        folder, document, layouts = self.folder(job), asdict(arriving.spec), dict(arriving.layouts)

        def end() -> SampleCopy:
            arriving.files.finish(document, layouts)
            return read_copy(folder)

        self._disk.run(end, lambda copy: self._ended(job, copy), self._fails(job))

    def _ended(self, job: JobId, copy: SampleCopy) -> None:
        arriving = self._arriving.pop(job, None)
        if arriving is None:
            return
        if arriving.again is not None:
            arriving.again.cancel()
        self._whole[job] = copy
        topic_logger("copies").info("the samples of job %s are copied here", arriving.spec.name)
        self._post(DataCopied(job))

    def _want(self, job: JobId, arriving: _Arriving) -> None:
        """Tell the source what is missing, now and when nothing comes; or, once, that nothing is kept."""
        if self._arriving.get(job) is not arriving:
            return
        phase, row = arriving.missing() or (Phase.TRAIN, 0)
        self._send(arriving.source, DataWanted(job, phase, row, arriving.problem))
        if arriving.again is not None:
            arriving.again.cancel()
        later = asyncio.get_running_loop().call_later
        arriving.again = None if arriving.problem else later(REPEAT_SECONDS, self._want, job, arriving)

    def _fails(self, job: JobId) -> Callable[[str], None]:
        def failed(reason: str) -> None:
            if (arriving := self._arriving.get(job)) is not None:
                self._fail(job, arriving, reason)

        return failed

    def _fail(self, job: JobId, arriving: _Arriving, problem: str) -> None:
        arriving.problem, arriving.writing = problem, False
        self._disk.run(lambda: remove(self.folder(job)), _nothing, _complain)
        self._want(job, arriving)


def copied_kinds(copy: SampleCopy) -> tuple[Kind, ...]:
    """What a copy holds of each sample, by input."""
    layouts = copy.layouts[Phase.TRAIN]
    return _kinds([one for one in layouts if one.shape[:1] == layouts[0].shape[:1]])


def _kinds(tensors: Sequence[TensorSpec]) -> tuple[Kind, ...]:
    return tuple(Kind(tensor.name, tensor.dtype, tensor.shape[1:]) for tensor in tensors)


def _contiguous(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(prod(max(1, size) for size in shape[place + 1 :]) for place in range(len(shape)))


def _nothing(_result: None) -> None:
    """Nobody waits for this."""


def _complain(reason: str) -> None:
    topic_logger("copies").warning("%s", reason)
