"""What one node has of one job on its disk, and which versions must stay there: see ``storing.py``.

Three versions at most: the one that was written last, and two that stay until the leader names one that is stored.
"""

from __future__ import annotations

from collections.abc import Iterable

from edged.core.messages import Holding

Piece = tuple[int, int, int]
"""(first layer, last layer, version); the layers are inclusive."""


class OnDisk:
    """``pieces`` lie on the disk; ``staying`` are versions of which what is there must not go, ascending."""

    def __init__(self) -> None:
        """Nothing is there."""
        self.pieces: frozenset[Piece] = frozenset()
        self.staying: tuple[int, ...] = ()
        self._writing: set[Piece] = set()
        self._failed: dict[Piece, str] = {}

    def found(self, holdings: Iterable[Holding]) -> None:
        """These were here before this process: one of their versions may be all that everybody has."""
        found = {(holding.first_layer, holding.last_layer, holding.version) for holding in holdings}
        self.pieces |= found
        self.stay(*(version for *_, version in found))

    def stay(self, *versions: int) -> None:
        """These versions must stay besides: of several, the oldest, which most have, and the newest."""
        several = sorted({*self.staying, *versions})
        self.staying = tuple(dict.fromkeys((*several[:1], *several[-1:])))

    def stored(self, version: int) -> None:
        """This version lies on the disks of all who should have it: what is older may go.

        What is newer was rolled back behind, for want of somebody who may come back with the rest of it.
        """
        self.staying = tuple(sorted({version, *(each for each in self.staying[-1:] if each > version)}))

    def write(self, pieces: Iterable[Piece]) -> bool:
        """Note that these are written; return whether any was neither here, nor on its way, nor tried in vain."""
        due = {*pieces} - self.pieces - self._writing - self._failed.keys()
        self._writing |= due
        return bool(due)

    def written(self, version: int, problem: str) -> None:
        """The disk is through with a version: it lies there, and of others only what must stay; or nothing changed."""
        done = {piece for piece in self._writing if piece[2] == version}
        self._writing -= done
        if problem:
            self._failed = dict.fromkeys(done, problem)
        else:
            kept = {version, *self.staying}
            self.pieces = frozenset(piece for piece in self.pieces if piece[2] in kept) | done

    def outcome(self, version: int) -> str | None:
        """Return how writing a version went: empty if it lies here, else the problem; ``None``: that is open."""
        if any(piece[2] == version for piece in self._writing):
            return None
        problem = next((why for piece, why in self._failed.items() if piece[2] == version), None)
        return "" if problem is None and any(piece[2] == version for piece in self.pieces) else problem
