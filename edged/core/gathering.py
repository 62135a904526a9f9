"""The leader's first question under a new stamp: stop, and what do you hold? Asked until it is answered."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet

from edged.core.effects import Effect, SendMessage
from edged.core.ids import NodeId, Stamp
from edged.core.messages import Halt, Inventory, MemberRecord
from edged.core.origins import of_one_origin
from edged.core.watch import GONE, present

QUICK_SECONDS = 0.25
"""Who has not answered is asked again this often, at first ..."""

REPEAT_SECONDS = 1.0
"""... and this often later."""


class Gathering:
    """Sends ``Halt`` under one stamp to all who are present, and keeps the answers of those who still are.

    ``patience_seconds``: how long it is worth waiting for everyone. ``doubted`` are nodes whose death is likely
    already: they are asked, not waited for; an answer takes them off it. The mappings are owned by the caller.
    """

    def __init__(
        self,
        stamp: Stamp,
        members: Mapping[NodeId, MemberRecord],
        doubted: AbstractSet[NodeId],
        patience_seconds: float,
        now: float,
    ) -> None:
        """Nobody has been asked yet."""
        self.stamp = stamp
        self._members = members
        self._doubted = doubted
        self._began = now
        self._patient_until = now + patience_seconds
        self._patient = True
        self._ask_at = now
        self._asked: set[NodeId] = set()
        self._answers: dict[NodeId, tuple[int, Inventory]] = {}

    @property
    def inventories(self) -> dict[NodeId, Inventory]:
        """What has been answered by processes that are still there, as far as it goes together."""
        return of_one_origin({node: self._answers[node][1] for node in sorted(self._answered())})

    def hear(self, sender: NodeId, answer: Inventory) -> bool:
        """Take in an answer; return whether it is one."""
        record = self._members.get(sender)
        if answer.stamp != self.stamp or record is None or not self._there(sender, record.boot):
            return False
        self._answers[sender] = (record.boot, answer)
        return True

    def silent(self) -> tuple[NodeId, ...]:
        """Return those who should answer and have not."""
        answered = self._answered()
        return tuple(node for node in present(self._members) if node not in answered and node not in self._doubted)

    def due(self, now: float) -> bool:
        """Whether it is time to go on with what there is."""
        return now >= self._patient_until or not self.silent()

    def ask(self, now: float) -> list[Effect]:
        """Ask whoever has not been asked at once, and everyone who has not answered when it is time."""
        self._patient = now < self._patient_until
        answered = self._answered()
        missing = [node for node in present(self._members) if node not in answered]
        if now >= self._ask_at:
            quick = now < self._began + REPEAT_SECONDS
            self._ask_at = now + (QUICK_SECONDS if quick else REPEAT_SECONDS)
            self._asked = set()
        new = [node for node in missing if node not in self._asked]
        self._asked.update(new)
        return [SendMessage(node, Halt(self.stamp)) for node in new]

    @property
    def deadline(self) -> float:
        """When to ask again, or to stop waiting for everyone."""
        return min(self._ask_at, self._patient_until) if self._patient else self._ask_at

    def _answered(self) -> set[NodeId]:
        return {n for n, (boot, _) in self._answers.items() if n not in self._doubted and self._there(n, boot)}

    def _there(self, node: NodeId, boot: int) -> bool:
        record = self._members.get(node)
        return record is not None and record.boot == boot and record.state not in GONE
