"""Bytes per second, lately."""

from __future__ import annotations

import math

SPAN_SECONDS = 2.0
"""A burst has lost 63 % of its weight after this long."""


class Rate:
    """An exponentially forgotten count, and one that forgets nothing. Times are monotonic seconds."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.total_bytes = 0
        self._weight = 0.0
        self._at = 0.0

    def add(self, size: int, now: float) -> None:
        """``size`` bytes moved at ``now``."""
        self.total_bytes += size
        self._weight = self._decayed(now) + size
        self._at = now

    def per_second(self, now: float) -> float:
        """The rate at ``now``."""
        return self._decayed(now) / SPAN_SECONDS

    def _decayed(self, now: float) -> float:
        return self._weight * math.exp(-max(0.0, now - self._at) / SPAN_SECONDS)
