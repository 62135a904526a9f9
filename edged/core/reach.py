"""A node's view of its own links: who answers others and not this node, and telling the leader so.

Pings tell (``detector.py``): a member whose answer comes by way of a helper, time and again, while not one comes by the
straight way, lives behind a link that is cut. A late answer counts as one, so a slow link is not a cut one.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.core.effects import Effect, SendMessage
from edged.core.events import Event, LeaderChanged, ReachChanged
from edged.core.ids import NodeId
from edged.core.messages import Unreachable

DETOURS = 2
"""A member that answers so many pings in a row only by way of others ..."""

CUT_SECONDS = 2.5
"""... for at least so long cannot be reached."""

REPEAT_SECONDS = 5.0
"""The leader is told again this often."""


class Detours:
    """Counts, for each member, the answers that came only by way of others."""

    __slots__ = ("_open",)

    def __init__(self) -> None:
        """Everyone has answered."""
        self._open: dict[NodeId, tuple[int, float]] = {}

    def __bool__(self) -> bool:
        """Whether anybody answers only by way of others."""
        return bool(self._open)

    def answered(self, node: NodeId, now: float, *, direct: bool) -> None:
        """A ping of this node's own was answered: straight, or by way of a helper."""
        if direct:
            self._open.pop(node, None)
            return
        count, since = self._open.get(node, (0, now))
        self._open[node] = (count + 1, since)

    def keep(self, is_there: Callable[[NodeId], bool]) -> None:
        """Forget those who are not there: whoever comes back begins anew."""
        for node in [node for node in self._open if not is_there(node)]:
            del self._open[node]

    def void(self) -> None:
        """This node itself was not running."""
        self._open.clear()

    def unreachable(self, now: float) -> tuple[NodeId, ...]:
        """Return those that others reach and this node does not, in order."""
        open_ = sorted(self._open.items())
        return tuple(node for node, (count, since) in open_ if count >= DETOURS and now >= since + CUT_SECONDS)


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
