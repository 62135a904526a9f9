"""Two files of bounded size that are written in turn, line by line, and that outlive a full disk.

What a disk refuses waits in memory, and is written when there is room again. Where too much waits, all of it is given
up, and a line in its place says how much: who reads the files must not take what follows for the next.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

BUFFER_BYTES = 64 * 2**10
"""So much is gathered before it is handed to the system."""

WAITING_BYTES = 4 * 2**20
"""So much waits for room on the disk."""

RETRY_SECONDS = 10.0
"""A disk that has refused is tried again after this long."""


class AlternatingFiles:
    """Writes lines to ``folder/NAME-0.jsonl`` and ``NAME-1.jsonl`` in turn."""

    def __init__(
        self,
        folder: Path,
        name: str,
        file_bytes: int,
        gap: Callable[[int], bytes],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Go on in the file that was written last; ``gap`` makes a line of how many lines are missing.

        Raises ``OSError`` if it cannot be opened.
        """
        self._paths = [folder / f"{name}-{turn}.jsonl" for turn in (0, 1)]
        self._file_bytes = file_bytes
        self._gap = gap
        self._clock = clock
        self._waiting = bytearray()
        self._lost = self._lost_told = 0
        self._torn = False
        self._written = 0
        self._retry_at = 0.0
        self._turn = self._newest_turn()
        self._file: IO[bytes] | None = self._open("ab")

    def write(self, line: bytes) -> None:
        """Add a line, which ends with a newline."""
        self._waiting += line
        if len(self._waiting) >= BUFFER_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hand what waits to the operating system, unless it has refused a moment ago."""
        if self._clock() >= self._retry_at:
            self._try()
        if len(self._waiting) >= WAITING_BYTES:
            self._lost += self._waiting.count(b"\n")
            self._waiting.clear()

    def close(self) -> None:
        """Flush and close the file."""
        self._try()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _try(self) -> None:
        try:
            self._put()
        except OSError:
            self._retry_at = self._clock() + RETRY_SECONDS

    def _put(self) -> None:
        """Write all that waits. Raises ``OSError`` with the rest still waiting."""
        if self._lost != self._lost_told:
            self._waiting[:0] = b"\n" * self._torn + self._gap(self._lost)
            self._lost_told = self._lost
        while self._waiting:
            if self._file is None:
                self._file = self._open("wb")
            last = self._waiting.find(b"\n", max(0, self._file_bytes - self._written - 1)) + 1
            part = bytes(self._waiting[: last or len(self._waiting)])
            done = self._file.write(part)
            del self._waiting[:done]
            self._written += done
            self._torn = part[done - 1 : done] != b"\n"
            if self._written >= self._file_bytes and not self._torn:
                self._file.close()
                self._file, self._turn = None, 1 - self._turn

    def _open(self, mode: str) -> IO[bytes]:
        path = self._paths[self._turn]
        file: IO[bytes] = path.open(mode, buffering=0)
        self._written = file.tell()
        if self._written and not _ends_a_line(path):  # the node before was killed in the midst of one
            self._waiting[:0] = b"\n"
        return file

    def _newest_turn(self) -> int:
        times = [path.stat().st_mtime if path.exists() else 0.0 for path in self._paths]
        return 1 if times[1] > times[0] else 0


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"
