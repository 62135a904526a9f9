"""What replicas cost, at the interval that the leader chooses: the share of the time that copies take from training.

The 15 MB network of ``bench_recovery.py`` on three nodes, drawn without a pause. Two runs of one job differ by more
than copies cost, so a run is compared with itself: the steps behind every copy (while it is encrypted, sent, taken in,
digested and written) with as many right before it. What they take longer, divided by the time from one copy to the
next, is the share. Beside it, how long copies keep the compute thread, as the nodes' journals tell.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence

from benchmarking import SCRIPTS, Limit, NotMeasuredError, arguments, cluster, report_limits, say
from job_run import JobRun, Told

from edged.cli.demo_nodes import DemoNode
from edged.client import Client

JOB = SCRIPTS / "bench_recovery_job.py"
COPIES, QUICK_COPIES = 12, 2
WARM_STEP = 300
"""By then the leader has measured what a copy costs, and has chosen."""

LOOKED_AT = 4
"""The interval divided by this: so many steps behind a copy are compared with as many before it."""

SECONDS = 1200.0
GOAL = 0.02
"""Of throughput."""


def moments(told: Sequence[Told]) -> dict[int, float]:
    """When each step was told to be done."""
    return {line["step"]: now for now, line in told if line["event"] == "step"}


def share(nodes: Sequence[DemoNode], copies: int) -> tuple[float, float]:
    """Of the time of one job, what its copies take; and what they keep a compute thread for.

    Raises ``NotMeasuredError`` if the plan or the interval was changed meanwhile.
    """
    client = Client(nodes[0].home)
    with JobRun(nodes[0].home, JOB, {"pause": 0}) as run:
        run.wait(lambda told: WARM_STEP in moments(told) or None, f"step {WARM_STEP}", SECONDS)
        every = interval(client)
        beside = max(1, every // LOOKED_AT)
        last = WARM_STEP + copies * every + 2 * beside
        run.wait(lambda told: last in moments(told) or None, f"step {last}", SECONDS)
        if interval(client) != every:
            raise NotMeasuredError(f"the interval was {every} steps, and then {interval(client)}")
        told = run.told()
    times = moments(told)
    if any(line["event"] in {"plan", "recovery"} and now > times[WARM_STEP] for now, line in told):
        raise NotMeasuredError("the plan was changed meanwhile")
    job = next(line["job"] for _, line in told if line["event"] == "started")
    copied = range(-(-(WARM_STEP + beside) // every) * every, last - beside, every)
    longer = [times[step + beside] - 2 * times[step] + times[step - beside] for step in copied]
    usual = (times[last] - times[WARM_STEP]) / (last - WARM_STEP) * every
    kept = max(thread_seconds(node, job) for node in nodes) / usual
    error = statistics.stdev(longer) / len(longer) ** 0.5 / usual if len(longer) > 1 else float("nan")
    taken = statistics.fmean(longer) / usual
    say(f"  {len(longer)} copies, one in {every} steps ({usual:.1f} s): {taken:.2%} (standard error {error:.2%})")
    return taken, kept


def interval(client: Client) -> int:
    """Steps from one copy to the next, as the node's leader says."""
    protection: Mapping[str, int] = client.ask("status")["protection"]
    return protection["every"]


def thread_seconds(node: DemoNode, job: str) -> float:
    """Median seconds that a copy of this job kept a node's compute thread, of those that its journal still knows."""
    events = [line["event"] for line in Client(node.home).stream("events", follow=False)]
    taken = [event for event in events if event["type"] == "SnapshotTaken" and not event["problem"]]
    return statistics.median(float(event["seconds"]) for event in taken if event["stamp"]["job"] == job)


def main() -> None:
    """Measure some jobs, one after the other."""
    options = arguments(__doc__ or "", rounds=5)
    with cluster([1.0, 1.0, 1.0]) as nodes:
        found = []
        for number in range(options.rounds):
            try:
                found.append(share(nodes, QUICK_COPIES if options.quick else COPIES))
            except NotMeasuredError as error:
                say(f"round {number + 1}: NOT MEASURED: {error}")
    if not found:
        sys.exit(1)
    taken, kept = zip(*found, strict=True)
    limits = [
        Limit("what copies take of the time of training", "of 1", list(taken), GOAL),
        Limit("the compute thread is kept by them", "of 1", list(kept), GOAL),
    ]
    report_limits(limits, {}, as_json=options.json, complete=len(found) == options.rounds)


if __name__ == "__main__":
    main()
