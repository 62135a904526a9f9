"""The member list of one node: which record overrides which, and whom to ping or tell next."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord, MemberState


def overrides(new: MemberRecord, old: MemberRecord) -> bool:
    """Whether ``new`` replaces ``old``.

    A node that was expelled stays so; else a later process, then a higher incarnation, a graver state, a proof.
    """
    return _weight(new) > _weight(old)


def _weight(record: MemberRecord) -> tuple[bool, int, int, MemberState, bool]:
    return record.expelled, record.boot, record.incarnation, record.state, record.proven


def is_present(record: MemberRecord) -> bool:
    """Whether the member takes part: alive, or suspected of not being so."""
    return record.state <= MemberState.SUSPECT


class Roster:
    """All records, and a shuffled ring of the *other* members that are present.

    The ring is walked round robin, so every member is pinged within one round (SWIM, section 4.3); it is shuffled
    again after each round. A newcomer is put in at a random place.
    """

    __slots__ = ("_cursor", "_rng", "_self", "records", "ring")

    def __init__(self, own: MemberRecord, rng: Random) -> None:
        """Know only this node itself."""
        self.records: dict[NodeId, MemberRecord] = {own.node: own}
        self.ring: list[NodeId] = []
        self._self = own.node
        self._rng = rng
        self._cursor = 0

    def __len__(self) -> int:
        """Number of present members, this node included."""
        return len(self.ring) + 1

    def start(self, known: Iterator[MemberRecord]) -> None:
        """Take in ``known`` members at once, cheaper than one by one."""
        for record in known:
            if record.node not in self.records:
                self.records[record.node] = record
                if is_present(record):
                    self.ring.append(record.node)
        self._rng.shuffle(self.ring)

    def put(self, record: MemberRecord) -> None:
        """Store ``record`` and keep the ring in step with its state."""
        old = self.records.get(record.node)
        self.records[record.node] = record
        if record.node == self._self:
            return
        was_present = old is not None and is_present(old)
        if is_present(record) and not was_present:
            place = int(self._rng.random() * (len(self.ring) + 1))
            self.ring.insert(place, record.node)
            self._cursor += place < self._cursor
        elif was_present and not is_present(record):
            place = self.ring.index(record.node)
            del self.ring[place]
            self._cursor -= place < self._cursor

    def forget(self, node: NodeId) -> None:
        """Remove a departed member altogether."""
        record = self.records.pop(node)
        assert not is_present(record), "only departed members are forgotten"

    def next_target(self) -> NodeId | None:
        """The next member to ping, or ``None`` where this node is alone."""
        if not self.ring:
            return None
        if self._cursor >= len(self.ring):
            self._rng.shuffle(self.ring)
            self._cursor = 0
        self._cursor += 1
        return self.ring[self._cursor - 1]

    def some(self, count: int, without: NodeId | None = None) -> list[NodeId]:
        """Up to ``count`` different present members, by chance, without ``without``."""
        ring = self.ring
        size = len(ring)
        if size <= count + 1:
            return self._few(count, without)
        chosen: list[NodeId] = []
        while len(chosen) < count:
            node = ring[int(self._rng.random() * size)]
            if node != without and node not in chosen:
                chosen.append(node)
        return chosen

    def _few(self, count: int, without: NodeId | None) -> list[NodeId]:
        nodes = [node for node in self.ring if node != without]
        self._rng.shuffle(nodes)
        return nodes[:count]

    def check(self) -> None:
        """Assert that the ring holds exactly the other present members, each once."""
        present = {n for n, record in self.records.items() if is_present(record) and n != self._self}
        assert len(self.ring) == len(present), "the ring holds a member twice or lacks one"
        assert set(self.ring) == present, "the ring and the records differ"
        assert 0 <= self._cursor <= len(self.ring), "the ring's cursor is out of it"
