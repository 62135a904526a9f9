"""Which copies of a node's own layers are on their way to whom, under one plan.

A copy travels behind everything else and is not acknowledged to the sender: the holder tells the leader, and the leader
commits, and tells who holds it. So a copy goes again when the connection is known to have broken under it, when the
holder is another process now, and when the leader has not named the holder for long: a process that has just begun
refuses what it has not heard of yet.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from edged.core.effects import Effect, SendHeld
from edged.core.ids import NodeId
from edged.core.messages import Committed, Start

RESEND_SECONDS: Final = 2.0
"""What is known to be lost is sent again so much later."""

DOUBT_SECONDS: Final = 30.0
"""What was sent and is not known to be held is sent again so much later, each time twice as much."""

Layers = tuple[int, int]
"""First and last layer, inclusive."""


class Sending:
    """The holders of one plan, and what each was sent last. ``start`` is the newest word on who they are."""

    def __init__(self, start: Start) -> None:
        """Nothing has been sent yet."""
        self.start = start
        self.resend_at: float | None = None
        self._sent: dict[tuple[NodeId, Layers], int] = {}
        self._lost: set[tuple[NodeId, Layers]] = set()
        self._doubted: set[tuple[NodeId, Layers]] = set()
        self._doubt = DOUBT_SECONDS

    def follow(self, start: Start) -> None:
        """The leader has said again, or anew, who the holders are."""
        self.start = start
        self._sent = {key: version for key, version in self._sent.items() if key[0] in start.holders}

    def due(self, newest: Mapping[Layers, int], gone: Collection[NodeId], now: float) -> list[Effect]:
        """Send the ``newest`` versions to those who were not sent them and are not ``gone``."""
        if self.resend_at is not None and now >= self.resend_at:
            self._doubt *= 1 if self._lost else 2
            for key in self._lost or self._doubted:
                self._sent.pop(key, None)
            self._lost, self.resend_at = set(), None
        effects: list[Effect] = []
        for holder in self.start.holders:
            for layers, version in newest.items():
                if holder not in gone and self._sent.get((holder, layers), -1) < version:
                    self._sent[holder, layers] = version
                    self._doubted.add((holder, layers))
                    self.resend_at = now + self._doubt
                    effects.append(SendHeld(holder, self.start.stamp, *layers, version, replica=True))
        return effects

    def lose(self, holder: NodeId, layers: Layers, version: int, now: float) -> None:
        """The connection broke before ``holder`` had acknowledged this copy."""
        if self._sent.get((holder, layers)) == version:
            self._lost.add((holder, layers))
            self.resend_at = now + RESEND_SECONDS

    def forget(self, holder: NodeId) -> None:
        """This node is gone, or another process now: it holds nothing."""
        self._sent = {key: version for key, version in self._sent.items() if key[0] != holder}
        self._lost = {key for key in self._lost if key[0] != holder}

    def commit(self, word: Committed) -> None:
        """The leader has counted a version with all its holders; who is another process since is not named any more."""
        named = {(node, (each.first_layer, each.last_layer)) for each in word.layers for node in each.holders}
        self._doubted = {key for key, version in self._sent.items() if version > word.version or key not in named}
        if not self._lost and not self._doubted:
            self.resend_at, self._doubt = None, DOUBT_SECONDS
