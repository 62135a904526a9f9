"""The ballot: term, vote and electorate in one file, on the disk before the next effect begins.

Written beside, synced, renamed, and the folder synced: after a crash at any moment the file is the old record or the
new one. A node that forgot its vote could vote twice in one term, and a term could have two leaders.

A full disk does not keep a node from voting: the record before last is kept as ``vote.spare``, and the next one is
written over it, in room that is taken already::

    vote.spare  <- the new record, in place       vote.json  -> also vote.old
    vote.spare  -> vote.json                      vote.old   -> vote.spare
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from edged.core.effects import SaveVote
from edged.core.ids import NodeId
from edged.core.messages import Ancestor, Electorate
from edged.errors import UNREADABLE, ConfigError
from edged.roles.pump import Table

ROOM_BYTES: Final = 4096
"""Records are filled up with blanks to a multiple of this, so that a longer one has room in a shorter one's place."""


class Ballot:
    """Keeps ``SaveVote`` records at ``path``."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path
        self._spare = path.with_suffix(".spare")
        self._old = path.with_suffix(".old")

    def table(self) -> Table:
        """Saving a vote."""
        return {SaveVote: self.save}

    def load(self) -> SaveVote | None:
        """The record of the last run; ``None`` in a new home. Raises ``ConfigError`` for a file that is not one."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            document = json.loads(text)
            electorate = document["electorate"]
            voted_for = document["voted_for"]
            return SaveVote(
                int(document["term"]),
                NodeId(voted_for) if voted_for is not None else None,
                None
                if electorate is None
                else Electorate(
                    str(electorate["lineage"]),
                    int(electorate["term"]),
                    int(electorate["number"]),
                    tuple(NodeId(voter) for voter in electorate["voters"]),
                    tuple(map(_ancestor, electorate.get("ancestors", ()))),
                ),
            )
        except UNREADABLE as error:
            raise ConfigError(
                f"{self._path} is damaged ({error}); restore it, or remove it if this node was never a voter"
            ) from error

    def save(self, effect: SaveVote) -> None:
        """Write the record; it is on the disk when this returns. Room for the next one is taken, too, if there is any.

        Raises ``ConfigError`` if the disk does not take it: the node then stops, without a word of what it has voted.
        """
        record = json.dumps(dataclasses.asdict(effect)).encode()
        record = record.ljust(-(-len(record) // ROOM_BYTES) * ROOM_BYTES)
        try:
            self._find_spare()
            self._write(record)
        except OSError as error:
            with suppress(OSError):
                self._spare.unlink(missing_ok=True)
            raise ConfigError(
                f"cannot write {self._path}: {error.strerror}; a node must not vote without remembering it, so it "
                "stops: make room (or the folder writable) and start it again"
            ) from error

        with suppress(OSError):
            if not self._spare.exists():
                self._fill_spare(record)

    def _find_spare(self) -> None:
        """Take up what a crash between two renamings has left. Never write over what is the record by another name."""
        if self._old.exists() and not self._spare.exists():
            self._old.rename(self._spare)
        if self._spare.exists() and self._spare.stat().st_nlink > 1:
            self._spare.unlink()
        self._old.unlink(missing_ok=True)

    def _fill_spare(self, record: bytes) -> None:
        with self._spare.open("r+b" if self._spare.exists() else "wb") as file:
            file.write(record)
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _write(self, record: bytes) -> None:
        self._fill_spare(record)
        with suppress(OSError):  # the first one; or a file system without links, where room is taken anew each time
            os.link(self._path, self._old)
        self._spare.replace(self._path)
        if self._old.exists():
            self._old.rename(self._spare)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _ancestor(document: Mapping[str, Any]) -> Ancestor:
    return Ancestor(
        str(document["lineage"]),
        int(document["term"]),
        int(document["number"]),
        tuple(NodeId(voter) for voter in document["voters"]),
    )
