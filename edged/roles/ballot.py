"""The ballot: term, vote and electorate in one file, on the disk before the next effect begins.

Written as a temporary file, synced, renamed, and the folder synced: after a crash at any moment the file is the old
record or the new one. A node that forgot its vote could vote twice in one term, and a term could have two leaders.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edged.core.effects import SaveVote
from edged.core.ids import NodeId
from edged.core.messages import Ancestor, Electorate
from edged.errors import ConfigError
from edged.roles.pump import Table


class Ballot:
    """Keeps ``SaveVote`` records at ``path``."""

    def __init__(self, path: Path) -> None:
        """Nothing is read or written yet."""
        self._path = path

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
        except (ValueError, KeyError, TypeError) as error:
            raise ConfigError(
                f"{self._path} is damaged ({error}); restore it, or remove it if this node was never a voter"
            ) from error

    def save(self, effect: SaveVote) -> None:
        """Write the record; it is on the disk when this returns.

        Raises ``ConfigError`` if the disk does not take it: the node then stops, without a word of what it has voted.
        """
        partial = self._path.with_suffix(".partial")
        try:
            self._write(partial, effect)
        except OSError as error:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise ConfigError(
                f"cannot write {self._path}: {error.strerror}; a node must not vote without remembering it, so it "
                "stops: make room (or the folder writable) and start it again"
            ) from error

    def _write(self, partial: Path, effect: SaveVote) -> None:
        with partial.open("w", encoding="utf-8") as file:
            json.dump(dataclasses.asdict(effect), file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)
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
