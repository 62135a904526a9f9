"""What the benchmarks share: clusters, step times of a job, interleaved ratios, limits, their report."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

from testbed import Testbed, TestbedError
from testbed_network import no_network

from edged.cli.demo_nodes import DemoNode, lines_of, run_edged, start_nodes, wait_until_known
from edged.errors import UserError

SCRIPTS = Path(__file__).parent
CORES = 1.0
"""So many of this machine's two cores all nodes together may use: else the machine is measured, not the plan.

Half of them: so a computation usually takes half of the time at most that ``--slowdown`` gives it, and a disturbance
that doubles it changes nothing. With less, nodes rest for so long that each computation begins with cold caches: a node
alone, with all layers, was 15 % slower than its profile, which flatters those who share the layers."""

FIRST = -10
"""How nice a node is that goes first on its core."""


class NotMeasuredError(Exception):
    """A case could not be measured; the text says why. The others may."""


class Row(Protocol):
    """What a case measures."""

    def row(self) -> str:
        """One row of a table."""


AnyRow = TypeVar("AnyRow", bound=Row)


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


@dataclass(frozen=True)
class Limit:
    """Measured values whose median must not exceed ``goal``."""

    name: str
    unit: str
    values: list[float]
    goal: float

    @property
    def median(self) -> float:
        """Median of the values."""
        return statistics.median(self.values)

    def row(self) -> str:
        """One row of a table in docs/benchmarks.md."""
        spread = f"{min(self.values):.3g} – {max(self.values):.3g} ({len(self.values)})"
        return f"| {self.name} | **{self.median:.3g}** {self.unit} | {spread} | at most {self.goal:g} |"


def compare(
    name: str, ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int, goal: float, unit: str
) -> Comparison:
    """Run both in turn, the order swapped every round; a ratio is ours / theirs (both: higher is better)."""
    return compared(name, *interleaved(ours, theirs, rounds=rounds, unit=unit), goal=goal, unit=unit)


def interleaved(
    ours: Callable[[], float], theirs: Callable[[], float], *, rounds: int, unit: str
) -> tuple[list[float], list[float]]:
    """What both measure, in turn, the order swapped every round."""
    mine: list[float] = []
    others: list[float] = []
    for number in range(rounds):
        pair = (ours, theirs) if number % 2 else (theirs, ours)
        measured = {side: side() for side in pair}
        mine.append(measured[ours])
        others.append(measured[theirs])
        say(f"round {number + 1}/{rounds}: {mine[-1]:.4g} against {others[-1]:.4g} {unit}")
    return mine, others


def compared(name: str, ours: list[float], theirs: list[float], *, goal: float, unit: str) -> Comparison:
    """The comparison of values that were measured in pairs."""
    return Comparison(name, unit, ours, theirs, [a / b for a, b in zip(ours, theirs, strict=True)], goal)


def base(slowness: Sequence[float]) -> float:
    """The ``--slowdown`` of a node of slowness 1 with which all of these together use at most ``CORES``."""
    return max(1.0, sum(1 / each for each in slowness) / CORES)


@contextmanager
def networked(slowness: Sequence[float], mbit: float, unit: float = 0.0) -> Iterator[Testbed]:
    """Nodes n0, n1, ... in namespaces, each with a link of so many Mbit/s, that know and have measured each other.

    ``unit``: the ``--slowdown`` of a node of slowness 1; 0: as little as the machine's cores allow. Needs root.
    """
    with ExitStack() as stack:
        bed = Testbed(stack, network=True)
        for each, place in zip(slowness, dealt(slowness), strict=True):
            add_device(bed, each * (unit or base(slowness)), mbit, place)
        begin(bed)
        yield bed


def begin(bed: Testbed) -> None:
    """Start all nodes, one after the other: real devices do not disturb each other while they measure themselves."""
    for name in bed.devices:
        bed.start(name)
        bed.settle()


class Place(NamedTuple):
    """Where a node runs: on one core (``None``: on any), and how nice it is to others there."""

    core: int | None = None
    nice: int = 0


def dealt(slowness: Sequence[float]) -> list[Place]:
    """A place for each node, such that all cores have about as much to do.

    On a core of its own a fast node is not slowed down by another, nor does it gain or lose by being moved. Slower ones
    on the same core go first: they compute for a moment and rest for long, and a faster one makes up for that moment
    when it would have rested.
    """
    if shutil.which("taskset") is None:
        return [Place()] * len(slowness)
    loads = dict.fromkeys(sorted(os.sched_getaffinity(0)), 0.0)
    chosen: dict[int, Place] = {}
    for node in sorted(range(len(slowness)), key=lambda node: slowness[node]):
        core = min(loads, key=lambda core: loads[core])
        chosen[node] = Place(core, FIRST if loads[core] else 0)
        loads[core] += 1 / slowness[node]
    return [chosen[node] for node in range(len(slowness))]


def add_device(bed: Testbed, slowdown: float, mbit: float, place: Place | None = None) -> str:
    """One more device with its link; its node does not run yet. Its name."""
    name = f"n{len(bed.devices)}"
    core, nice = place or Place()
    bed.add(name, slowdown=slowdown, core=core, nice=nice)
    if bed.network is not None:
        bed.network.limit(name, mbit)
    return name


@contextmanager
def alone(slowdown: float) -> Iterator[Testbed]:
    """A cluster of one node, n0."""
    with ExitStack() as stack:
        bed = Testbed(stack)
        bed.add("n0", slowdown=slowdown, core=dealt([1.0])[0].core)
        bed.start("n0")
        bed.settle()
        yield bed


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


def arguments(description: str, rounds: int, cases: Sequence[str] = ()) -> argparse.Namespace:
    """The options that every benchmark has; with ``cases`` also ``--case``, all of them if none is named."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds, help="interleaved pairs")
    parser.add_argument(
        "--quick", action="store_true", help="at most two rounds, short ones: enough to see that it runs"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table row")
    if cases:
        parser.add_argument("--case", action="append", choices=cases, help="only this one; may be repeated")
    options = parser.parse_args()
    options.rounds = min(options.rounds, 2) if options.quick else options.rounds
    if cases:
        options.case = options.case or list(cases)
    return options


def each_case(names: Sequence[str], measure: Callable[[str], Sequence[AnyRow]]) -> tuple[list[AnyRow], bool]:
    """The rows of all cases, each told on standard error at once; and whether every case could be measured."""
    rows: list[AnyRow] = []
    complete = True
    for number, name in enumerate(names):
        say(f"{number + 1}/{len(names)} {name} ...")
        try:
            found = measure(name)
        except (NotMeasuredError, TestbedError, UserError) as error:
            say(f"{name}: NOT MEASURED: {error}")
            complete = False
            continue
        rows += found
        for each in found:
            say(each.row())
    return rows, complete


def need_network(*, as_json: bool) -> None:
    """End here, saying why, where no network of namespaces can be made: nothing is measured."""
    if reason := no_network():
        say(f"not measured: {reason}")
        if as_json:
            print(json.dumps({"skipped": reason}))
        sys.exit(1)


def say(text: str) -> None:
    """Tell a person what is being done."""
    print(text, file=sys.stderr, flush=True)


def report(comparisons: Sequence[Comparison], *, as_json: bool, complete: bool = True) -> None:
    """Print the outcome; the exit status says whether everything was measured (``complete``) and every goal met."""
    if as_json:
        print(json.dumps([{**asdict(c), "median": c.median} for c in comparisons]))
    else:
        print("| what | edged | other | ratio (median) | spread (rounds) | goal |\n|---|---|---|---|---|---|")
        print("\n".join(c.row() for c in comparisons))
    sys.exit(not complete or any(c.median < c.goal for c in comparisons))


def report_limits(limits: Sequence[Limit], more: Mapping[str, Any], *, as_json: bool, complete: bool = True) -> None:
    """As ``report``, for limits; ``more``: what else goes into the JSON object."""
    if as_json:
        print(json.dumps({"limits": [{**asdict(limit), "median": limit.median} for limit in limits], **more}))
    else:
        print("| what | median | spread | goal |\n|---|---|---|---|")
        print("\n".join(limit.row() for limit in limits))
    sys.exit(not complete or any(limit.median > limit.goal for limit in limits))
