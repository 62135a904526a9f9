"""Draws a job's samples for its node: the only process that runs the user's data set.

``python -m edged.feeder`` is started by the node that submitted a job and serves it until the connection closes. It may
be started while the job is still being captured: it then imports torch, and waits with the user's code for the node's
word.
``edged.train`` serves the same frames (``compute/frames.py``) from a thread of the caller's process.

It draws nothing if file and data are not those that were submitted (``compute/fingerprint.py``): it says so and waits
to be ended.

With ``--samples`` it serves them on a node that has taken a job over, from the copy of the samples that lies there, and
runs nothing of the user's.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import BinaryIO

from edged.compute.background import Background, LoaderReader, Reader
from edged.compute.copied import CopySampler
from edged.compute.fingerprint import difference, text_digest
from edged.compute.frames import changed, drawn, failed, read_request
from edged.compute.job_file import load
from edged.compute.job_reference import parse_overrides
from edged.compute.prefetch import Prefetcher
from edged.compute.rows import RowReader, WantRows
from edged.compute.sampling import Sampler
from edged.core.job import Work
from edged.errors import UNREADABLE, ConfigError, JobError, MalformedError, UserError
from edged.job import Job
from edged.replication.samples import read_copy
from edged.roles.spool import Submitted, read_submitted, spec_from_json


def serve(connection: socket.socket, job_id: str, job: Job, on_closed: Callable[[], None] | None = None) -> None:
    """Offer ``connection`` (a node's local socket) as the feeder of ``job_id`` and draw what the node asks for.

    Returns when the node closes the connection, or after the first error in the user's code, which has then been told
    to the node. ``on_closed`` is called from another thread as soon as the connection closes, even while a sample is
    being drawn. Raises ``JobError`` if the node does not want a feeder for this job.
    """
    with connection, connection.makefile("rb") as stream:
        _offer(connection, stream, job_id)
        _feed_job(job, Sampler(job))(connection, stream, on_closed)


def main(arguments: Sequence[str] | None = None) -> int:
    """The feeder process. Returns its exit status: 0 when the node closed the connection, 1 after an error."""
    parser = argparse.ArgumentParser(prog="python -m edged.feeder", description="Draw a job's samples for its node.")
    parser.add_argument("--socket", required=True, help="the node's local socket")
    parser.add_argument("--job", required=True, help="the job's id")
    parser.add_argument("--submitted", type=Path, help="the folder that says what was submitted")
    parser.add_argument("--samples", type=Path, help="the folder of a copy of the samples, instead of a job file")
    parser.add_argument("--path", help="the job file")
    parser.add_argument("--function", help="the function in it that makes the job")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="overrides, as `edged train` takes"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the node's to act on: it closes the connection
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.connect(options.socket)
        with connection, connection.makefile("rb") as stream:
            _offer(connection, stream, options.job)  # answered when the job has been handed in, and no sooner
            try:
                feed = _feed_copy(options.samples) if options.samples else _feed_file(options)
            except _ChangedError as error:
                if _send(connection, changed(str(error), _detail(error.__cause__ or error))):
                    stream.read()  # until the node has had enough
                return 0
            except UserError as error:
                _send(connection, failed(str(error), _detail(error)))
                return 1
            feed(connection, stream, _leave)
    except (OSError, UserError) as error:
        print(f"edged feeder: {error}", file=sys.stderr)  # noqa: T201 -- the process's own log
        return 1
    return 0


def _offer(connection: socket.socket, stream: BinaryIO, job_id: str) -> None:
    connection.sendall(json.dumps({"command": "feed", "job": job_id}).encode() + b"\n")
    line = stream.readline()
    answer = json.loads(line) if line else {"error": "the node closed the connection"}
    if not answer.get("ok"):
        raise JobError(f"the node wants no feeder for job {job_id}: {answer.get('error', 'no reason given')}")


Feed = Callable[[socket.socket, BinaryIO, Callable[[], None] | None], None]


class _ChangedError(Exception):
    """The data is not that which was submitted."""


def _feed_file(options: argparse.Namespace) -> Feed:
    """Serve the data of a job file, as it was submitted. Raises ``_ChangedError`` if it is another by now."""
    reference, overrides = f"{options.path}:{options.function}", parse_overrides(options.set)
    if options.submitted is None:
        job = load(reference, overrides)
        return _feed_job(job, Sampler(job))
    submitted = read_submitted(options.submitted)
    edited = text_digest(Path(options.path)) != submitted.text
    try:
        job = load(reference, overrides)
    except (JobError, ConfigError) as error:
        if edited:
            raise _ChangedError(f"the job file was edited, and cannot be used now: {error}") from error
        raise
    sampler = Sampler(job, submitted.spec)
    _compare(sampler, submitted)
    if edited:
        print(  # noqa: T201 -- the node logs it
            f"edged: {options.path} was edited after it was submitted; its samples are the same, as far as a few of "
            "them tell, so the job goes on with them; no other change has any effect on it",
            file=sys.stderr,
        )
    return _feed_job(job, sampler)


def _compare(sampler: Sampler, submitted: Submitted) -> None:
    try:
        found = difference(sampler, submitted.data)
    except JobError as error:
        raise _ChangedError(str(error)) from error
    if found:
        raise _ChangedError(found)


def _feed_job(job: Job, sampler: Sampler) -> Feed:
    """Serve a job's own data set."""

    def feed(connection: socket.socket, stream: BinaryIO, on_closed: Callable[[], None] | None) -> None:
        if not job.workers:
            _feed(connection, stream, sampler, RowReader(sampler), on_closed)
            return
        with closing(Prefetcher(sampler, job.workers)) as ahead, closing(LoaderReader(RowReader(sampler))) as reader:
            _feed(connection, stream, ahead, reader, on_closed)

    return feed


def _feed_copy(folder: Path) -> Feed:
    """Serve a copy of a job's samples. Raises ``JobError`` if it is not whole."""
    try:
        copy = read_copy(folder)
        sampler = CopySampler(spec_from_json(copy.spec), copy.layouts, copy.files)
    except (MalformedError, OSError, *UNREADABLE) as error:
        raise JobError(f"the copy of the samples in {folder} cannot be read: {error}") from error
    return lambda connection, stream, on_closed: _feed(connection, stream, sampler, sampler, on_closed)


def _feed(
    connection: socket.socket,
    stream: BinaryIO,
    source: Sampler | Prefetcher | CopySampler,
    rows: Reader,
    on_closed: Callable[[], None] | None,
) -> None:
    """Draw what is asked for, read rows meanwhile, until the connection closes or the user's code fails."""
    background = Background(rows)
    wanted: SimpleQueue[Work | WantRows | None] = SimpleQueue()
    Thread(target=_listen, args=(stream, wanted, on_closed), name="feeder-requests", daemon=True).start()
    try:
        while True:
            answer = None
            try:
                request = wanted.get(timeout=background.pause)
            except Empty:
                answer = background.work()
            else:
                if isinstance(request, WantRows):
                    background.ask(request)
                elif request is None or not _answer(connection, source, request):
                    return
                if background.overdue:
                    answer = background.work(spell=0.0)
            if answer is not None and not _send(connection, answer):
                return
    finally:
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


def _listen(
    stream: BinaryIO, wanted: SimpleQueue[Work | WantRows | None], on_closed: Callable[[], None] | None
) -> None:
    with suppress(OSError, ValueError, MalformedError):
        while (request := read_request(stream)) is not None:
            wanted.put(request)
    wanted.put(None)
    if on_closed is not None:
        on_closed()


def _answer(connection: socket.socket, source: Sampler | Prefetcher | CopySampler, work: Work) -> bool:
    """Draw and send; false when that was the last answer."""
    try:
        tensors = source.draw(work)
    except JobError as error:
        _send(connection, failed(str(error), _detail(error)))
        return False
    return _send(connection, drawn(work, tensors))


def _send(connection: socket.socket, pieces: Sequence[bytes | memoryview]) -> bool:
    try:
        for piece in pieces:
            connection.sendall(piece)
    except OSError:
        return False
    return True


def _detail(error: BaseException) -> str:
    return "".join(traceback.format_exception(error.__cause__ or error))


def _leave() -> None:
    """End at once, also in the middle of a sample that never comes."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
