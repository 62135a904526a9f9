"""What replicas cost: steps at the interval that the leader chooses against none after the first version.

The 15 MB network of ``bench_recovery.py`` on three nodes, drawn without a pause, jobs in turn. A rate is that of all
steps after the first hundred together, not a median step: copies fall on few steps, and those must count. Per second,
and per second of processor time of the three nodes, which other work on the machine disturbs less: where no core is
idle, what goes on behind a copy costs as much as the copy does. Last, how long a copy keeps the compute thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import psutil
from benchmarking import SCRIPTS, arguments, cluster, compared, report, say

from edged.cli.demo_nodes import DemoNode, lines_of, run_edged
from edged.client import Client

JOB = SCRIPTS / "bench_recovery_job.py"
STEPS, WARM = 700, 100
NEVER = 2**30
GOAL = 0.98


class Rate(NamedTuple):
    """Steps of one job, its first ones left out, per second and per second of the nodes' processor time."""

    second: float
    processor_second: float


def processor_seconds(nodes: Sequence[DemoNode]) -> float:
    """What all nodes have used of the processor since they were started, with the processes that draw their samples."""
    processes = [psutil.Process(node.process.pid) for node in nodes]
    times = [each.cpu_times() for process in processes for each in (process, *process.children(recursive=True))]
    return sum(each.user + each.system for each in times)


def rate(nodes: Sequence[DemoNode], steps: int, *changes: str) -> Rate:
    """One job. Raises ``SystemExit`` if it fails."""
    sets = [part for change in ("pause=0", f"steps={steps}", *changes) for part in ("--set", change)]
    done, begun, busy, ended = 0, 0.0, 0.0, (0.0, 0.0)
    for event in lines_of(run_edged(["train", str(JOB), "--home", str(nodes[0].home), "--json", *sets])):
        if event["event"] == "failed":
            raise SystemExit(f"the benchmark's job failed: {event['reason']}")
        if event["event"] != "step":
            continue
        done += 1
        if done == WARM:
            begun, busy = time.perf_counter(), processor_seconds(nodes)
        elif done == steps:
            ended = time.perf_counter() - begun, processor_seconds(nodes) - busy
    return Rate((steps - WARM) / ended[0], (steps - WARM) / ended[1])


def copies(nodes: Sequence[DemoNode]) -> list[tuple[float, int]]:
    """Seconds that each copy kept the compute thread, and its bytes, as far as the nodes' journals still know."""
    events = [line["event"] for node in nodes for line in Client(node.home).stream("events", follow=False)]
    return [(event["seconds"], event["size_bytes"]) for event in events if event["type"] == "SnapshotTaken"]


def main() -> None:
    """Compare, in turn."""
    options = arguments(__doc__ or "", rounds=12)
    steps = 2 * WARM if options.quick else STEPS
    ours: list[Rate] = []
    theirs: list[Rate] = []
    with cluster([1.0, 1.0, 1.0]) as nodes:
        for number in range(options.rounds):
            sides = [(ours, ()), (theirs, (f"replicate_every={NEVER}",))]
            for rates, changes in sides if number % 2 else reversed(sides):
                rates.append(rate(nodes, steps, *changes))
            say(f"round {number + 1}/{options.rounds}: {ours[-1]} against {theirs[-1]}")
        taken = copies(nodes)
    milliseconds = statistics.median(1e3 * seconds for seconds, _ in taken)
    most = max(1e3 * seconds for seconds, _ in taken)
    say(f"{len(taken)} copies of {max(size for _, size in taken) / 1e6:.1f} MB at most kept a compute thread for")
    say(f"{milliseconds:.2f} ms (median), {most:.2f} ms at most")
    comparisons = [
        compared(
            f"replicas at the default interval / none, {what}",
            [getattr(each, name) for each in ours],
            [getattr(each, name) for each in theirs],
            goal=GOAL,
            unit=f"steps/{unit}",
        )
        for what, name, unit in (
            ("throughput", "second", "s"),
            ("steps per second of processor time", "processor_second", "s"),
        )
    ]
    report(comparisons, as_json=options.json)


if __name__ == "__main__":
    main()
