"""Keeps the view on the terminal: of a node that is watched, or beside one that runs in this process."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from edged.client import Client
from edged.errors import NoNodeError, UserError
from edged.tui.keys import Keyboard
from edged.tui.screen import Screen
from edged.tui.window import Window

REFRESH_SECONDS = 0.5
JOIN_SECONDS = 1.0

Invitation = Callable[[Mapping[str, Any]], str]


def follow(home: Path, interval: float) -> None:
    """Show the node of ``home`` until it ends or the user has seen enough; a picture every ``interval`` seconds.

    Raises ``NoNodeError`` if there is no node, or no more.
    """
    client = Client(home)
    first = client.ask("status")  # before the terminal is touched
    screen = Screen(reads=True)
    window = Window(home, screen, Keyboard(quits=True) if screen.reads else None)
    window.tell(first)
    gone = threading.Event()

    def read() -> None:
        with suppress(UserError, OSError):
            for status in client.stream("watch", interval=interval):
                window.tell(status)
        gone.set()
        window.ended.set()

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    try:
        screen.open()
        threading.Thread(target=read, name="watch", daemon=True).start()
        window.run()
    except KeyboardInterrupt:
        return
    finally:
        screen.close()
    if gone.is_set() and window.leaves:
        print(f"edged: {first['name']} has left", file=sys.stderr)  # noqa: T201 -- the view was the command's output
    elif gone.is_set():
        raise NoNodeError(f"the node in {home} has ended: start it again with `edged join --home {home}`")


@contextmanager
def beside_node(
    home: Path, invitation: Invitation | None = None, *, keys: bool = False
) -> Iterator[Callable[[], None]]:
    """Show the node of ``home``, which runs in this process, from threads, while the context lasts.

    Yields what gives the terminal back; to be called where the process ends without leaving the context.
    ``invitation`` makes the line for the next device out of a status; it is shown while the node is alone. ``keys``:
    whether standard input is the view's.
    """
    screen = Screen(reads=keys)
    window = Window(home, screen, Keyboard(quits=False) if screen.reads else None)

    def read() -> None:
        while not window.ended.wait(REFRESH_SECONDS):
            with suppress(UserError, OSError):  # it starts, or is about to end
                for status in Client(home).stream("watch", interval=REFRESH_SECONDS):
                    window.tell({**status, "invitation": invitation(status)} if invitation else status)

    painter = threading.Thread(target=window.run, name="live view", daemon=True)
    try:
        screen.open()
        threading.Thread(target=read, name="watch", daemon=True).start()
        painter.start()
        yield screen.close
    finally:
        window.ended.set()
        screen.close()
        painter.join(JOIN_SECONDS)


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """Let a signal that would end the process at once end it with the terminal as it was."""
    sys.exit(128 + number)
