"""Keeps a view on the terminal: from a stream of status objects, beside a node that runs, once, or as a picture."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.live import Live

from edged.client import Client
from edged.errors import UserError
from edged.tui.view import lines, render

REFRESH_SECONDS = 0.5
SVG_SIZE = (112, 32)
SVG_FONTS = "'DejaVu Sans Mono', Menlo, Consolas, 'Liberation Mono', monospace"

Invitation = Callable[[Mapping[str, Any]], str]


class View:
    """A renderable that always fits the terminal, also after it was resized."""

    def __init__(self) -> None:
        """Start empty."""
        self.status: Mapping[str, Any] | None = None

    def __rich_console__(self, console: Console, options: object) -> Iterator[RenderableType]:
        """Draw the latest status on the whole terminal."""
        if self.status is None:
            yield "starting …"
            return
        yield render(self.status, console.width, max(console.height - 1, 8))


def follow(stream: Iterable[Mapping[str, Any]]) -> None:
    """Show every status of ``stream`` until it ends or the user interrupts."""
    view = View()
    with Live(view, screen=True, auto_refresh=False) as live:
        try:
            for status in stream:
                view.status = status
                live.refresh()
        except KeyboardInterrupt:
            return


def print_once(status: Mapping[str, Any]) -> None:
    """Draw one status on standard output."""
    console = Console(highlight=False)
    height = console.height if console.is_terminal else 48
    console.print(render(status, console.width, max(height - 1, 20)))


def write_svg(status: Mapping[str, Any], path: Path) -> None:
    """Draw one status as an SVG picture. Raises ``OSError`` if the file cannot be written."""
    width, height = SVG_SIZE
    needed = len([line for line in lines(status, width, height) if line.strip()])
    with Path("/dev/null").open("w", encoding="utf-8") as sink:
        console = Console(record=True, width=width, height=max(height, needed), file=sink, force_terminal=True)
        console.print(render(status, width, height))
    drawn = console.export_svg(title=f"edged · {status.get('cluster', '')}", unique_id="edged")
    drawn = re.sub(
        r"@font-face \{.*?\}\s*", "", drawn, flags=re.DOTALL
    )  # the reader's own fonts: no web font is fetched
    path.write_text(drawn.replace("Fira Code, monospace", SVG_FONTS), encoding="utf-8")


@contextmanager
def beside_node(home: Path, invitation: Invitation | None = None) -> Iterator[Callable[[], None]]:
    """Show the node of ``home``, which runs in this process, from a thread, while the context lasts.

    Yields what gives the terminal back; to be called where the process ends without leaving the context.
    ``invitation`` makes the line for the next device out of a status; it is shown while the node is alone.
    """
    ended = threading.Event()
    view = View()

    def refresh(live: Live) -> None:
        while not ended.wait(REFRESH_SECONDS):
            try:
                for status in Client(home).stream("watch", interval=REFRESH_SECONDS):
                    view.status = {**status, "invitation": invitation(status)} if invitation else status
                    live.refresh()
                    if ended.is_set():
                        return
            except (UserError, OSError):
                time.sleep(REFRESH_SECONDS)

    with Live(view, screen=True, auto_refresh=False) as live:
        thread = threading.Thread(target=refresh, args=(live,), name="live view", daemon=True)
        thread.start()
        try:
            yield live.stop
        finally:
            ended.set()
            thread.join(2 * REFRESH_SECONDS)
