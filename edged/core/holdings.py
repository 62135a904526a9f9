"""What a node holds of one job: snapshots and replicas by layers and version, as plain values, within bounds.

::

    versions   32   48   64 | 80   96   112        2 committed, and at most 3 others; what is below the two goes with
    committed       48   64 |                      a commit, and the oldest of the others when there are too many

A version that an older plan reached is older than any that the newest plan reached, whatever their numbers: after a
roll-back the numbers come again.

The leader commits by what it was told, and that is old when it is heard. So what may be committed yet does not go for
something that comes later, be it newer or a copy of an older version that took its time: where copying is slower than
the snapshots, what comes is let go, until the leader has made the snapshots rarer (``protection.py``), which releases
those that do not fit any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Final

from edged.core.ids import Stamp
from edged.core.messages import Holding, HoldingKind
from edged.core.ondisk import OnDisk, Piece
from edged.core.origins import UNKNOWN, Origin, is_stale, origin_under
from edged.core.plan import Plan

COMMITTED_KEPT: Final = 2
"""How many committed versions stay."""

OTHERS_KEPT: Final = 3
"""How many versions stay besides."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One whole piece. ``stamp``: the newest plan under which it was taken or came, ``None``: found on disk.

    ``seconds``: how long copying it kept the compute thread. ``origin``: see ``origins.py``.
    """

    kind: HoldingKind
    stamp: Stamp | None
    seconds: float
    size_bytes: int
    origin: Origin = UNKNOWN


class Holdings:
    """The pieces of one job. ``committed`` are the newest committed versions, ascending, held here or not.

    ``plan`` is in force, and the leader may yet commit what was reached under it if ``every`` divides it, and the
    version with which it began: ``start``, where that is known. ``disk`` is what lies there.
    """

    def __init__(self) -> None:
        """Hold nothing."""
        self.committed: tuple[int, ...] = ()
        self.plan: Stamp | None = None
        self.start: int | None = None
        self.every = 1
        self.disk = OnDisk()
        self._begun: Plan | None = None
        self._pieces: dict[Piece, Entry] = {}

    def follow(self, plan: Stamp | None) -> None:
        """Another plan is in force; ``None``: stamps are counted anew."""
        self.plan, self.start = plan, None
        self._begun = None if plan is None else self._begun

    def begin(self, plan: Plan) -> tuple[int, ...]:
        """This plan of an asynchronous job is the newest; return the versions that it makes anew, which go."""
        if self._begun is not None and plan.stamp <= self._begun.stamp:
            return ()
        self._begun = plan
        self.disk.forget(plan.start, plan.origin)
        return self._drop([v for (_, _, v), held in self._pieces.items() if is_stale(plan, held.origin, v)])

    def keep(self, piece: Piece, held: Entry) -> tuple[int, ...]:
        """Hold one piece more; return the versions that must go for it."""
        if self._begun is not None and held.stamp is not None:
            origin = origin_under(self._begun, held.stamp, piece[2])
            if held.stamp < self._begun.stamp and is_stale(self._begun, origin, piece[2]):
                return (piece[2],)  # it has taken long to be copied
            held = replace(held, origin=origin)
        before = self._pieces.get(piece)
        if before is not None:
            held = replace(held, kind=min(held.kind, before.kind))
            if before.stamp != held.stamp:
                del self._pieces[piece]  # under this plan it is the latest
        self._pieces[piece] = held
        return self._drop(self._surplus())

    def commit(self, version: int) -> tuple[int, ...]:
        """``version`` is held by all who should; return the versions that go.

        A committed version above it was rolled back behind, and is one like any other again.
        """
        kept = sorted({*(v for v in self.committed if v <= version), version})[-COMMITTED_KEPT:]
        self.committed = tuple(kept)
        below = {v for v in self.versions() if v < kept[0]} if len(kept) == COMMITTED_KEPT else set()
        return self._drop([*below, *self._surplus(below)])

    def store(self, version: int) -> bool:
        """Note that what is in memory of a version goes to disk; return whether anything does now."""
        pieces = {piece: held.origin for piece, held in self._pieces.items() if piece[2] == version}
        whole = {piece: its for piece, its in pieces.items() if not any(_within(piece, one) for one in pieces)}
        return self.disk.write(version, whole)

    def origin(self, version: int) -> Origin:
        """Return which plan computed what is in memory of a version."""
        return max((held.origin for (_, _, v), held in self._pieces.items() if v == version), default=UNKNOWN)

    def versions(self) -> set[int]:
        """Return the versions of which anything is in memory."""
        return {version for _, _, version in self._pieces}

    def covers(self, first: int, last: int, version: int) -> bool:
        """Whether one piece has all these layers at this version."""
        return _covered(first, last, version, self._all())

    def wants(self, first: int, last: int, version: int) -> bool:
        """Whether a copy of these layers would add anything: memory has none, and it is not older than what stays."""
        oldest = self.committed[0] if len(self.committed) == COMMITTED_KEPT else 0
        return version >= oldest and not _covered(first, last, version, self._pieces)

    def covering(self, first: int, last: int) -> dict[int, Entry]:
        """Return the versions at which one piece has all these layers, ascending, with the best such piece.

        The best has come or was taken under the newest plan, and is quickest to read.
        """
        found: dict[int, Entry] = {}
        for (low, high, version), held in sorted(self._all().items(), key=lambda entry: (entry[0][2], _rank(entry[1]))):
            if low <= first and last <= high:
                found.setdefault(version, held)
        return found

    def listed(self) -> tuple[Holding, ...]:
        """Return everything that is held, as it is told to the leader."""
        pieces = sorted(self._all().items(), key=lambda entry: entry[0])
        return tuple(Holding(*piece, held.kind, held.origin) for piece, held in pieces)

    def check(self) -> None:
        """Assert the bounds."""
        others = self.versions() - set(self.committed)
        assert len(others) <= OTHERS_KEPT, f"{len(others)} versions besides the committed ones"
        assert list(self.committed) == sorted(self.committed)[-COMMITTED_KEPT:], "too much counts as committed"

    def _all(self) -> dict[Piece, Entry]:
        """Memory, and what lies on disk besides."""
        there = self.disk.sure().items()
        return {piece: Entry(HoldingKind.DISK, None, 0.0, 0, its) for piece, its in there} | self._pieces

    def _surplus(self, without: Collection[int] = ()) -> list[int]:
        """Return the versions that are too many besides the committed ones, and those that go anyway.

        What the leader may yet count on stays: then the latest to come goes, which the leader has not been told of.
        """
        others = sorted(self.versions() - {*self.committed, *without}, key=self._age)
        come = dict.fromkeys(v for (_, _, v), held in self._pieces.items() if held.stamp == self.plan)  # in that order
        pinned = [version for version in come if version in others and self._may_be_committed(version)]
        others = [version for version in others if version not in pinned] + pinned[::-1]
        return others[: max(0, len(others) - OTHERS_KEPT)]

    def _may_be_committed(self, version: int) -> bool:
        if self.plan is None or version <= max(self.committed, default=-1):
            return False
        ours = {v for (_, _, v), held in self._pieces.items() if held.stamp == self.plan}
        begun = min(ours, default=-1) if self.start is None else self.start
        return version in ours and (version == begun or version % self.every == 0)

    def _age(self, version: int) -> tuple[tuple[int, int], int]:
        """The newest plan that had a part in a version, then the version: the smallest is the first to go."""
        stamps = [held.stamp for (_, _, v), held in self._pieces.items() if v == version and held.stamp is not None]
        return max(((stamp.term, stamp.version) for stamp in stamps), default=(-1, -1)), version

    def _drop(self, versions: list[int]) -> tuple[int, ...]:
        gone = set(versions)
        self._pieces = {piece: held for piece, held in self._pieces.items() if piece[2] not in gone}
        return tuple(sorted(gone))


def _within(piece: Piece, other: Piece) -> bool:
    """Whether ``other`` has all these layers and more: then memory holds them once (``snapshots.py``)."""
    return piece != other and other[0] <= piece[0] and piece[1] <= other[1]


def _rank(held: Entry) -> tuple[int, int, int]:
    term, version = (held.stamp.term, held.stamp.version) if held.stamp is not None else (-1, -1)
    return -term, -version, int(held.kind)


def _covered(first: int, last: int, version: int, pieces: Iterable[Piece]) -> bool:
    return any(v == version and low <= first and last <= high for low, high, v in pieces)
