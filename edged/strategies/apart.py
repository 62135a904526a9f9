"""Who can work together where some cannot reach each other: sets of members, and their order along a route.

Neighbours on a route exchange activations and gradients, and everyone exchanges with the source; where a job's nodes
agree on each update, everyone exchanges with everyone. Members of no pair can stand between those of one, so leaving
them out never helps: the sets worth trying are all members but some of the pairs'.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord

MOST = 8
"""So many members of pairs are tried in all ways; of more, those with the most pairs are left out at once."""

Apart = tuple[tuple[NodeId, NodeId], ...]
"""Pairs of nodes that cannot reach each other."""


class Division:
    """The pairs, as one job's plan has to mind them."""

    def __init__(self, spec: JobSpec, apart: Apart) -> None:
        """``apart``: pairs, in any order."""
        self._source = spec.source
        self._pairs = frozenset(frozenset(pair) for pair in apart)
        self._all_talk = spec.clips or spec.on_nan == "skip"

    def companies(self, records: Sequence[MemberRecord], most: int) -> Iterator[list[MemberRecord]]:
        """Sets of at most ``most`` members that can work together, the largest first.

        ``records`` are in the order of preference, and so is every set.
        """
        reached = [record for record in records if not self._between(self._source, record.node)]
        torn = [record for record in reached if self._foes(record, reached)]
        torn.sort(key=lambda record: self._foes(record, reached))
        hopeless, torn = torn[MOST:], torn[:MOST]
        torn.sort(key=lambda record: -reached.index(record))
        for count in range(len(torn) + 1):
            for gone in combinations(torn, count):
                company = [record for record in reached if record not in gone and record not in hopeless][:most]
                if company and self.chain(company) is not None:
                    yield company

    def chain(self, records: Sequence[MemberRecord]) -> tuple[MemberRecord, ...] | None:
        """The order nearest to the given one in which no neighbours are a pair; ``None`` if there is none."""
        if not self._pairs:
            return tuple(records)
        if self._all_talk:
            return None if any(self._foes(record, records) for record in records) else tuple(records)

        order = self._after(-1, frozenset(range(len(records))), records, set())
        return None if order is None else tuple(records[each] for each in order)

    def allows(self, order: Sequence[MemberRecord]) -> bool:
        """Whether these can work together in this order."""
        if not self._pairs:
            return True
        if any(self._between(self._source, record.node) for record in order):
            return False
        pairs = combinations(order, 2) if self._all_talk else pairwise(order)
        return not any(self._between(one.node, other.node) for one, other in pairs)

    def foes_of(self, record: MemberRecord, records: Sequence[MemberRecord]) -> list[str]:
        """Names of those that this member cannot reach."""
        return [other.name for other in records if self._between(record.node, other.node)]

    def _after(
        self,
        last: int,
        left: frozenset[int],
        records: Sequence[MemberRecord],
        dead_ends: set[tuple[int, frozenset[int]]],
    ) -> tuple[int, ...] | None:
        """The first way through those who are ``left``, behind ``last`` (-1: nobody)."""
        if not left:
            return ()
        if (last, left) in dead_ends:
            return None
        for each in sorted(left):
            if last < 0 or not self._between(records[last].node, records[each].node):
                rest = self._after(each, left - {each}, records, dead_ends)
                if rest is not None:
                    return (each, *rest)
        dead_ends.add((last, left))
        return None

    def _foes(self, record: MemberRecord, records: Sequence[MemberRecord]) -> int:
        return len(self.foes_of(record, records))

    def _between(self, one: NodeId, other: NodeId) -> bool:
        return bool(self._pairs) and frozenset((one, other)) in self._pairs
