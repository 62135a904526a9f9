"""Which version all disks are to have in common, so that power may fail everywhere at once: the leader's side.

Disks are unequally fast, and each has room for few versions. If each wrote what it could, there might never be one that
all have. So they write the same version, one at a time, and keep the one before until the leader has told that the new
one is *stored*: it lies on the disks of all who hold it.

::

    storing 16          every holder: StoreHeld(16), which keeps the version stored before ──Stored(16)──> leader
    stored 16           every holder may let go of what is older
    storing 64          the newest that is committed by now

A disk that is full or broken says so, and one that takes very long is not waited for, if every layer of that version
lies on somebody else's: these have two or three versions, and go on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from edged.core.ids import NodeId

LATE_SECONDS: Final = 60.0
"""A disk that has not written a version after this long is not waited for where others have all its layers."""

Layers = tuple[int, int]
"""First and last layer, inclusive."""


class Storing:
    """``version`` is being written by its keepers (-1: none is), ``stored`` is on their disks (-1: none known yet)."""

    def __init__(self) -> None:
        """Nothing is being written, and it is not known what was."""
        self.version = self.stored = -1
        self._last = -1  # the newest that was begun
        self._keepers: tuple[AbstractSet[NodeId], ...] = ()
        self._done: set[NodeId] = set()
        self._failed: set[NodeId] = set()
        self._late_at = 0.0

    def go_on(self, stored: int) -> None:
        """An earlier leader of this plan has told that this version is stored."""
        self.stored = self._last = stored

    def begin(self, version: int, keepers: Mapping[Layers, AbstractSet[NodeId]], now: float) -> None:
        """Let a committed version be written by those who hold it, if none is being written and this one is news."""
        if self.version < 0 and version > self._last and keepers:
            self.version = self._last = version
            self._keepers = tuple(keepers.values())
            self._done, self._failed, self._late_at = set(), set(), now + LATE_SECONDS

    def hear(self, node: NodeId, version: int, problem: str) -> None:
        """A node has written what it holds of a version, or could not."""
        if version == self.version:
            (self._failed if problem else self._done).add(node)

    def look(self, present: Collection[NodeId], now: float) -> None:
        """See whether the version is stored, or never will be."""
        if self.version < 0:
            return
        waiting = frozenset().union(*self._keepers) & set(present) - self._done - self._failed
        whole = all(keepers & self._done for keepers in self._keepers)
        if whole and (not waiting or now >= self._late_at):
            self.stored = self.version
        elif waiting:
            return
        self.version = -1
