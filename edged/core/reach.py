"""A node's view of its own links: who answers others and not this node, and telling the leader so.

Pings tell (``detector.py``): a member whose answer comes by way of a helper, time and again, while not one comes by the
straight way, lives behind a link that is cut. A late answer counts as one, so a slow link is not a cut one; and it is
asked a few times more before that is said, so a link that loses much is not a cut one either.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edged.core.effects import Effect, SendMessage
from edged.core.events import Event, LeaderChanged, ReachChanged
from edged.core.ids import NodeId
from edged.core.messages import Unreachable

DETOURS = 2
"""A member that answers so many pings in a row only by way of others ..."""

CUT_SECONDS = 2.5
"""... for at least so long, ..."""

CALLS = 4
"""... and not one of so many questions, which it is asked because of that, cannot be reached."""

CALL_SECONDS = 0.25
"""The distance of these questions."""

REPEAT_SECONDS = 5.0
"""The leader is told again this often."""


@dataclass(slots=True)
class Detour:
    """The answers of one member that came only by way of others, and how often it was asked itself because of them."""

    since: float
    answers: int = 0
    calls: int = 0
    next_call: float = -math.inf

    is_cut: bool = False

    def is_doubted(self) -> bool:
        """Whether so many answers in a row came by way of others that more is to be found out."""
        return self.answers >= DETOURS and not self.is_cut

    def due(self) -> float:
        """When it is to be asked itself, or has had the time to answer."""
        return self.next_call if self.calls < CALLS else max(self.next_call, self.since + CUT_SECONDS)


class Detours:
    """Counts, for each member, the answers that came only by way of others."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        """Everyone has answered."""
        self._open: dict[NodeId, Detour] = {}

    def __bool__(self) -> bool:
        """Whether anybody answers only by way of others."""
        return bool(self._open)

    def answered(self, node: NodeId, now: float, *, direct: bool) -> None:
        """A ping of this node's own was answered: straight, or by way of a helper."""
        if direct:
            self._open.pop(node, None)
        else:
            self._open.setdefault(node, Detour(now)).answers += 1

    def keep(self, is_there: Callable[[NodeId], bool]) -> None:
        """Forget those who are not there: whoever comes back begins anew."""
        for node in [node for node in self._open if not is_there(node)]:
            del self._open[node]

    def void(self) -> None:
        """This node itself was not running."""
        self._open.clear()

    def look(self, now: float) -> list[NodeId]:
        """Return whom to ask now, straight; who has not answered a single time is cut off."""
        asked = []
        for node, each in self._open.items():
            if not each.is_doubted() or now < each.due():
                continue
            if each.calls < CALLS:
                each.calls, each.next_call = each.calls + 1, now + CALL_SECONDS
                asked.append(node)
            else:
                each.is_cut = True
        return asked

    def deadline(self) -> float:
        """When to look again."""
        return min((each.due() for each in self._open.values() if each.is_doubted()), default=math.inf)

    def unreachable(self) -> tuple[NodeId, ...]:
        """Return those that others reach and this node does not, in order."""
        return tuple(node for node, each in sorted(self._open.items()) if each.is_cut)


class Reach:
    """Tells the leader whom this node cannot reach, as long as there is anybody, and that there is nobody any more."""

    def __init__(self) -> None:
        """Everyone is reached, and nobody leads."""
        self._nodes: tuple[NodeId, ...] = ()
        self._leader: NodeId | None = None
        self._tell_at: float | None = None

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact, then tell what is due."""
        match event:
            case ReachChanged(nodes):
                self._nodes, self._tell_at = nodes, now
            case LeaderChanged(leader):
                self._leader = leader
                self._tell_at = now if self._nodes else None
            case _:
                pass
        if self._tell_at is None or now < self._tell_at:
            return []
        self._tell_at = now + REPEAT_SECONDS if self._nodes else None
        return [] if self._leader is None else [SendMessage(self._leader, Unreachable(self._nodes))]

    def deadline(self) -> float | None:
        """Return when to tell again."""
        return self._tell_at

    def check(self) -> None:
        """Assert that whoever cannot be reached is told again."""
        assert not self._nodes or self._tell_at is not None, "a cut link that is never told"
