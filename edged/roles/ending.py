"""Why the last node of a home ended, for whoever looks when it does not run any more."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final

from edged.errors import UNREADABLE, ConfigError
from edged.transport.private import read_private, write_private

FILE_NAME: Final = "ended.json"


def note_end(home: Path, why: str) -> None:
    """Write down that the node ends now, and why. A disk that is full or gone is no trouble."""
    told = {"at": datetime.now().astimezone().isoformat(timespec="seconds"), "why": why}
    with suppress(ConfigError):
        write_private(home / FILE_NAME, json.dumps(told).encode() + b"\n")


def forget_end(home: Path) -> None:
    """Another node begins."""
    with suppress(OSError):
        (home / FILE_NAME).unlink(missing_ok=True)


def last_end(home: Path) -> str:
    """When and why the node of this home ended, in words; empty where it left as it was told to, or never ran."""
    try:
        told = json.loads(read_private(home / FILE_NAME) or b"")
        at, why = datetime.fromisoformat(told["at"]), " ".join(str(told["why"]).split())
    except (ConfigError, *UNREADABLE):
        return ""
    return f"the last one ended on {at:%Y-%m-%d at %H:%M:%S}: {why}"
