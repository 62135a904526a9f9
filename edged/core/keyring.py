"""A new cluster key for everyone who is there.

::

    a node       RotateRequest(key)  --->  leader        numbers it: (term, number)
    leader       NewKey(term, number, key)  --->  every member, again each second until it has answered
    a member     takes the key (on its disk before the answer), KeyTaken(term, number)  --->  leader
    a node       NewKey(term, number, key)  --->  every member, the same: whoever has this very key answers

The last line is for the node's user, who wants to know who has the key: nobody takes a key from a node that does not
lead. The newest number wins; nodes that have a newer one than the leader tell it, and believe it from nobody else. So a
leader that dies half-way leaves no two halves: whoever has the new key brings it to the next leader. A member that is
away, and comes back without a new process, gets it then; one that was started anew has to be given it by hand, since
the door does not know it any more.

The token is handled as bytes here, and nowhere shown: the journal writes bytes as their length and a short digest.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import Effect, ExchangeKey, Log, SendMessage
from edged.core.events import Event, KeyRotateAsked, LeaderChanged, MemberChanged, MembersCame, MessageReceived
from edged.core.ids import NodeId
from edged.core.messages import KeyTaken, MemberState, NewKey, RotateRequest

REPEAT_SECONDS = 1.0


class Keyring:
    """The newest key that was handed out while this process ran, and who is known to have it."""

    def __init__(self, node: NodeId, name_of: Callable[[NodeId], str]) -> None:
        """No key has been handed out. ``name_of`` is for the log."""
        self._node = node
        self._name_of = name_of
        self._leader: NodeId | None = None
        self._term = 0
        self._newest: NewKey | None = None
        self._wanted: bytes = b""
        self._asked: bytes = b""
        self._present: set[NodeId] = set()
        self._have: set[NodeId] = set()
        self._repeat_at: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then say what is due."""
        effects: list[Effect] = []
        match event:
            case KeyRotateAsked(key):
                self._wanted, self._asked, self._repeat_at = key, key, now
            case LeaderChanged(leader, term):
                self._leader, self._term = leader, term
                self._have = set()
                self._repeat_at = now
            case MemberChanged() | MembersCame():
                for record in event.records:
                    self._member_changed(record.node, now, present=record.state <= MemberState.SUSPECT)
            case MessageReceived(sender, RotateRequest(key)) if self._leader == self._node:
                effects += self._hand_out(sender, key, now)
            case MessageReceived(sender, NewKey() as key):
                effects += self._offered(sender, key, now)
            case MessageReceived(sender, KeyTaken(term, number)):
                if self._newest is not None and (term, number) == (self._newest.term, self._newest.number):
                    self._have.add(sender)
            case _:
                pass
        return effects + self._remind(now)

    def taken(self, key: bytes) -> frozenset[NodeId] | None:
        """The other members that have said that they have this key; ``None`` if it is not the newest one here."""
        newest = self._newest
        return frozenset(self._have) if newest is not None and newest.key == key else None

    def deadline(self) -> float | None:
        """When something is to be said again."""
        return self._repeat_at

    def check(self) -> None:
        """Assert the invariants."""
        assert self._node not in self._present, "a node hands no key to itself"

    def _member_changed(self, node: NodeId, now: float, *, present: bool) -> None:
        if node == self._node:
            return
        if present and node not in self._present:
            self._present.add(node)
            self._repeat_at = now if self._newest is not None else self._repeat_at
        elif not present:
            self._present.discard(node)
            self._have.discard(node)

    def _hand_out(self, asker: NodeId, key: bytes, now: float) -> list[Effect]:
        """A request is repeated until its key has come round."""
        newest = self._newest
        if newest is not None and newest.key == key:
            return []
        same_term = newest is not None and newest.term == self._term
        number = newest.number + 1 if newest is not None and same_term else 1
        text = f"{self._name_of(asker)} exchanges the cluster key; every member that is there gets the new one"
        return [Log("info", "membership", text), *self._take(NewKey(max(self._term, 1), number, key), now)]

    def _offered(self, sender: NodeId, key: NewKey, now: float) -> list[Effect]:
        newest = self._newest
        effects: list[Effect] = []
        if self._leader not in {sender, self._node} and self._newest != key:
            return []
        if newest is None or (newest.term, newest.number) < (key.term, key.number):
            effects += self._take(key, now)
        if self._newest is not None and (self._newest.term, self._newest.number) == (key.term, key.number):
            self._have.add(sender)
            effects.append(SendMessage(sender, KeyTaken(key.term, key.number)))
        return effects

    def _take(self, key: NewKey, now: float) -> list[Effect]:
        self._newest, self._have, self._repeat_at = key, set(), now
        return [ExchangeKey(key.key)]

    def _remind(self, now: float) -> list[Effect]:
        if self._repeat_at is None or now < self._repeat_at:
            return []
        newest = self._newest
        if newest is not None and newest.key == self._wanted:
            self._wanted = b""
        effects: list[Effect] = []
        if self._wanted and self._leader is not None:
            effects.append(SendMessage(self._leader, RotateRequest(self._wanted)))
        lacking: set[NodeId] = set()
        if newest is not None:
            everyone = self._leader == self._node or newest.key == self._asked
            heirs = self._present if everyone else self._present & {self._leader}
            lacking = heirs - self._have
            effects += [SendMessage(node, newest) for node in sorted(lacking)]
        self._repeat_at = now + REPEAT_SECONDS if self._wanted or lacking else None
        return effects
