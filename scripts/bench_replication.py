"""What replicas cost: steps per second at the interval that the leader chooses against no replicas after the first.

The 15 MB network of ``bench_recovery.py`` on three nodes, drawn without a pause. A rate is that of all steps after the
first hundred together, not a median step: copies fall on few steps, and those must count.
"""

from __future__ import annotations

from functools import partial

from benchmarking import SCRIPTS, arguments, cluster, compare, report, step_seconds

from edged.cli.demo_nodes import DemoNode

JOB = SCRIPTS / "bench_recovery_job.py"
STEPS, WARM = 700, 100
NEVER = 2**30
GOAL = 0.98


def rate(node: DemoNode, *changes: str) -> float:
    """Steps per second of one run."""
    seconds, _ = step_seconds(node, JOB, ["pause=0", f"steps={STEPS}", *changes])
    return len(seconds[WARM:]) / sum(seconds[WARM:])


def main() -> None:
    """Compare, in turn."""
    options = arguments(__doc__ or "", rounds=7)
    with cluster([1.0, 1.0, 1.0]) as nodes:
        comparison = compare(
            "replicas at the default interval / none",
            ours=partial(rate, nodes[0]),
            theirs=partial(rate, nodes[0], f"replicate_every={NEVER}"),
            rounds=options.rounds,
            goal=GOAL,
            unit="steps/s",
        )
    report([comparison], as_json=options.json)


if __name__ == "__main__":
    main()
