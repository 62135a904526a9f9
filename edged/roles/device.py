"""This device as a place to compute: the executor on it, how slow it is, how much memory it can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from edged.compute.cores import compute_threads
from edged.compute.loading import collector_paused, map_libraries

if TYPE_CHECKING:
    from edged.compute.executor import Executor

MEMORY_SHARE = 0.8
"""Of the free memory, what training may plan with; the rest is for transfers and for the device's owner."""


@dataclass(frozen=True, slots=True)
class Device:
    """What the user said of this device. ``threads`` 0: see ``compute.cores``. ``memory_bytes`` 0: measured."""

    kind: str
    threads: int
    slowdown: float
    memory_bytes: int

    @property
    def cores(self) -> int:
        """Compute threads to use."""
        return compute_threads(self.threads)

    def executor(self) -> Executor:
        """Import torch and build the executor, on the compute thread. Raises ``ConfigError`` for a missing device."""
        map_libraries()
        with collector_paused():
            from edged.compute.executor import Executor

        return Executor(self.kind, self.cores, self.slowdown)

    def measure(self, executor: Executor) -> tuple[float, str]:
        """Slowness (emulated part included) and the device's name; on the compute thread, about 0.2 s."""
        from edged.compute.environment import environment
        from edged.compute.profiler import calibrate

        environment(executor.device, self.cores).apply()
        name = str(executor.device)
        return calibrate(name) * self.slowdown, name

    def warm_up(self, _executor: Executor) -> None:
        """Pay what the first job would pay otherwise; on the compute thread, about a second, after ``measure``."""
        with collector_paused():
            from edged.compute.warming import warm_up

            warm_up()

    def free_memory(self, available: Callable[[], int] | None = None) -> int:
        """Bytes that training may use: as the user said, else a share of what is free now."""
        if self.memory_bytes:
            return self.memory_bytes
        free = available() if available is not None else int(psutil.virtual_memory().available)
        return int(free * MEMORY_SHARE)
