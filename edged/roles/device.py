"""This device as a place to compute: the executor on it, how slow it is, how much memory it can give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edged.compute.cores import compute_threads
from edged.compute.loading import collector_paused, map_libraries
from edged.roles.room import available_bytes

if TYPE_CHECKING:
    from edged.compute.executor import Executor

BURSTS = 6
"""Bursts of a calibration: the fastest counts."""

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

    def measure(self, executor: Executor, bursts: int = BURSTS) -> tuple[float, str]:
        """Slowness (emulated part included) and the device's name; on the compute thread, 0.05 s for each burst."""
        from edged.compute.environment import environment
        from edged.compute.profiler import calibrate

        environment(executor.device, self.cores).apply()
        name = str(executor.device)
        return calibrate(name, bursts) * self.slowdown, name

    def warm_up(self, _executor: Executor) -> None:
        """Pay what the first job would pay otherwise; on the compute thread, about a second, after ``measure``."""
        with collector_paused():
            from edged.compute.warming import warm_up

            warm_up()

    def free_memory(self, available: Callable[[], int] | None = None, *, own_bytes: int = 0) -> int:
        """Bytes that training may use: as the user said, else a share of what is free now, once torch is loaded.

        ``own_bytes`` of the system's memory are training's already, and count as free.
        """
        if self.memory_bytes:
            return self.memory_bytes
        free = self._free(own_bytes) if available is None else available() + own_bytes
        return int(free * MEMORY_SHARE)

    def _free(self, own_bytes: int) -> int:
        from edged.compute.environment import free_memory

        free = None if self.kind == "cpu" else free_memory(self.kind)
        return available_bytes() + own_bytes if free is None else free
