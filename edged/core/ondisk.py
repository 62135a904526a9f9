"""What one node has of one job on its disk, and which versions must stay there: see ``storing.py``.

Three versions at most: the one that was written last, and two that stay until the leader names one that is stored.
One write of a version at a time: what is to be written of it besides waits, or nobody could say what has been written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edged.core.messages import Holding
from edged.core.origins import UNKNOWN, Origin

Piece = tuple[int, int, int]
"""(first layer, last layer, version); the layers are inclusive."""


class OnDisk:
    """``pieces`` lie on the disk, with which plan computed them: of one version, the same.

    ``staying`` are versions of which what is there must not go, ascending.
    """

    def __init__(self) -> None:
        """Nothing is there."""
        self.pieces: Mapping[Piece, Origin] = {}
        self.staying: tuple[int, ...] = ()
        self._writing: dict[Piece, Origin] = {}
        self._spared: dict[int, tuple[int, ...]] = {}  # version on its way -> which were to stay when that began
        self._later: dict[Piece, Origin] = {}  # to be written as soon as the rest of their version is through
        self._asked = -1  # the version that was to be written last
        self._failed: dict[Piece, str] = {}

    def found(self, holdings: Iterable[Holding]) -> None:
        """These were here before this process: one of their versions may be all that everybody has."""
        found = {(one.first_layer, one.last_layer, one.version): one.origin for one in holdings}
        self.pieces = {**self.pieces, **found}
        self.stay(*(version for *_, version in found))

    def sure(self) -> Mapping[Piece, Origin]:
        """What lies there whatever the disk is just doing: a write that is through has taken what it need not spare."""
        if not self._writing:
            return self.pieces
        coming = {version for *_, version in self._writing}
        spared = set.intersection(*({*self._spared[version]} for version in coming))
        kept = {*spared, *(coming if len(coming) == 1 else ())}
        going = {(piece[2], its) for piece, its in self._writing.items()}
        return {
            piece: its
            for piece, its in self.pieces.items()
            if piece[2] in kept and (piece[2] not in coming or (piece[2], its) in going)
        }

    def lost(self, first: int, last: int, version: int) -> None:
        """Whatever has these layers at this version cannot be read."""
        self.pieces = {
            (low, high, v): origin
            for (low, high, v), origin in self.pieces.items()
            if not (low <= first and last <= high and v == version)
        }

    def forget(self, above: int, origin: Origin) -> None:
        """What lies there above this version counts no more: other versions of these numbers are made now.

        Nor does what another plan than ``origin`` computed of this version itself.
        """
        self.pieces = {
            piece: its
            for piece, its in self.pieces.items()
            if piece[2] < above or (piece[2] == above and (its == origin or UNKNOWN in {its, origin}))
        }

    def stay(self, *versions: int) -> None:
        """These versions must stay besides: of several, the oldest, which most have, and the newest."""
        several = sorted({*self.staying, *versions})
        self.staying = tuple(dict.fromkeys((*several[:1], *several[-1:])))

    def stored(self, version: int) -> None:
        """This version lies on the disks of all who should have it: what is older may go.

        What is newer was rolled back behind, for want of somebody who may come back with the rest of it.
        """
        self.staying = tuple(sorted({version, *(each for each in self.staying[-1:] if each > version)}))

    def write(self, version: int, pieces: Mapping[Piece, Origin]) -> bool:
        """Note that these are to be written; return whether any is to be now.

        None is that is here, or on its way, or was tried in vain. See ``written`` for what has to wait.
        """
        there = self.pieces.items() | self._writing.items() | self._later.items()
        due = {piece: its for piece, its in pieces.items() if (piece, its) not in there and piece not in self._failed}
        if not due:
            return False
        self._failed = {piece: why for piece, why in self._failed.items() if piece[2] in {self._asked, version}}
        self._asked = version
        if any(piece[2] == version for piece in self._writing):
            self._later |= due
            return False
        self._writing |= due
        self._spared[version] = self.staying
        return True

    def forgive(self, version: int) -> None:
        """What could not be written of this version may be tried again: there may be room now."""
        self._failed = {piece: why for piece, why in self._failed.items() if piece[2] != version}

    def written(self, version: int, problem: str) -> bool:
        """The disk is through with a version: it lies there, and of others only what it spared; or nothing changed.

        Return whether the version is to be written once more, with what had to wait.
        """
        done = {piece: its for piece, its in self._writing.items() if piece[2] == version}
        later = {piece: its for piece, its in self._later.items() if piece[2] == version}
        self._writing = {piece: its for piece, its in self._writing.items() if piece not in done}
        self._later = {piece: its for piece, its in self._later.items() if piece not in later}
        spared = self._spared.pop(version, ())
        if problem:
            self._failed |= dict.fromkeys(done, problem)
        elif done:
            kept = {version, *spared}
            others = {*done.values()}
            stay = {p: its for p, its in self.pieces.items() if p[2] in kept and (p[2] != version or its in others)}
            self.pieces = {**stay, **done}
        if self._asked != version:
            self._failed |= dict.fromkeys(later, "another version is written instead")
            return False
        self._writing |= later
        if later:
            self._spared[version] = self.staying
        return bool(later)

    def under_way(self, version: int) -> bool:
        """Whether anything of this version is yet to be written."""
        return any(piece[2] == version for piece in (*self._writing, *self._later))

    def outcome(self, version: int) -> str | None:
        """Return how writing a version went: empty if it lies here, else the problem; ``None``: that is open."""
        if self.under_way(version):
            return None
        problem = next((why for piece, why in self._failed.items() if piece[2] == version), None)
        return "" if problem is None and any(piece[2] == version for piece in self.pieces) else problem
