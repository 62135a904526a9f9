"""Emulates a slower device: after each computation the thread sleeps for the rest of the time it would have taken.

That time is a multiple of what the like of it usually takes: the median of the latest ones. So the emulated device
keeps its speed where the real one is disturbed now and then, by other nodes of the same machine above all, as long as
the factor leaves room for the disturbance.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from statistics import median

LATEST = 32
"""So many computations of a kind are remembered."""


class Slowdown:
    """A device ``factor`` >= 1.0 times slower than this one. 1.0 never rests."""

    def __init__(self, factor: float) -> None:
        """Nothing is remembered."""
        self.factor = factor
        self._latest: dict[Hashable, deque[float]] = {}

    def forget(self) -> None:
        """Other computations follow."""
        self._latest.clear()

    def rest(self, kind: Hashable, elapsed_seconds: float) -> float:
        """Seconds to sleep after a computation of this kind; it has taken so long on the real device."""
        latest = self._latest.setdefault(kind, deque(maxlen=LATEST))
        latest.append(elapsed_seconds)
        return max(0.0, self.factor * median(latest) - elapsed_seconds)
