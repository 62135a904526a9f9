"""Who was expelled: kept in the home, so that a restart of the whole cluster lets nobody back in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from edged.core.messages import MemberRecord
from edged.errors import ConfigError, MalformedError
from edged.transport.codec import compile_form
from edged.transport.private import read_private, write_private

FILE_NAME = "expelled.json"


def read_expelled(home: Path) -> tuple[MemberRecord, ...]:
    """The records kept in this home.

    Raises ``ConfigError`` if the file is damaged: it is there to keep somebody out.
    """
    path = home / FILE_NAME
    data = read_private(path)
    if data is None:
        return ()
    try:
        return tuple(map(compile_form(MemberRecord).unpack, list(json.loads(data))))
    except (ValueError, TypeError, MalformedError) as problem:
        raise ConfigError(
            f"{path} is damaged; without it nodes that were expelled could join here: copy it from another node's "
            "home, or remove it and expel them again"
        ) from problem


def write_expelled(home: Path, records: Iterable[MemberRecord]) -> None:
    """Keep these records in the home. Raises ``ConfigError`` if it cannot be written."""
    pack = compile_form(MemberRecord).pack
    write_private(home / FILE_NAME, json.dumps([pack(record) for record in records]).encode() + b"\n")
