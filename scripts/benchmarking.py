"""What the benchmarks share: a cluster on loopback, step times of a job, interleaved ratios, their report."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from edged.cli.demo_nodes import DemoNode, lines_of, run_edged, start_nodes, wait_until_known

SCRIPTS = Path(__file__).parent


@dataclass(frozen=True)
class Comparison:
    """Ratios of interleaved pairs: ``goal`` is the least median that is wanted."""

    name: str
    unit: str
    ours: list[float]
    theirs: list[float]
    ratios: list[float]
    goal: float

    @property
    def median(self) -> float:
        """Median of the ratios."""
        return statistics.median(self.ratios)

    def row(self) -> str:
        """One row of the table in docs/benchmarks.md."""
        spread = f"{min(self.ratios):.3f} – {max(self.ratios):.3f}"
        ours, theirs = statistics.median(self.ours), statistics.median(self.theirs)
        return (
            f"| {self.name} | {ours:.4g} {self.unit} | {theirs:.4g} {self.unit} | **{self.median:.3f}** "
            f"| {spread} ({len(self.ratios)}) | {self.goal} |"
        )


def compare(
    name: str, ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int, goal: float, unit: str
) -> Comparison:
    """Run both in turn, the order swapped every round; a ratio is ours / theirs (both: higher is better)."""
    mine: list[float] = []
    others: list[float] = []
    for number in range(rounds):
        pair = (ours, theirs) if number % 2 else (theirs, ours)
        measured = {side: side() for side in pair}
        mine.append(measured[ours])
        others.append(measured[theirs])
        print(f"round {number + 1}/{rounds}: {mine[-1]:.4g} against {others[-1]:.4g} {unit}", file=sys.stderr)
    return Comparison(name, unit, mine, others, [a / b for a, b in zip(mine, others, strict=True)], goal)


@contextmanager
def cluster(slowdowns: Sequence[float]) -> Iterator[list[DemoNode]]:
    """Nodes on loopback, one compute thread each, that know and have measured each other."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        nodes = start_nodes(stack, Path(folder), slowdowns)
        wait_until_known(nodes)
        yield nodes
        stack.close()


def step_seconds(node: DemoNode, job: Path, changes: Sequence[str]) -> tuple[list[float], dict[str, Any]]:
    """Seconds of every step of a job, as a follower sees them, without the first ones (warming up); and its plan."""
    arguments = ["train", str(job), "--home", str(node.home), "--json"]
    times: list[float] = []
    plan: dict[str, Any] = {}
    for event in lines_of(run_edged(arguments + [part for change in changes for part in ("--set", change)])):
        if event["event"] == "step":
            times.append(time.perf_counter())
        elif event["event"] == "plan":
            plan = dict(event)
        elif event["event"] == "failed":
            raise SystemExit(f"the benchmark's job failed: {event['reason']}")
    return [after - before for before, after in pairwise(times[5:])], plan


def run_script(arguments: Sequence[str]) -> dict[str, Any]:
    """Run one of these scripts as a process of its own; its last line is JSON."""
    done = subprocess.run([sys.executable, *arguments], cwd=SCRIPTS, capture_output=True, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def arguments(description: str, rounds: int) -> argparse.Namespace:
    """The options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved pairs")
    parser.add_argument("--quick", action="store_true", help="two rounds: enough to see that it runs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table row")
    options = parser.parse_args()
    options.rounds = 2 if options.quick else options.rounds
    return options


def report(comparisons: Sequence[Comparison], *, as_json: bool) -> None:
    """Print the outcome; the exit status says whether every goal was met."""
    if as_json:
        print(json.dumps([{**asdict(c), "median": c.median} for c in comparisons]))
    else:
        print("| what | edged | other | ratio (median) | spread (rounds) | goal |\n|---|---|---|---|---|---|")
        print("\n".join(c.row() for c in comparisons))
    sys.exit(any(c.median < c.goal for c in comparisons))
