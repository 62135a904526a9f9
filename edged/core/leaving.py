"""A node's half of leaving gracefully: it asks the leader to take its layers first, and goes when that is granted.

::

                 alone, or no jobs
    LeaveAsked ----------------------------------------------------> goes: membership says goodbye
        |                                  LeaveGranted, 60 s,
        +--> LeaveRequest, each second --> or asked a second time -->
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
"""A node that is not granted its leave goes all the same after this time; an order is given up."""


class Leaving:
    """Whether ``node`` wants to leave and may, and whom its user has told to leave.

    ``goes`` is true from the moment on at which nothing holds it any more.
    """

    def __init__(self, node: NodeId, leader: Callable[[], NodeId | None], is_needed: Callable[[], bool]) -> None:
        """Stay. ``leader``: who leads now; ``is_needed``: whether there are others, and jobs to be done."""
        self.node = node
        self.goes = False
        self._leader = leader
        self._is_needed = is_needed
        self._goes_by: float | None = None
        self._orders: dict[NodeId, float] = {}
        self._repeat_at: float | None = None

    @property
    def asked(self) -> bool:
        """Whether this node wants to leave."""
        return self._goes_by is not None

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
        self._goes_by = now + PATIENCE_SECONDS
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
        if self._goes_by is not None and not self.goes:
            effects += self._ask(self._goes_by, now)
        waits = bool(self._orders) or (self.asked and not self.goes)
        self._repeat_at = now + REPEAT_SECONDS if waits else None
        return effects

    def _ask(self, goes_by: float, now: float) -> list[Effect]:
        if now >= goes_by:
            return self._go(f"nobody has taken over its layers within {PATIENCE_SECONDS:.0f} s")
        if not self._is_needed():
            return self._go("nothing hangs on it any more")
        leader = self._leader()
        return [] if leader is None else [SendMessage(leader, LeaveRequest(self.node))]
