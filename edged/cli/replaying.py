"""What ``edged replay`` tells."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from edged import __version__
from edged.cli.options import print_json
from edged.errors import JobFailedError
from edged.replication.policy import interval
from edged.telemetry.journal import as_line
from edged.telemetry.replaying import Difference, Replayed, replay

SHOWN_CHARACTERS = 400
"""Of one effect, on a screen; ``--json`` has all of it."""


def tell(path: Path, *, as_json: bool) -> None:
    """Replay and print the outcome. Raises ``JobFailedError`` where the decisions differ."""
    found = replay(path, interval, __version__)
    print_json(_document(found)) if as_json else print("\n".join(_lines(found)))
    if found.difference is not None:
        raise JobFailedError(
            f"event {found.events} is decided otherwise: the journal was changed, or this program decides otherwise "
            "than the one that wrote it (or by chance: then it is a fault of edged; please report it with the journal)"
        )


def _document(found: Replayed) -> dict[str, Any]:
    difference = found.difference
    return {
        "lives": found.lives,
        "events": found.events,
        "left_out": found.left_out,
        "equal": difference is None,
        "remarks": list(found.remarks),
        "difference": None
        if difference is None
        else {name: getattr(difference, name) for name in Difference.__slots__},
    }


def _lines(found: Replayed) -> list[str]:
    lines = list(found.remarks)
    if found.left_out:
        lines.append(f"{found.left_out} events are left out: the journal lacks what came before them")
    lives = "" if found.lives == 1 else f" of {found.lives} lives"
    if found.difference is None:
        return [*lines, f"{found.events} events{lives} replayed, the same decisions"]
    first = found.difference
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(first.time))
    mine, theirs = _first_unequal(first)
    return [
        *lines,
        f"{found.events - 1} events{lives} alike; then {first.file} line {first.line} ({clock}):",
        f"event:    {_cut(first.event)}",
        f"recorded: {theirs}",
        f"replayed: {mine}",
    ]


def _first_unequal(difference: Difference) -> tuple[str, str]:
    """The first pair of effects that are not equal: replayed, recorded."""
    for mine, theirs in zip(difference.replayed, difference.recorded, strict=False):
        if as_line(mine) != as_line(theirs):
            return _cut(mine), _cut(theirs)
    shared = min(len(difference.replayed), len(difference.recorded))
    sides = (difference.replayed[shared:], difference.recorded[shared:])
    mine, theirs = (_cut(side[0]) if side else "nothing more" for side in sides)
    return mine, theirs


def _cut(document: Any) -> str:
    text = as_line(document)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"
