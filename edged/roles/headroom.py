"""Headroom: whether memory is about to run out here, said beforehand.

The system ends whoever takes its last memory, without asking; then others take this node's layers over, but nothing
was said. So people are warned, once each time, when training comes near its budget or the device has little left.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import psutil

from edged.telemetry.logs import topic_logger

NEAR: Final = 0.9
"""Of the budget: training that takes as much is near it ..."""

FAR: Final = 0.8
"""... and with less than so much it is not any more."""

LITTLE: Final = 0.05
"""Of the device's memory: with less than that available, but at most ``LITTLE_BYTES``, the system is in need ..."""

LITTLE_BYTES: Final = 500_000_000

MUCH: Final = 2.0
"""... until so many times that is available again."""


class Headroom:
    """Compares what this process takes with its budget, and what is left on the device with what the system needs."""

    def __init__(self, budget: Callable[[], int], memory: Callable[[], tuple[int, int]] | None = None) -> None:
        """``budget``: bytes for training, 0 if not known yet. ``memory``: bytes on the device, and of it available."""
        self._budget = budget
        self._memory = memory or _memory
        self._idle_bytes = 0
        self._near = self._little = False

    def look(self, resident_bytes: int, *, works: bool) -> None:
        """Look once. What the process takes before it ``works`` (has layers) is no training's."""
        if not works:
            self._idle_bytes, self._near = resident_bytes, False
        budget, taken = self._budget(), resident_bytes - self._idle_bytes
        if budget and taken > NEAR * budget and not self._near:
            self._warn(f"training takes {_mb(taken)} here, and its budget is {_mb(budget)}")
        self._near = bool(budget) and taken > (FAR if self._near else NEAR) * budget
        total, available = self._memory()
        least = min(LITTLE * total, LITTLE_BYTES)
        if available < least and not self._little:
            self._warn(f"this device has only {_mb(available)} left")
        self._little = available < (MUCH if self._little else 1.0) * least

    @staticmethod
    def _warn(what: str) -> None:
        topic_logger("memory").warning(
            "%s: close other programs, or give this node a smaller --memory, so that it gets fewer layers", what
        )


def _memory() -> tuple[int, int]:
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.0f} MB"
