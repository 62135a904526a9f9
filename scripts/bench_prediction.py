"""Predicted against measured seconds of a step, over clusters of two to four nodes, three kinds of links, two models.

Predicted is what the plan said that was running (the newest one) when it was made, and what the leader said of it last,
by the speeds that were measured at work; measured is the median of its steady steps. Nodes in network namespaces
(root). A case is named nodes/link in Mbit/s/model/micro-batches of 8 samples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarking import SCRIPTS, Limit, arguments, each_case, need_network, networked, report_limits
from job_run import WARM_SECONDS, predicted, steady_steps
from testbed import ended_by_signals

MODELS = {"mobilenet": SCRIPTS / "bench_model.py", "gpt": SCRIPTS / "bench_gpt.py"}
GOAL_PERCENT = 10.0


@dataclass(frozen=True)
class Case:
    """A cluster, its links, and a job."""

    slowness: tuple[float, ...]
    mbit: float
    model: str
    micro_batches: int

    def __str__(self) -> str:
        """As in ``--case``."""
        return f"{':'.join(f'{each:g}' for each in self.slowness)}/{self.mbit:g}/{self.model}/{self.micro_batches}"


CASES = (
    Case((1, 1), 1000, "mobilenet", 8),
    Case((1, 1), 100, "gpt", 32),
    Case((1, 1), 30, "mobilenet", 8),
    Case((1, 3), 1000, "gpt", 8),
    Case((1, 3), 100, "mobilenet", 32),
    Case((1, 3), 30, "gpt", 8),
    Case((1, 1, 10), 1000, "mobilenet", 32),
    Case((1, 1, 10), 100, "gpt", 8),
    Case((1, 1, 10), 30, "mobilenet", 8),
    Case((1, 1, 1), 1000, "gpt", 32),
    Case((1, 2, 4), 100, "mobilenet", 8),
    Case((1, 2, 5, 10), 1000, "mobilenet", 32),
    Case((1, 2, 5, 10), 100, "gpt", 32),
    Case((1, 1, 1, 1), 1000, "mobilenet", 8),
)


@dataclass(frozen=True)
class Outcome:
    """Seconds of a step in one case."""

    case: str
    beforehand: float
    at_work: float
    measured: float

    def row(self) -> str:
        """One row of a table."""
        told = (f"{each:.3f} s ({self.error_percent(each):+.1f} %)" for each in (self.beforehand, self.at_work))
        return f"| {self.case} | {' | '.join(told)} | {self.measured:.3f} s |"

    def error_percent(self, predicted: float) -> float:
        """How far a prediction is from what was measured."""
        return 100 * (predicted / self.measured - 1)


def measure(case: Case, steps: int, warm_seconds: float) -> Outcome:
    """Run one case."""
    with networked(case.slowness, case.mbit) as bed:
        changes = {"micro_batches": case.micro_batches, "steps": 1_000_000}
        found = steady_steps(bed["n0"].home, MODELS[case.model], changes, steps=steps, warm_seconds=warm_seconds)
    return Outcome(str(case), predicted(found.plan), found.predicted, found.median)


def limits_of(outcomes: Sequence[Outcome]) -> list[Limit]:
    """The goal: the median error of all cases, beforehand and at work."""
    errors = {
        "beforehand": [abs(each.error_percent(each.beforehand)) for each in outcomes],
        "at work": [abs(each.error_percent(each.at_work)) for each in outcomes],
    }
    return [Limit(f"predicted {when} / measured: median error", "%", its, GOAL_PERCENT) for when, its in errors.items()]


def main() -> None:
    """Measure the cases; exit status 1 if the median error exceeds the goal."""
    options = arguments(__doc__ or "", rounds=1, cases=[str(case) for case in CASES])
    need_network(as_json=options.json)
    steps, warm_seconds = (2, 0.0) if options.quick else (8, WARM_SECONDS)
    by_name = {str(case): case for case in CASES}
    with ended_by_signals():
        outcomes, complete = each_case(options.case, lambda name: [measure(by_name[name], steps, warm_seconds)])
    if not outcomes:
        raise SystemExit("no case could be measured")
    if not options.json:
        print("| nodes / Mbit/s / model / micro-batches | beforehand | at work | measured |\n|---|---|---|---|")
        print("\n".join(outcome.row() for outcome in outcomes) + "\n")
    more = {"cases": [asdict(outcome) for outcome in outcomes]}
    report_limits(limits_of(outcomes), more, as_json=options.json, complete=complete)


if __name__ == "__main__":
    main()
