"""The terminal: its other screen, its size, its keys; and given back as it was, however the program ends.

Only lines that have changed are written, in one piece, so that nothing flickers. While the program is not in the
foreground of its terminal nothing is written or read; the view appears when it is brought there.
"""

from __future__ import annotations

import os
import re
import select
import shutil
import signal
import sys
import termios
import threading
import time
import tty
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

from edged.tui.lines import Line, Tone

ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
"""The other screen; no cursor; no wrapping, as a wide character may be wider than was thought."""

LEAVE = "\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
BEGIN, END = "\x1b[?2026h", "\x1b[?2026l"
"""What stands between is shown at once by terminals that know how; others pass over these."""

CODES = {Tone.STRONG: "1", Tone.QUIET: "2", Tone.GOOD: "32", Tone.WARN: "33", Tone.BAD: "31", Tone.FIGURE: "36"}
COLOURLESS = {Tone.STRONG: "1", Tone.QUIET: "2", Tone.BAD: "1"}
KEY = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.)|.", re.DOTALL)
"""One key: a character, or the sequence that an arrow or a function key sends."""

REPAINT_SECONDS = 10.0
"""After so long all lines are written again: something else may have written on the terminal."""

LOCK_SECONDS = 1.0


class Screen:
    """The terminal of standard output, and of standard input if that is one and ``reads``."""

    def __init__(self, *, reads: bool, environment: Mapping[str, str] = os.environ) -> None:
        """Touch nothing yet."""
        self._out = sys.stdout.fileno()
        self._in = sys.stdin.fileno() if reads and sys.stdin is not None and sys.stdin.isatty() else None
        self._encoding = sys.stdout.encoding or "utf-8"
        self._codes = COLOURLESS if environment.get("NO_COLOR") else CODES
        self._before: list[Any] | None = None
        self._shown: list[str] = []
        self._painted_size = (0, 0)
        self._painted_at = 0.0
        self._hears = self._in is not None
        self._is_open = self._is_closed = False
        self._lock = threading.RLock()

    @property
    def reads(self) -> bool:
        """Whether keys can come."""
        return self._hears

    def open(self) -> None:
        """Take the terminal, or wait for the foreground. To be called in the main thread, for Ctrl-Z's sake."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTSTP, self._stopped)
        self._take()

    def close(self) -> None:
        """Give the terminal back for good; safe to call again, and from any thread."""
        self._is_closed = True
        self._give_back()

    def size(self) -> tuple[int, int]:
        """Columns and rows."""
        with suppress(OSError):
            columns, rows = os.get_terminal_size(self._out)
            if columns and rows:
                return columns, rows
        size = shutil.get_terminal_size()
        return size.columns, size.lines

    def draw(self, lines: Sequence[Line]) -> None:
        """Show these lines from the top, and nothing else."""
        with self._lock:
            self._take()
            if not self._is_open:
                return
            columns, rows = self.size()
            painted = [self._painted(line.fitted(columns)) for line in lines[:rows]]
            painted += [""] * (rows - len(painted))
            if (columns, rows) != self._painted_size or time.monotonic() - self._painted_at > REPAINT_SECONDS:
                self.forget()
                self._painted_size, self._painted_at = (columns, rows), time.monotonic()
            changed = [
                f"\x1b[{number + 1};1H\x1b[2K{new}"
                for number, new in enumerate(painted)
                if not self._shown or new != self._shown[number]
            ]
            self._shown = painted
            if changed:
                self._write(BEGIN + "".join(changed) + END)

    def forget(self) -> None:
        """Write all lines the next time."""
        self._shown = []

    def keys(self, seconds: float) -> list[str]:
        """The keys pressed, as soon as there are any, but no later than after ``seconds``."""
        if self._in is None or not (self._hears and self._is_open and self._in_front()):
            time.sleep(seconds)
            return []
        with suppress(OSError):
            if not select.select([self._in], [], [], seconds)[0]:
                return []
            if found := os.read(self._in, 1024):
                return KEY.findall(found.decode("utf-8", "ignore"))
        self._hears = False  # nobody types here any more
        return []

    def _take(self) -> None:
        with self._lock:
            if self._is_open or self._is_closed or not self._in_front():
                return
            self._is_open = True
            self.forget()
            if self._in is not None:
                self._before = termios.tcgetattr(self._in)
                tty.setcbreak(self._in, termios.TCSANOW)
            self._write(ENTER)

    def _give_back(self) -> None:
        owns = self._lock.acquire(timeout=LOCK_SECONDS)
        try:
            if self._is_open:
                self._is_open = False
                self._write(LEAVE)
                if self._in is not None and self._before is not None:
                    with suppress(termios.error):
                        termios.tcsetattr(self._in, termios.TCSANOW, self._before)
        finally:
            if owns:
                self._lock.release()

    def _stopped(self, _number: int, _frame: FrameType | None) -> None:
        """Ctrl-Z: give the terminal back, stand still, and take it again when told to go on."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()

    def _in_front(self) -> bool:
        """Whether this program may use its terminal; where there is no job control everyone may."""
        try:
            return os.tcgetpgrp(self._out) == os.getpgrp()
        except OSError:
            return True

    def _painted(self, line: Line) -> str:
        parts = []
        for text, tone in line.spans:
            code = self._codes.get(tone)
            parts.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
        return "".join(parts).rstrip(" ")

    def _write(self, text: str) -> None:
        data = text.encode(self._encoding, "replace")
        with suppress(OSError):  # the terminal is gone; whoever reads the signal that says so ends the program
            while data:
                data = data[os.write(self._out, data) :]
