"""What the reports of steps and recoveries add up to."""

import math

from edged.core.ids import NodeId, Stamp
from edged.core.messages import RecoveryReport, StepReport
from edged.roles.tally import MOST_CAUSES, Tally
from edged.telemetry.counters import Counters
from tests.roles.conftest import spec_of

SPEC = spec_of()
STAMP = Stamp(SPEC.job, 1, 1)


def report(cause: str, seconds: float = 0.5, size_bytes: int = 100) -> RecoveryReport:
    return RecoveryReport(STAMP, cause, (NodeId("b" * 16),), 2, 1, seconds, size_bytes, "")


def test_steps_and_their_samples_are_counted() -> None:
    counters = Counters()
    tally = Tally(counters, lambda: 17.0)
    tally.step(StepReport(STAMP, 1, 0, 1.0, 100.0, 0.1), SPEC, again=False)
    first, stop = SPEC.sample_range(0)
    assert (tally.stepped_at, tally.step_seconds) == (17.0, (stop - first) / 100.0)
    tally.step(StepReport(STAMP, 1, 0, 1.0, 0.0, 0.1), SPEC, again=True)
    tally.step(StepReport(STAMP, 0, 0, 1.0, 5.0, 0.1), SPEC, again=False)
    tally.step(StepReport(STAMP, 2, 0, 1.0, 5.0, 0.1), None, again=False)
    assert counters.snapshot() == {"samples": 2 * (stop - first), "steps": 4, "steps repeated": 1}
    assert tally.step_seconds == (stop - first) / 100.0


def test_recoveries_are_counted_by_cause_with_what_they_cost() -> None:
    counters = Counters()
    tally = Tally(counters)
    for cause in ("died", "died", "left"):
        tally.recovered(report(cause))
    for hostile in (math.nan, math.inf, -5.0):
        tally.recovered(report("died", hostile, -(10**9)))
    assert (counters["recoveries died"], counters["recoveries left"]) == (5, 1)
    assert (counters["recovery seconds"], counters["recovery bytes"]) == (1.5, 300)


def test_causes_that_a_member_makes_up_do_not_pile_up() -> None:
    counters = Counters()
    tally = Tally(counters)
    for number in range(5 * MOST_CAUSES):
        tally.recovered(report(f"cause {number}"))
    assert sum(name.startswith("recoveries ") for name in counters.snapshot()) <= MOST_CAUSES + 1
