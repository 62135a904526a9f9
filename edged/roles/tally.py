"""What the reports of steps and recoveries add up to while this node runs: for those who watch it for months."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from edged.core.job import JobSpec
from edged.core.messages import RecoveryReport, StepReport
from edged.telemetry.counters import Counters

RECOVERIES = "recoveries "
"""The counters of recoveries: this, and the cause."""

MOST_CAUSES = 20
"""A cause is a word that a member chose: no more of them are told apart."""


class Tally:
    """Counts into ``counters``, and keeps what the newest step took."""

    def __init__(self, counters: Counters, wall_clock: Callable[[], float] = time.time) -> None:
        """Nothing has been done. ``wall_clock``: seconds since 1970."""
        self._counters = counters
        self._wall_clock = wall_clock
        self.step_seconds: float | None = None
        self.stepped_at: float | None = None

    def step(self, report: StepReport, spec: JobSpec | None, *, again: bool) -> None:
        """A step was done, for the first time or (after a roll-back) ``again``."""
        self.stepped_at = self._wall_clock()
        self._counters.add("steps")
        self._counters.add("steps repeated", int(again))
        if spec is None or report.step < 1 or not spec.steps_per_epoch:
            return
        first, stop = spec.sample_range(report.step - 1)
        self._counters.add("samples", stop - first)
        if report.samples_per_second > 0.0:
            self.step_seconds = (stop - first) / report.samples_per_second

    def recovered(self, report: RecoveryReport) -> None:
        """Another plan goes on."""
        known = sum(name.startswith(RECOVERIES) for name in self._counters.snapshot())
        self._counters.add(RECOVERIES + (report.cause if known < MOST_CAUSES else "other"))
        self._counters.add("recovery bytes", max(0, report.moved_bytes))
        if math.isfinite(report.pause_seconds):
            self._counters.add("recovery seconds", max(0.0, report.pause_seconds))
