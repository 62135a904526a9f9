"""A command on a terminal of its own, with job control, as a person has it; an emulator knows what that person sees."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Self

import pyte

from tests.cli.shell import PATIENCE_SECONDS

ALTERNATE_SCREEN_ON, ALTERNATE_SCREEN_OFF = "\x1b[?1049h", "\x1b[?1049l"
CTRL_C, CTRL_Z, ESCAPE, ENTER = "\x03", "\x1a", "\x1b", "\r"
LOGIN = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes the terminal the one that controls the command, so that Ctrl-C and a new size reach it as signals."""


class Terminal:
    """``edged`` with these arguments (or another ``command``) as the only program of a terminal."""

    def __init__(
        self, *arguments: object, columns: int = 100, rows: int = 30, command: tuple[str, ...] = (), **variables: str
    ) -> None:
        self.raw = ""
        self._ours, self._theirs = pty.openpty()
        self._emulator = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._emulator)
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self._theirs)
        command = command or (sys.executable, "-m", "edged")
        variables = {"TERM": "xterm", "OMP_NUM_THREADS": "1", **variables}
        kept = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [sys.executable, "-c", LOGIN, *command, *map(str, arguments)],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            start_new_session=True,
            env={**kept, **variables},
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)

    @property
    def shown(self) -> str:
        """All that was shown so far, without escape sequences."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", self.raw)

    @property
    def display(self) -> list[str]:
        """The lines that a person sees now."""
        return [line.rstrip() for line in self._emulator.display]

    @property
    def is_as_before(self) -> bool:
        """Whether echo, line mode and cursor are back, lines wrap, and the first screen is shown."""
        others = self.raw.rpartition(ALTERNATE_SCREEN_ON)[2]
        return (
            termios.tcgetattr(self._theirs) == self.before
            and not self._emulator.cursor.hidden
            and pyte.modes.DECAWM in self._emulator.mode
            and (ALTERNATE_SCREEN_OFF in others or ALTERNATE_SCREEN_ON not in self.raw)
        )

    def resize(self, columns: int, rows: int) -> None:
        """Give the terminal another size, as a person does who drags its corner."""
        fcntl.ioctl(self._theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._emulator.resize(rows, columns)

    def wait_for(self, text: str, times: int = 1) -> None:
        """Read until ``text`` was shown so often."""
        self.wait(lambda: self.shown.count(text) >= times, text)

    def wait_to_see(self, text: str, line: int | None = None) -> None:
        """Read until ``text`` is to be seen: anywhere, or in that line."""
        self.wait(lambda: text in ("\n".join(self.display) if line is None else self.display[line]), text)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        """Read until the condition holds."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            assert time.monotonic() < deadline, (what, self.display, self.shown[-2000:])
            assert self._read() or condition(), (what, self.display, self.shown[-2000:])

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def end(self) -> int:
        """Read until the command ends; returns its exit status."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._read():
            assert time.monotonic() < deadline, self.shown
        return self.process.wait(PATIENCE_SECONDS)

    def _read(self) -> bool:
        """Take in what there is; whether there may be more."""
        if not select.select([self._ours], [], [], 0.1)[0]:
            return self.process.poll() is None
        found = os.read(self._ours, 65536)
        self.raw += found.decode(errors="replace")
        self._stream.feed(found)
        return True
