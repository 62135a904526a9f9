"""Local health: how well this node itself keeps up (Lifeguard, section IV.A).

A node that misses answers which it should have had is probably slow itself; the score stretches its own time-outs, so
that a slow node does not call the others dead.
"""

from __future__ import annotations

MAXIMUM_SCORE = 8
"""The worst score: time-outs are nine times as long."""


class Awareness:
    """A score from 0 (healthy) to ``MAXIMUM_SCORE``."""

    __slots__ = ("score",)

    def __init__(self) -> None:
        """Start healthy."""
        self.score = 0

    def change(self, by: int) -> None:
        """Add ``by`` (negative: better), within the bounds."""
        self.score = max(0, min(MAXIMUM_SCORE, self.score + by))

    @property
    def scale(self) -> int:
        """What this node multiplies its ping interval and its answer time with."""
        return self.score + 1


def blame(helpers_asked: int, helpers_heard: int) -> int:
    """Change of the score after a ping that nobody answered.

    A helper confirms at once that it was asked. Those that did not are a sign that this node is cut off or slow; where
    nobody could be asked, the failed ping itself is the only sign.
    """
    if helpers_asked == 0:
        return 1
    return helpers_asked - helpers_heard
