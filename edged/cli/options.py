"""Options that several commands share."""

from __future__ import annotations

import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.compute.cores import compute_threads
from edged.config import home_of, resolve

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The node's folder (variable EDGED_HOME; default: the platform's data directory)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


def home(flag: Path | None) -> Path:
    """The home that a command works with."""
    return home_of(flag, os.environ)


def can_draw() -> bool:
    """Whether standard output is a terminal on which a live view can be drawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in {"dumb", "unknown"}


def threads_here(home: Path, flag: str | None) -> int:
    """With how many threads a command computes in its own process: as many as a node of this home would."""
    chosen = resolve(home, {"threads": flag}, os.environ)
    return compute_threads(next(setting.value for setting in chosen if setting.option.name == "threads"))


def print_json(value: Any) -> None:
    """Print one object a line, flushed; numbers that JSON does not know (NaN, infinities) become null."""
    sys.stdout.write(json.dumps(_known_to_json(value), ensure_ascii=False, allow_nan=False) + "\n")
    sys.stdout.flush()


def _known_to_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _known_to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_known_to_json(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def hide_key(key: str) -> None:
    """Begin again, in the same process, with the key as a variable, which is for the eyes of this user only.

    Arguments may be read by everyone on the device for as long as this process runs.
    """
    rest = iter(sys.orig_argv[1:])
    kept = [part for part in rest if not (part.startswith("--key=") or (part == "--key" and next(rest, "")))]
    if len(kept) < len(sys.orig_argv) - 1:
        os.environ["EDGED_KEY"] = key
        os.execv(sys.executable, [sys.orig_argv[0], *kept])  # noqa: S606 -- itself
