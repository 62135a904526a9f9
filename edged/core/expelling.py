"""Shutting a node out for good: the order finds its way to the leader, whose mark then spreads with the member list.

The mark (``MemberRecord.expelled``) wins over every incarnation and every boot, so it needs no agreement: once it is on
one list, it comes to be on all. The leader sets it, so that one node has the word; a leader cannot be asked to expel
itself, so who wants that sets the mark on its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edged.core.effects import Effect, Log, SendMessage
from edged.core.events import Event, ExpelAsked, LeaderChanged, MessageReceived
from edged.core.ids import NodeId
from edged.core.messages import ExpelOrder, Gossip, MemberRecord, MemberState

EXPELLED = (
    "this node was expelled from the cluster and its identity stays out: to bring the device back, make its home anew "
    "and join with the cluster's key"
)
"""What its user is told, whoever notices first."""

REPEAT_SECONDS = 1.0
"""An order is repeated this often until the mark is seen."""


class Expelling:
    """The orders that this node's user has given and that have not been carried out yet."""

    def __init__(self, node: NodeId, members: Mapping[NodeId, MemberRecord]) -> None:
        """``members`` is the live member list, owned by membership."""
        self._node = node
        self._members = members
        self._leader: NodeId | None = None
        self._wanted: list[NodeId] = []
        self._repeat_at: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then say what is due."""
        effects: list[Effect] = []
        match event:
            case ExpelAsked(node):
                effects += self._asked(node, now)
            case LeaderChanged(leader):
                self._leader = leader
                self._repeat_at = now if self._wanted else None
            case MessageReceived(_, ExpelOrder(node)) if self._leader == self._node and node != self._node:
                effects += self._mark(node)
            case _:
                pass
        return effects + self._remind(now)

    def deadline(self) -> float | None:
        """When an order is to be repeated."""
        return self._repeat_at

    def check(self) -> None:
        """Assert the invariants."""
        assert bool(self._wanted) == (self._repeat_at is not None), "an order that is never repeated"

    def _asked(self, node: NodeId, now: float) -> list[Effect]:
        if node not in self._members or node == self._node:
            return [
                Log("warning", "membership", f"node {node} cannot be expelled: it is not on the list of the others")
            ]
        if node not in self._wanted:
            self._wanted.append(node)
        self._repeat_at = now
        return []

    def _remind(self, now: float) -> list[Effect]:
        self._wanted = [node for node in self._wanted if node in self._members and not self._members[node].expelled]
        if not self._wanted:
            self._repeat_at = None
            return []
        if self._repeat_at is None or now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS
        effects: list[Effect] = []
        for node in self._wanted:
            if self._leader in {node, self._node}:
                effects += self._mark(node)
            elif self._leader is not None:
                effects.append(SendMessage(self._leader, ExpelOrder(node)))
        return effects

    def _mark(self, node: NodeId) -> list[Effect]:
        """Tell membership, as if somebody had gossiped it."""
        record = self._members.get(node)
        if record is None or record.expelled:
            return []
        marked = replace(record, state=MemberState.DEAD, accusers=(), proven=True, expelled=True)
        return [SendMessage(self._node, Gossip((marked,)))]
