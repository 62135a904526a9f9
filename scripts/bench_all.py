"""Every benchmark of docs/benchmarks.md, one after the other, as one table; exit status 1 if a goal was missed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from benchmarking import SCRIPTS, arguments

SCRIPT_NAMES = (
    "bench_start.py",
    "bench_transport.py",
    "bench_single.py",
    "bench_pipeline.py",
    "bench_replication.py",
    "bench_recovery.py",
    "bench_unequal.py",
    "bench_changes.py",
    "bench_prediction.py",
)
HEAD = "| what | edged | other, or goal | ratio (median) | spread (rounds) | goal met |\n|---|---|---|---|---|---|"


def main() -> None:
    """Run each script as a process of its own, so that none measures what another left behind.

    A script's exit status says whether it could measure all, and every goal was met.
    """
    options = arguments(__doc__ or "", rounds=5)
    rows: list[str] = []
    passed = True
    for script in SCRIPT_NAMES:
        print(f"{script} ...", file=sys.stderr)
        command = [sys.executable, script, "--json", "--rounds", str(options.rounds)]
        done = subprocess.run(command, cwd=SCRIPTS, stdout=subprocess.PIPE, text=True, check=False)
        lines = done.stdout.strip().splitlines()
        if not lines or not lines[-1].startswith(("[", "{")):
            raise SystemExit(f"{script} failed")
        for row, met in rows_of(json.loads(lines[-1]), script):
            rows.append(f"| {row} | {'yes' if met else 'no'} |")
        passed = passed and not done.returncode
    print("\n".join([HEAD, *rows]))
    sys.exit(not passed)


def rows_of(result: Any, script: str = "") -> Iterator[tuple[str, bool]]:
    """Rows without their last column, and whether each goal was met, from what a script prints with --json.

    A script that could measure nothing here has met no goal: its row says why.
    """
    if isinstance(result, list):
        for each in result:
            median = f"{each['median']:.3f} (goal {each['goal']}) | {spread(each['ratios'])}"
            ours, theirs = (sorted(each[side])[len(each[side]) // 2] for side in ("ours", "theirs"))
            yield (
                f"{each['name']} | {ours:.4g} | {theirs:.4g} {each['unit']} | {median}",
                each["median"] >= each["goal"],
            )
    elif "budget" in result:
        for name, seconds in result["seconds"].items():
            median, budget = result["median"][name], result["budget"][name]
            yield f"{name} | {median:.2f} s | at most {budget} s | | {spread(seconds)}", median <= budget
    elif "limits" in result:
        for each in result["limits"]:
            median, goal = f"{each['median']:.3g} {each['unit']}", f"at most {each['goal']:g} {each['unit']}"
            yield f"{each['name']} | {median} | {goal} | | {spread(each['values'])}", each["median"] <= each["goal"]
    elif "skipped" in result:
        yield f"{script}: {result['skipped']} | | | | ", False
    elif "restarts" in result:
        yield from recovery_rows(result)
    else:
        ours, theirs = (result[f"{side}_bytes_per_second"] / 1e6 for side in ("edged", "plain"))
        ratio = f"{result['ratio']:.3f} (goal {result['goal']})"
        between = f"{result['ratio_lowest']:.3f} to {result['ratio_highest']:.3f} ({result['rounds']})"
        yield (
            f"transport / plain pyzmq, 1 MiB frames | {ours:.0f} | {theirs:.0f} MB/s | {ratio} | {between}",
            result["ratio"] >= result["goal"],
        )


def recovery_rows(result: Any) -> Iterator[tuple[str, bool]]:
    """Rows of ``bench_recovery.py``: the pauses, and what they are compared with."""
    met = dict(result["met"])
    for name, case in result["seconds"].items():
        goal = f"at most {case['goal']} s{' and the transfer' if case['planned'] else ''}"
        yield f"pause: {name} | {case['median']:.2f} s | {goal} | | {spread(case['seconds'])}", met.pop(name)
    faster = "times faster than a restart from a checkpoint"
    restarts = result["restarts"]
    other = f"{statistics.median(restarts):.1f} s | {result['faster']:.1f} (goal {result['faster_goal']})"
    yield f"{faster} | | {other} | {spread(restarts)}", met.pop(faster)
    for name, kept in met.items():
        yield f"{name} | | | | ", kept


def spread(values: list[float]) -> str:
    """From the least to the greatest, and how many."""
    return f"{min(values):.3f} to {max(values):.3f} ({len(values)})"


if __name__ == "__main__":
    main()
