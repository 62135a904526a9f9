"""What the source keeps of one job that was handed to this node."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path

from edged.core.job import JobSpec, Work
from edged.errors import JobError
from edged.roles.feeder_processes import FeederProcess
from edged.roles.feeders import FeederLink, Sample
from edged.roles.samples import Kind
from edged.roles.spool import Drawing, Spool


@dataclass(slots=True)
class Handed:
    """One job that was handed to this node.

    ``changed``: in what the job file or its data are not what was submitted, as the last feeder said. ``fed``: samples
    have been drawn, as far as is known. ``tasks``: what runs beside the loop for all jobs of the source.
    """

    spec: JobSpec
    spool: Spool
    feeder: Drawing | None
    output: Path | None
    kinds: tuple[Kind, ...]
    tasks: set[asyncio.Task[None]]
    link: FeederLink | None = None
    process: FeederProcess | None = None
    pending: dict[Work, None] = field(default_factory=dict)
    samples: dict[Work, Sample] = field(default_factory=dict)
    exports: dict[int, tuple[Path, asyncio.Future[dict[str, object]]]] = field(default_factory=dict)
    changed: str = ""
    fed: bool = False
    deaths: int = 0
    generation: int = 0
    asked_at: float = 0.0
    """When the last sample came, or the first was asked for since none was wanted."""

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        """Run ``work`` beside the loop, until it ends or the source closes."""
        task = asyncio.get_running_loop().create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def refuse_exports(self, why: str) -> None:
        """Answer everybody who still waits for weights."""
        for _, future in self.exports.values():
            if not future.done():
                future.set_exception(JobError(why))
