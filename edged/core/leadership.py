"""What a leader knows of its followers, and how long it may lead: the lease and the commits of one term.

The lease is counted from the moment at which a heartbeat was *sent* that a majority answered; a voter that answers
promises not to vote for anyone else for a little longer than the lease. So by the time at which another can be elected,
this leader knows that it leads no more (Gray and Cheriton, "Leases", 1989).
"""

from __future__ import annotations

from edged.core.ids import NodeId
from edged.core.messages import Electorate

HEARTBEATS_REMEMBERED = 16


class Leadership:
    """One term as leader. All times are moments of the leader's own clock."""

    __slots__ = (
        "_answered",
        "_node",
        "_sent",
        "_stored",
        "committed",
        "elected_at",
        "next_beat",
        "sequence",
    )

    def __init__(self, node: NodeId, now: float) -> None:
        """Begin at ``now``."""
        self._node = node
        self._sent: dict[int, float] = {}
        self._answered: dict[NodeId, float] = {}
        self._stored: dict[NodeId, int] = {}
        self.elected_at = now
        self.next_beat = now
        self.sequence = 0
        self.committed = 0

    def beat(self, now: float, interval: float) -> int:
        """A heartbeat goes out at ``now``: its number."""
        self.sequence += 1
        self._sent[self.sequence] = now
        self._sent.pop(self.sequence - HEARTBEATS_REMEMBERED, None)
        self.next_beat = now + interval
        return self.sequence

    def answered(self, node: NodeId, sequence: int, number: int) -> None:
        """A follower accepted heartbeat ``sequence`` and has stored electorate ``number``."""
        sent = self._sent.get(sequence)
        if sent is not None:
            self._answered[node] = max(sent, self._answered.get(node, sent))
            self._stored[node] = max(number, self._stored.get(node, 0))

    def followers(self, since: float) -> list[NodeId]:
        """Everyone who has accepted a heartbeat sent after ``since``."""
        return [node for node, sent in self._answered.items() if sent > since]

    def commit(self, electorate: Electorate) -> bool:
        """Note whether a majority of the voters has stored the record by now; true if that is news."""
        if self.committed == electorate.number:
            return False
        stored = sum(v == self._node or self._stored.get(v, 0) >= electorate.number for v in electorate.voters)
        if stored < _majority(electorate):
            return False
        self.committed = electorate.number
        return True

    def lease_until(self, electorate: Electorate, now: float, lease: float) -> float:
        """When the lease ends: ``lease`` after the newest heartbeat that a majority answered, and 0.0 without one.

        No lease before the first commit of the term.
        """
        if not self.committed:
            return 0.0
        sent = sorted(
            (now if v == self._node else self._answered.get(v, -lease) for v in electorate.voters), reverse=True
        )
        return sent[_majority(electorate) - 1] + lease


def _majority(electorate: Electorate) -> int:
    return len(electorate.voters) // 2 + 1
