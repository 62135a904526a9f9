"""Devices and their terminals, as the stories have them: what is typed there, and what is to be seen."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyte
from testbed_network import Network

ROOT = Path(__file__).resolve().parents[1]
PATIENCE_SECONDS = 120.0
LOOK_SECONDS = 0.02

COLUMNS = 100
VIEW_ROWS, COMMAND_ROWS = 24, 120
"""The live view takes the whole height, so it is shown in a small terminal; what a command prints is all kept."""

HOME = "/home/you"
"""What a home is called in a transcript. The real one has as many letters, so that lines break at the same places."""

LETTERS = "abcdefghijkmnpqrstuvwxyz23456789"
KEY = re.compile(r"\b([a-z2-7]{7}-[a-z2-7]{7}-)(?:[a-z2-7]{7}-){5}[a-z2-7]{7}\b")
ALTERNATE_SCREEN = 1049
CTRL_C = "\x03"
LOGIN = "import os, sys; os.login_tty(0); os.execvp(sys.argv[1], sys.argv[1:])"
"""Makes the terminal the one that controls the command, so that Ctrl-C reaches it as a signal."""


class StoryError(Exception):
    """A story took another turn than it should; the text says what was awaited and what was seen."""


def wait_until(condition: Callable[[], Any], what: str, seen: Callable[[], str], seconds: float) -> None:
    """Return when the condition holds. Raises ``StoryError`` with what was ``seen`` instead."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() >= deadline:
            raise StoryError(f"not within {seconds:.0f} s: {what}\n{seen()}")
        time.sleep(LOOK_SECONDS)


class Device:
    """A computer: its home, its name, and its place in the network, if it has a namespace; else it is on loopback."""

    def __init__(self, stack: ExitStack, programs: Path, name: str, network: Network | None) -> None:
        """Make its home, which ``stack`` removes."""
        self.name = name
        self.home = Path("/tmp") / "".join(secrets.choice(LETTERS) for _ in range(len(HOME) - len("/tmp/")))  # noqa: S108 -- the length matters, see HOME
        self.home.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, self.home, ignore_errors=True)
        self.prefix = network.add(name) if network else []
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("EDGED_", "XDG_"))}
        alone = {} if network else {"EDGED_LISTEN": "127.0.0.1:0", "EDGED_DISCOVERY": "false"}
        self.environment = {
            **{name: value for name, value in kept.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}},
            "PATH": f"{programs}:{kept['PATH']}",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm",
            "OMP_NUM_THREADS": "1",
            "HOME": str(self.home),
            "EDGED_NAME": name,
            **alone,
        }

    @property
    def data(self) -> Path:
        """What its node calls home."""
        return self.home / ".local" / "share" / "edged"

    def type(self, stack: ExitStack, command: str, *, rows: int = COMMAND_ROWS) -> Window:
        """Type a command in a new terminal; it is not waited for."""
        return Window(stack, self, command, rows)


class Glass(pyte.Screen):
    """A screen that has a second one, as terminals do: what was there before a live view is there after it."""

    def __init__(self, columns: int, rows: int) -> None:
        """Both are empty."""
        self._first: Any = None
        super().__init__(columns, rows)

    def set_mode(self, *modes: int, **options: Any) -> None:
        """As ``Screen`` does; besides, change to the second screen."""
        if ALTERNATE_SCREEN in modes and options.get("private"):
            self._first = deepcopy((dict(self.buffer), self.cursor.x, self.cursor.y))
            self.erase_in_display(2)
        super().set_mode(*modes, **options)

    def reset_mode(self, *modes: int, **options: Any) -> None:
        """As ``Screen`` does; besides, change back to the first screen."""
        if ALTERNATE_SCREEN in modes and options.get("private") and self._first is not None:
            self.erase_in_display(2)
            lines, self.cursor.x, self.cursor.y = self._first
            self.buffer.update(lines)
        super().reset_mode(*modes, **options)


class Window:
    """A terminal in which one command runs."""

    def __init__(self, stack: ExitStack, device: Device, command: str, rows: int) -> None:
        """Begin the command; ``stack`` ends it."""
        self.device, self.command = device, command
        self._glass = Glass(COLUMNS, rows)
        self._stream = pyte.ByteStream(self._glass)
        self._lock = threading.Lock()
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, COLUMNS, 0, 0))
        self.process = subprocess.Popen(
            [*device.prefix, sys.executable, "-c", LOGIN, "bash", "-c", command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            cwd=device.home,
            env=device.environment,
        )
        os.close(theirs)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        stack.callback(self.close)

    @property
    def lines(self) -> list[str]:
        """What a person sees now, without empty lines at the end; this machine's paths and the key are told as HOME."""
        with self._lock:
            seen = [line.rstrip() for line in self._glass.display]
        while seen and not seen[-1]:
            seen.pop()
        return [self.told(line) for line in seen]

    @property
    def whole(self) -> str:
        """All of what is to be seen as one line, key and all: what a person copies."""
        with self._lock:
            return "".join(self._glass.display).strip()

    def told(self, text: str) -> str:
        """A text as the page has it: a home is called ``HOME``, of a key there is the beginning."""
        return KEY.sub(r"\1…", text.replace(str(self.device.home), HOME))

    def see(self, *texts: str, no: Sequence[str] = (), seconds: float = PATIENCE_SECONDS) -> Window:
        """Wait until all of these are to be seen, wherever lines break, and ``no`` others. Raises ``StoryError``."""

        def seen() -> bool:
            shown = " ".join(" ".join(self.lines).split())
            return all(text in shown for text in texts) and not any(text in shown for text in no)

        wait_until(
            seen,
            f"{self.device.name}, {self.told(self.command)}: {texts}, not {no}",
            lambda: "\n".join(self.lines),
            seconds,
        )
        return self

    def press(self, keys: str) -> None:
        """Type while the command runs."""
        os.write(self._ours, keys.encode())

    def end(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit status, once the command has ended. Raises ``StoryError`` if it does not."""
        wait_until(
            lambda: self.process.poll() is not None,
            f"the end of {self.told(self.command)}",
            lambda: "\n".join(self.lines),
            seconds,
        )
        self._reader.join(PATIENCE_SECONDS)
        return self.process.wait()

    def unplug(self) -> None:
        """The device is without power: all that runs in this terminal ends at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """End the command, whatever it does."""
        if self.process.poll() is None:
            self.press(CTRL_C)
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                self.unplug()
        self._reader.join(PATIENCE_SECONDS)
        os.close(self._ours)

    def _read(self) -> None:
        while True:
            try:
                found = os.read(self._ours, 65536)
            except OSError:  # the last program that had this terminal has ended
                return
            with self._lock:
                self._stream.feed(found)


def programs(stack: ExitStack, folder: Path) -> Path:
    """A folder with ``edged`` and ``python`` as they are here, to be put before all others."""
    place = folder / "bin"
    place.mkdir()
    stack.callback(shutil.rmtree, place, ignore_errors=True)
    for name, start in (("edged", "-m edged"), ("python", "")):
        (place / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" {start} "$@"\n', encoding="utf-8")
        (place / name).chmod(0o700)
    return place


def shortened(lines: Sequence[str], kept: Callable[[str], bool]) -> list[str]:
    """These lines, with ``…`` where some are left out in a row, and of empty lines in a row the first."""
    shown: list[str] = []
    for line in lines:
        told = line if not line or kept(line) else "…"
        if told not in {"", "…"} or shown[-1:] != [told]:
            shown.append(told)
    return shown
