"""Emulates a slower device: after each computation the thread sleeps for the rest of the time it would have taken.

That time is a multiple of what the like of it takes undisturbed: the least of the latest ones, by the time that the
processor spent on them (by the clock, where that is not known). Real devices share no memory and no cache. The nodes
that play them on one machine do: what two compute at the same time takes both longer, by the processor's time too. So
the emulated device keeps its speed, as long as the factor leaves room for the disturbance.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Hashable

import torch

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

    def rest(self, kind: Hashable, cpu_seconds: float, elapsed_seconds: float) -> float:
        """Seconds to sleep after a computation of this kind, which took so long by the processor and by the clock."""
        latest = self._latest.setdefault(kind, deque(maxlen=LATEST))
        latest.append(cpu_seconds)
        return max(0.0, self.factor * min(latest) - elapsed_seconds)


def timer(device: torch.device) -> Callable[[], float]:
    """What tells the seconds that this thread has computed; where it does not compute alone, those that went by."""
    return time.thread_time if device.type == "cpu" and torch.get_num_threads() == 1 else time.perf_counter
