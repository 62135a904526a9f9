"""The live view at work: the newest status on the screen, and what the keys ask for."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edged.client import Client
from edged.errors import UserError
from edged.tui.head import SILENT_SECONDS
from edged.tui.keys import Keyboard, Wish
from edged.tui.lines import Line, Tone, line
from edged.tui.screen import Screen
from edged.tui.view import frame

TICK_SECONDS = 0.1
"""How soon a key or a new size of the terminal is seen."""

REDRAW_SECONDS = 1.0
"""Without news the picture is drawn again this often, to say so."""

NOTICE_SECONDS = 6.0


class Window:
    """Draws what it is told on a screen. A thread may tell it while another one runs it."""

    def __init__(self, home: Path, screen: Screen, keyboard: Keyboard | None) -> None:
        """``home``: of the node that is told what the keys ask for. ``keyboard``: none where no keys can come."""
        self.ended = threading.Event()
        self.leaves = False
        """Whether the node was told to leave."""

        self._home = home
        self._screen = screen
        self._keyboard = keyboard
        self._status: Mapping[str, Any] | None = None
        self._told_at = 0.0
        self._is_new = True
        self._drawn: tuple[float, tuple[int, int]] = (0.0, (0, 0))
        self._notice = Line()
        self._notice_until = 0.0
        self._order: threading.Thread | None = None

    def tell(self, status: Mapping[str, Any]) -> None:
        """Show this status from now on."""
        self._status, self._told_at, self._is_new = status, time.monotonic(), True

    def run(self) -> None:
        """Draw until ``ended``; the terminal is given back, whatever happens."""
        try:
            while not self.ended.is_set():
                for key in self._screen.keys(TICK_SECONDS):
                    self._press(key)
                self._refresh()
        finally:
            self._screen.close()

    def picture(self, columns: int, rows: int) -> list[Line]:
        """The lines of the whole screen."""
        status = self._status
        if status is None:
            return [line("starting …")]
        silent = time.monotonic() - self._told_at
        if silent >= SILENT_SECONDS:
            status = {**status, "silent_seconds": silent}
        if self._keyboard is None:
            return frame(status, columns, rows)
        above = rows - 1
        shown = self._keyboard.legend(columns) if self._keyboard.helps else frame(status, columns, above)
        told = self._notice if time.monotonic() < self._notice_until and not self._keyboard.asks else None
        foot = told or self._keyboard.foot(status, columns)
        return [*shown[:above], *[Line()] * (above - len(shown)), foot]

    def _refresh(self) -> None:
        drawn_at, size = self._drawn
        if not self._is_new and size == self._screen.size() and time.monotonic() - drawn_at < REDRAW_SECONDS:
            return
        self._is_new = False
        self._drawn = (time.monotonic(), self._screen.size())
        self._screen.draw(self.picture(*self._drawn[1]))

    def _press(self, key: str) -> None:
        if self._keyboard is None or self._status is None:
            return
        self._is_new, self._notice_until = True, 0.0
        match self._keyboard.press(key, self._status):
            case Wish.QUIT:
                self.ended.set()
            case Wish.REDRAW:
                self._screen.forget()
            case Wish.PAUSE | Wish.RESUME as wish:
                self._steer(wish, self._status.get("job"))
            case Wish.LEAVE:
                self.leaves = True
                self._do("leave", f"{self._status.get('name')} leaves as soon as its layers have moved")
            case None:
                pass

    def _steer(self, wish: Wish, job: Mapping[str, Any] | None) -> None:
        if job is None:
            self._say("no job runs: nothing to pause", Tone.WARN)
        elif wish is Wish.PAUSE:
            self._do("pause", f"job {job['name']} is to stand after the step it is in …", job=job["job"])
        else:
            self._do("resume", f"job {job['name']} is to go on …", job=job["job"])

    def _do(self, command: str, told: str, **fields: str) -> None:
        """Ask the node, in a thread: the answer to ``pause`` may take as long as a step."""
        if self._order is not None and self._order.is_alive():
            self._say("one moment: the last order is still under way", Tone.WARN)
            return
        self._say(told, Tone.WARN)
        self._order = threading.Thread(target=self._ask, args=(command, fields), name="order", daemon=True)
        self._order.start()

    def _ask(self, command: str, fields: Mapping[str, str]) -> None:
        try:
            found = Client(self._home).ask(command, **fields)
        except (UserError, OSError) as error:
            self._say(str(error), Tone.BAD)
        else:
            if "state" in found:
                self._say(f"the job is {found['state']} at step {found['step']}", Tone.GOOD)

    def _say(self, text: str, tone: Tone) -> None:
        self._notice, self._notice_until, self._is_new = line((text, tone)), time.monotonic() + NOTICE_SECONDS, True
