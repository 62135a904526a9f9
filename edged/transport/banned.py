"""Who was expelled: kept in the home, so that a restart of the whole cluster lets nobody back in.

A node that was expelled itself notes that, too, and is refused at once when it is started again. Only the word of a
member counts for that: whoever answers at a door has proved nothing yet.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord
from edged.errors import UNREADABLE, ConfigError, MalformedError
from edged.transport.codec import compile_form
from edged.transport.private import read_private, write_private

FILE_NAME = "expelled.json"
MARK_NAME = "shut-out"


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
    except (*UNREADABLE, MalformedError) as problem:
        raise ConfigError(
            f"{path} is damaged; without it nodes that were expelled could join here: copy it from another node's "
            "home, or remove it and expel them again"
        ) from problem


def is_shut_out(home: Path, node: NodeId) -> bool:
    """Whether ``node``, which this home is for, was told that it is expelled."""
    return read_private(home / MARK_NAME) == node.encode()


def mark_shut_out(home: Path, node: NodeId) -> None:
    """Note that ``node``, which this home is for, was told that it is expelled; best effort: its door tells, too."""
    with suppress(ConfigError):
        write_private(home / MARK_NAME, node.encode())


def write_expelled(home: Path, records: Iterable[MemberRecord]) -> None:
    """Keep these records in the home. Raises ``ConfigError`` if it cannot be written."""
    pack = compile_form(MemberRecord).pack
    write_private(home / FILE_NAME, json.dumps([pack(record) for record in records]).encode() + b"\n")
