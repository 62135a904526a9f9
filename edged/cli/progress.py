"""Follows a job for a person: a bar on a terminal, a line now and then elsewhere; all on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from edged.core.plan import layer_numbers
from edged.tui import cells, words

QUIET_SECONDS = 5.0
REASON_WIDTH = 40
"""Beside the bar there is room for the beginning of a reason; the whole of it stands above."""

KEEPING = "`--output FILE.safetensors`"
"""What keeps the weights of a job that is trained without a node, whose home would have them."""


class Follower(Protocol):
    """Shows the objects of ``edged train --json`` to a person."""

    def show(self, event: Mapping[str, Any]) -> None:
        """Take one object."""


@contextmanager
def following(first: str = "waiting for its turn") -> Iterator[Follower]:
    """A bar if standard error is a terminal, else lines. ``first``: what the bar says before it is told anything."""
    console = Console(stderr=True, highlight=False)
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[pace]}"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console) as progress:
        yield _Bar(progress, first)


def in_words(event: Mapping[str, Any]) -> str:
    """One line for an event that is not a step."""
    kind = event["event"]
    if kind == "started":
        numbers = f"{event['layers']} layers, {words.count(event['parameters'])} parameters, {event['steps']} steps"
        return f"{event['name']}: {numbers} (job {event['job']})"
    if kind == "plan":
        hops = event["routes"][0]["hops"] if event["routes"] else []
        road = " ─▶ ".join(f"{hop['name']} {layer_numbers(hop['first_layer'], hop['last_layer'])}" for hop in hops)
        return f"plan {event['term']}.{event['version']} ({event['strategy']}): {road}. {event['reason']}"
    if kind == "eval":
        metrics = "  ".join(f"{name} {value:.4f}" for name, value in event["metrics"].items())
        return f"epoch {event['epoch'] + 1}: evaluation loss {words.loss(event['loss'], 4)}  {metrics}"
    if kind == "finished":
        took = words.duration(event["seconds"])
        loss = "" if event["loss"] is None else f", loss {words.loss(event['loss'], 4)}"
        kept = "the weights:" if event["output"] else f"the weights were not kept, {KEEPING} keeps them"
        return f"finished {event['steps']} steps in {took}{loss}; {kept}"
    if kind == "waiting":
        return str(event["reason"])
    if kind in {"recovery", "decision"}:
        return str(event["text"])
    if kind == "failed":
        return f"failed: {event['reason']}"
    return f"{kind}: " + ", ".join(f"{key} {value}" for key, value in event.items() if key != "event")


def is_news(event: Mapping[str, Any]) -> bool:
    """Whether a person wants to hear of it: that a plan was looked at and kept is told by the live view."""
    return event["event"] != "decision" or bool(event["changes"])


class _Lines:
    def __init__(self) -> None:
        self._last = 0.0

    def show(self, event: Mapping[str, Any]) -> None:
        if not is_news(event):
            return
        if event["event"] != "step":
            print(in_words(event), file=sys.stderr, flush=True)
        elif time.monotonic() - self._last > QUIET_SECONDS:
            self._last = time.monotonic()
            pace = words.count(event["samples_per_second"])
            print(
                f"step {event['step']}  loss {words.loss(event['loss'], 4)}  {pace} samples/s",
                file=sys.stderr,
                flush=True,
            )


class _Bar:
    def __init__(self, progress: Progress, first: str) -> None:
        self._progress = progress
        self._task = progress.add_task(first, total=None, pace="")

    def show(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "step":
            pace = f"loss {words.loss(event['loss'], 4)}  {words.count(event['samples_per_second'])} samples/s"
            self._progress.update(
                self._task, completed=event["step"], description=f"epoch {event['epoch'] + 1}", pace=pace
            )
            return
        if event["event"] == "started":
            self._progress.update(self._task, total=event["steps"])
        elif event["event"] == "plan":
            self._progress.update(self._task, description="preparing", pace="")
        elif event["event"] == "waiting":
            self._progress.update(self._task, description="waiting", pace=cells.shorten(event["reason"], REASON_WIDTH))
        if is_news(event):
            self._progress.console.print(in_words(event))
