"""Feeders of jobs that are still being captured: started early, so that nobody waits for their imports later.

::

    edged train ── announce (job id, how to feed it) ──▶ node ──▶ feeder process: imports torch, offers itself, waits
         │ captures, checks: seconds                                        │
         ├── submit ──▶ taken over by the source ──▶ told to go on: runs the job file, draws samples
         └── connection closed without it ──▶ killed

A waiting feeder has not run any of the user's code: the job file runs there only after ``edged train`` has handed the
job in, as if the feeder had been started then (two processes that download a data set at once would be in each other's
way).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from edged.core.ids import JobId
from edged.roles.feeder_processes import FeederProcess, FeederProcesses
from edged.roles.spool import Feeder, Spool
from edged.telemetry.logs import topic_logger

MOST = 2
"""Announced feeders at a time; a further job's is started when the job runs."""


@dataclass(slots=True)
class _Early:
    """One announced feeder. ``settled``: whether its job has been handed in, or never will be."""

    feeder: Feeder
    starting: asyncio.Task[FeederProcess]
    settled: asyncio.Event = field(default_factory=asyncio.Event)


class Announced:
    """The feeders that wait for their jobs."""

    def __init__(self, home: Path, processes: FeederProcesses) -> None:
        """``home``: where jobs are submitted; ``processes``: where feeders are started."""
        self._home = home
        self._processes = processes
        self._waiting: dict[JobId, _Early] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def begin(self, job: JobId, feeder: Feeder) -> Callable[[], None]:
        """Start the feeder of a job that is to come; returns what takes the announcement back."""
        if len(self._waiting) >= MOST or job in self._waiting:
            return lambda: None
        spool = Spool(self._home, job).folder
        starting = asyncio.get_running_loop().create_task(self._processes.start(job, feeder, spool))
        early = self._waiting[job] = _Early(feeder, starting)
        return lambda: self._withdraw(job, early)

    async def settled(self, job: JobId) -> None:
        """Wait until an announced job has been handed in, or will not be; at once for any other job."""
        if (early := self._waiting.get(job)) is not None:
            await early.settled.wait()

    def take(self, job: JobId, feeder: Feeder | None) -> asyncio.Task[FeederProcess] | None:
        """The job has been handed in: its feeder, if one was started for it in just this way."""
        early = self._waiting.get(job)
        if early is None:
            return None
        if early.feeder != feeder:
            self._withdraw(job, early)
            return None
        del self._waiting[job]
        early.settled.set()
        return early.starting

    async def close(self) -> None:
        """Leave no process behind."""
        for job, early in list(self._waiting.items()):
            self._withdraw(job, early)
        await asyncio.gather(*self._ending)

    def _withdraw(self, job: JobId, early: _Early) -> None:
        if self._waiting.get(job) is early:
            del self._waiting[job]
            early.settled.set()
            task = asyncio.get_running_loop().create_task(_end(early.starting))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)


async def _end(starting: asyncio.Task[FeederProcess]) -> None:
    with suppress(OSError):
        process = await starting
        await process.stop()
        topic_logger("source").info("the feeder of a job that was not handed in has been stopped")
