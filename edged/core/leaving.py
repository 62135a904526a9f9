"""A node's half of leaving gracefully: it asks the leader to take its layers first, and goes when that is granted.

::

                 alone, or no jobs
    LeaveAsked ----------------------------------------------------> goes: membership says goodbye
        |                                  LeaveGranted, asked a second time,
        +--> LeaveRequest, each second --> or 60 s in which no layers moved -->

While layers move it waits on, by 60 s more than a transfer is granted in all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from edged.core.effects import Effect, Log, SendMessage
from edged.core.events import Event, LeaveAsked, LeaveNodeAsked, MemberChanged, MessageReceived
from edged.core.ids import NodeId
from edged.core.messages import LeaveGranted, LeaveOrder, LeaveRequest
from edged.core.watch import GONE

REPEAT_SECONDS: Final = 1.0
"""A request or an order that shows no effect is sent again this often."""

PATIENCE_SECONDS: Final = 60.0
"""A node that is not granted its leave goes all the same when nothing has moved for so long; an order is given up."""


class Leaving:
    """Whether ``node`` wants to leave and may, and whom its user has told to leave.

    ``goes`` is true from the moment on at which nothing holds it any more.
    """

    def __init__(
        self,
        node: NodeId,
        leader: Callable[[], NodeId | None],
        is_needed: Callable[[], bool],
        moving_seconds: Callable[[], float],
    ) -> None:
        """Stay.

        ``leader``: who leads now; ``is_needed``: whether there are others, and jobs to be done; ``moving_seconds``: how
        long the layers that move just now are granted, 0.0 if none do.
        """
        self.node = node
        self.goes = False
        self._leader = leader
        self._is_needed = is_needed
        self._moving_seconds = moving_seconds
        self._asked_at: float | None = None
        self._moved_at = 0.0
        self._orders: dict[NodeId, float] = {}
        self._repeat_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether this node wants to leave."""
        return self._asked_at is not None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then ask again what is due."""
        effects: list[Effect] = []
        match event:
            case LeaveAsked():
                effects += self._go("asked a second time") if self.asked else self._want(now)
            case LeaveNodeAsked(node) if node != self.node:
                self._orders[node] = now + PATIENCE_SECONDS
                self._repeat_at = now
            case LeaveNodeAsked(node) | MessageReceived(_, LeaveOrder(node)) if node == self.node and not self.asked:
                effects += self._want(now)
            case MessageReceived(sender, LeaveGranted(node)) if self._may_go(sender, node):
                effects += self._go("its layers are taken over")
            case MemberChanged(record) if record.state in GONE:
                self._orders.pop(record.node, None)
            case _:
                pass
        return [*effects, *self._go_on(now)]

    def deadline(self) -> float | None:
        """Return when to ask again, or to go."""
        return self._repeat_at

    def check(self) -> None:
        """Assert that nobody goes who was not asked to, and that whoever waits is woken."""
        assert self.asked or not self.goes, "a node goes that nobody asked to"
        assert self.goes or not self.asked or self._repeat_at is not None, "it would wait for ever"

    def _may_go(self, sender: NodeId, node: NodeId) -> bool:
        return self.asked and node == self.node and sender == self._leader()

    def _want(self, now: float) -> list[Effect]:
        self._asked_at = self._moved_at = now
        if not self._is_needed():
            return self._go("nothing hangs on it")
        self._repeat_at = now
        return [Log("info", "leaving", "this node leaves as soon as others have taken over its layers")]

    def _go(self, reason: str) -> list[Effect]:
        if self.goes:
            return []
        self.goes = True
        return [Log("info", "leaving", f"this node leaves: {reason}")]

    def _go_on(self, now: float) -> list[Effect]:
        if self._repeat_at is None or now < self._repeat_at:
            return []
        self._orders = {node: until for node, until in self._orders.items() if now < until}
        effects: list[Effect] = [SendMessage(node, LeaveOrder(node)) for node in self._orders]
        if self._asked_at is not None and not self.goes:
            effects += self._ask(self._asked_at, now)
        waits = bool(self._orders) or (self.asked and not self.goes)
        self._repeat_at = now + REPEAT_SECONDS if waits else None
        return effects

    def _ask(self, asked_at: float, now: float) -> list[Effect]:
        leader = self._leader()
        granted = 0.0 if leader is None else self._moving_seconds()
        if now < asked_at + granted:
            self._moved_at = now
        if now >= self._moved_at + PATIENCE_SECONDS:
            return self._go(f"nobody has taken over its layers within {now - asked_at:.0f} s")
        if not self._is_needed():
            return self._go("nothing hangs on it any more")
        return [] if leader is None else [SendMessage(leader, LeaveRequest(self.node))]
