"""Reading rows for a copy of the samples while nobody waits for a micro-batch: a little at a time, and seldom."""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from contextlib import suppress
from functools import partial
from itertools import repeat
from queue import SimpleQueue
from typing import Any, Final, Protocol

from torch.utils.data import Dataset

from edged.compute.frames import copied, uncopied
from edged.compute.prefetch import loader
from edged.compute.rows import RowReader, Rows, WantRows
from edged.compute.thread import ComputeThread
from edged.compute.user_code import UserCode
from edged.errors import JobError

SPELL_SECONDS: Final = 0.002
"""How long is read at a stretch (one sample at least): what is asked for meanwhile waits so long."""

REST: Final = 3.0
"""How many times as long it rests afterwards: the node computes on the same cores."""

BUSY_REST: Final = 50.0
"""How many times as long it rests while something better is always to be done: a fiftieth of the time it may take."""

NICENESS: Final = 10
"""Of a process that only reads rows."""


class Reader(Protocol):
    """Where rows come from."""

    def read(self, want: WantRows) -> Generator[None, None, Rows]:
        """See ``RowReader.read``."""


class Background:
    """At most one reading. ``pause``: seconds to wait for something better to do (``None``: for ever)."""

    def __init__(self, reader: Reader) -> None:
        """Nothing is asked for."""
        self.pause: float | None = None
        self._reader = reader
        self._reading: Iterator[None] = iter(())
        self._rest = 0.0
        self._took = 0.0
        self._ended = 0.0

    @property
    def overdue(self) -> bool:
        """Whether a little may be read although micro-batches are wanted; where they always are, nothing else would."""
        return self.pause is not None and time.monotonic() - self._ended >= BUSY_REST * self._took

    def ask(self, want: WantRows) -> None:
        """Begin to read; what was being read is not wanted any more."""
        self._reading = self._reader.read(want)
        self.pause = self._rest

    def work(self, spell: float = SPELL_SECONDS) -> list[bytes | memoryview] | None:
        """Read for a spell, of one sample at least; returns the answer's frame when there is one."""
        began = time.monotonic()
        answer = None
        try:
            next(self._reading)
            while time.monotonic() < began + spell:
                next(self._reading)
        except StopIteration as end:
            answer = copied(end.value)
        except JobError as error:
            answer = uncopied(str(error))
        self._ended = time.monotonic()
        self._took = self._ended - began
        self._rest = REST * self._took
        self.pause = self._rest if answer is None else None
        return answer


class LoaderReader:
    """Reads in a process of its own, for jobs that have their data read by worker processes.

    Such a data set may open its files at the first sample, and must not do so in the process from which the workers are
    forked. The thread that forks is not a pool's: at its exit the forked process would wait for the pool's threads,
    itself among them, and fail.
    """

    def __init__(self, reader: RowReader) -> None:
        """Start no process yet."""
        self._reader = reader
        self._thread = ComputeThread("feeder-rows")
        self._thread.start()
        self._expected: WantRows | None = None
        self._read: Iterator[Rows | _Failure] = iter(())

    def read(self, want: WantRows) -> Generator[None, None, Rows]:
        """As ``RowReader.read``."""
        outcome: SimpleQueue[Rows | Exception] = SimpleQueue()
        self._thread.submit(partial(self._next, want), outcome.put)
        while outcome.empty():
            time.sleep(SPELL_SECONDS)
            yield
        rows = outcome.get()
        if isinstance(rows, Exception):
            raise rows
        return rows

    def close(self) -> None:
        """End the process, when it has read what was asked for last."""
        self._thread.submit(self._end, lambda _ended: None)
        self._thread.stop()

    def _end(self) -> None:
        self._read = iter(())

    def _next(self, want: WantRows) -> Rows:
        if want != self._expected:
            self._read = iter(loader(_Following(self._reader, want), repeat(0), 1, _give_way))
        with UserCode("the process that reads the rows failed"):
            rows = next(self._read)
        if isinstance(rows, _Failure):
            raise JobError(rows.sentence)
        self._expected = WantRows(rows.phase, rows.stop)
        return rows


class _Failure:
    """A ``JobError`` on its way out of the process."""

    def __init__(self, error: JobError) -> None:
        self.sentence = str(error)


class _Following(Dataset[Any]):
    """The rows from one place on, as a data set whose every item is what follows; in one process only."""

    def __init__(self, reader: RowReader, want: WantRows) -> None:
        self._reader = reader
        self._want = want

    def __getitem__(self, _number: int) -> Rows | _Failure:
        reading = self._reader.read(self._want)
        try:
            while True:
                next(reading)
        except StopIteration as end:
            rows: Rows = end.value
        except JobError as error:
            return _Failure(error)
        self._want = WantRows(rows.phase, rows.stop)
        return rows


def _give_way(_worker: int) -> None:
    with suppress(AttributeError, OSError):
        os.nice(NICENESS)
