"""What this device can do, and where it is, found out again while it serves.

Its speed at work or, without layers, by calibration; its memory; the addresses by which others reach it.

A calibration takes the compute thread for a moment, so only a device measures itself that has nothing to compute, and
only while a job runs that may come to want it. Everyone is told of a change that matters, not of every measurement.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from edged.core.events import SelfMeasured
from edged.core.ids import JobId
from edged.core.job import JobSpec
from edged.core.messages import JobState
from edged.core.node import Node
from edged.core.speed import Speed
from edged.roles.device import Device
from edged.roles.engine import Engine
from edged.roles.pump import Post
from edged.roles.room import resident_bytes
from edged.roles.worker import Worker
from edged.telemetry.logs import topic_logger

if TYPE_CHECKING:
    from edged.compute.executor import Executor

MEASURE_SECONDS = 10.0
"""Speed and memory are measured so often. Addresses are looked at each time that anybody asks for a look: that takes
a quarter of a millisecond with four interfaces, and six with the hundred of who runs many containers."""

BURSTS = 2
"""Of a calibration; the better of the latest two counts."""

CHANGE = 1.2
"""What has changed by this factor is told."""


class Survey:
    """Measures, and tells the others through membership; ``figure`` is for the report of each second."""

    def __init__(
        self,
        node: Node,
        device: Device,
        engine: Engine,
        worker: Worker,
        post: Post,
        addresses: Callable[[], tuple[str, ...]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``node`` is only read. Nothing is measured before the node's first measurement.

        ``addresses`` reads by which ones others reach this device.
        """
        self._node = node
        self._device = device
        self._engine = engine
        self._worker = worker
        self._post = post
        self._addresses = addresses
        self._clock = clock
        self._speed = Speed()
        self._base_bytes: int | None = None
        self._told_bytes = 0
        self._most_bytes = sys.maxsize
        self._due_at = 0.0
        self._latest: float | None = None

    def figure(self) -> tuple[JobId, float]:
        """The job of which layers were measured last on this device, and how slow that was; see ``NodeReport``."""
        running = self._node.running
        if running.gauge is not None and running.stamp is not None and running.gauge.slowness > 0.0:
            self._speed.worked(running.stamp.job, running.gauge.slowness)
            self._latest = None
        return self._speed.job, self._speed.slowness

    def look(self) -> None:
        """Look at the addresses, and measure again what it is time for."""
        self._tell_addresses()
        if self._node.membership.own.slowness == 0.0:
            return
        if self._base_bytes is None:
            self._base_bytes, self._due_at = resident_bytes(), self._clock() + MEASURE_SECONDS
            self._told_bytes = self._node.membership.own.memory_bytes
        if self._clock() < self._due_at:
            return
        self._due_at = self._clock() + MEASURE_SECONDS
        self._tell(self._node.membership.own.slowness)
        spec = self._wanting()
        if spec is not None and spec.source_slowness > 0.0 and self._engine.idle:

            def calibrate(executor: Executor) -> tuple[float, str]:
                return self._device.measure(executor, BURSTS)

            self._engine.run(calibrate, lambda measured: self._calibrated(spec, measured[0]), _complain)

    def _tell_addresses(self) -> None:
        """A cable was plugged in after the start, or the router has given this device another address."""
        own, addresses = self._node.membership.own, self._addresses()
        if addresses != own.addresses:
            before, now = ", ".join(own.addresses), ", ".join(addresses)
            topic_logger("survey").info("this device is reached by %s now (before: %s)", now, before)
            self._post(SelfMeasured(own.slowness, own.memory_bytes, own.device, addresses))

    def _wanting(self) -> JobSpec | None:
        """Return the job that runs, if this node has no layers of it."""
        board, own = self._node.board, self._node.node
        for job, chosen in board.plans.items():
            record = board.jobs.records.get(job)
            if record is not None and record.state is JobState.RUNNING and own not in chosen.plan.nodes():
                return chosen.spec
        return None

    def _calibrated(self, spec: JobSpec, slowness: float) -> None:
        """Two slow measurements are believed, and one fast one: whatever else a device does only makes it slower."""
        before, self._latest = self._latest, slowness
        slowness = slowness if before is None else min(before, slowness)
        self._speed.calibrated(spec.job, slowness / spec.source_slowness)
        if before is not None:
            self._tell(slowness)

    def _tell(self, slowness: float) -> None:
        """Let membership know a speed, and the memory that is free now, if either is news.

        A budget that somebody else has lowered, because memory ran out, is not raised again.
        """
        own = self._node.membership.own
        lowered = min(own.memory_bytes, self._worker.memory_bytes)
        if lowered < self._told_bytes:
            self._most_bytes = min(self._most_bytes, lowered)
        grown = max(0, resident_bytes() - (self._base_bytes or 0))
        memory = min(self._device.free_memory(own_bytes=grown), self._most_bytes)
        memory = memory if _differ(memory, own.memory_bytes) else own.memory_bytes
        slowness = slowness if _differ(slowness, own.slowness) else own.slowness
        self._told_bytes = memory
        if (memory, slowness) != (own.memory_bytes, own.slowness):
            self._worker.grant(memory)
            self._post(SelfMeasured(slowness, memory, own.device))


def _differ(one: float, other: float) -> bool:
    low, high = sorted((one, other))
    return high > CHANGE * low


def _complain(reason: str) -> None:
    topic_logger("survey").warning("this device could not be measured again: %s", reason)
