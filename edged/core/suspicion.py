"""How long a silent member is suspected before it is called dead (Lifeguard, section IV.B).

A first accusation gets the long time; every independent confirmation shortens it, on a logarithmic scale, down to the
short time. So one node's private trouble gives the accused much time to answer, a real death little.

Whoever is about to call a member dead asks it itself, a few times: an answer that went round by gossip may not have
come here, where much is lost.
"""

from __future__ import annotations

import math

from edged.core.ids import NodeId

CONFIRMATIONS = 3
"""So many accusers besides the first bring the time down to the minimum."""

MAXIMUM_ACCUSERS = CONFIRMATIONS + 1
"""More accusers than that change nothing and are not gossiped."""

CALLS = 6
"""How often a suspect is asked in the end, ..."""

CALL_SECONDS = 0.25
"""... and in which distance."""

FEWEST_CALLS = 3
"""Confirmations that come late shorten the time that is left, but not below so many questions and their answers."""


def expected_confirmations(members: int) -> int:
    """Confirmations that can be waited for among ``members`` (the accused, the first accuser and the rest)."""
    return max(0, min(CONFIRMATIONS, members - 2))


def suspicion_seconds(confirmations: int, expected: int, minimum: float, maximum: float) -> float:
    """Time from the first accusation to death, in seconds.

    ``maximum`` with no confirmation, ``minimum`` with ``expected`` or more; where none can be expected, ``minimum``.
    """
    if confirmations >= expected:
        return minimum
    share = math.log(confirmations + 1) / math.log(expected + 1)
    return maximum - share * (maximum - minimum)


class Suspicion:
    """One member's suspicion, as this node sees it: when it began and who accuses."""

    __slots__ = ("accusers", "asked", "called", "started")

    def __init__(self, started: float, accusers: tuple[NodeId, ...]) -> None:
        """Begin at ``started`` with the accusers known by then."""
        self.started = started
        self.accusers = accusers
        self.asked = math.inf  # when the suspect was asked first, ...
        self.called = -math.inf  # ... and last

    def ask(self, now: float) -> None:
        """The suspect is being asked."""
        self.asked = min(self.asked, now)
        self.called = now

    def delay(self, seconds: float) -> None:
        """The one who suspects has slept: an answer may have come meanwhile and gone again."""
        self.started += seconds
        self.asked = math.inf

    def burial(self, deadline: float) -> float:
        """When the member, whose time is over at ``deadline``, is called dead: not before it was asked for a while."""
        return max(deadline, self.asked + FEWEST_CALLS * CALL_SECONDS)

    def deadline(self, members: int, minimum: float, maximum: float) -> float:
        """The moment at which the time to answer is over, as many as accuse the member."""
        confirmations = max(0, len(self.accusers) - 1)
        return self.started + suspicion_seconds(confirmations, expected_confirmations(members), minimum, maximum)

    def next_call(self, deadline: float) -> float:
        """When to ask the member itself, whose time is over at ``deadline``."""
        return max(self.called + CALL_SECONDS, deadline - CALLS * CALL_SECONDS)


def join_accusers(ours: tuple[NodeId, ...], theirs: tuple[NodeId, ...]) -> tuple[NodeId, ...]:
    """Both sides' accusers, ours first, at most ``MAXIMUM_ACCUSERS``; ``ours`` itself where nothing is new."""
    if len(ours) >= MAXIMUM_ACCUSERS:
        return ours
    fresh = tuple(accuser for accuser in theirs if accuser not in ours)
    return (ours + fresh)[:MAXIMUM_ACCUSERS] if fresh else ours
