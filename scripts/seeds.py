"""Many seeds of the simulated recovery, on all cores: ``python scripts/seeds.py 10000`` (see ``tests/simulation``).

Prints each failure with its last events as it is found, then how the jobs ended. Exit status 1 if any seed fails.
Ctrl-C ends it with what has come of the seeds so far, and status 130: ``--first`` goes on from there.
"""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARE = 20
"""Seeds that one process is given at a time."""

SLOW_SECONDS = 60.0
"""Virtual seconds after the last fault in which no step is done; jobs with more are listed, and what took them."""

UNDISTURBED = (signal.SIGINT, signal.SIG_IGN)
"""Ctrl-C is for the parent: its processes finish what they are at."""

WORK = ("run", "drain")
"""Stages at which steps are done: these take as long as the job has work left."""


def live_through(seeds: range) -> list[tuple[int, str, str, str]]:
    """Return (seed, state at the end, what it spent its time on if it was slow, failure) of each."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    run = importlib.import_module("tests.simulation.recovery_run")
    ends = []
    for seed in seeds:
        try:
            verdict = run.live_through(seed)
        except AssertionError as error:
            ends.append((seed, "failure", "", str(error)))
        else:
            ends.append((seed, verdict.state.lower(), slowness(verdict.spent), ""))
    return ends


def slowness(spent: Counter[str]) -> str:
    """Say what the virtual seconds were spent on, if many passed without steps; else nothing."""
    if spent.total() - sum(spent[stage] for stage in WORK) <= SLOW_SECONDS:
        return ""
    return ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in spent.most_common() if seconds >= 1.0)


def main() -> int:
    """Run the seeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seeds", type=int, nargs="?", default=1000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    wanted = parser.parse_args()
    began, last = time.monotonic(), wanted.first + wanted.seeds
    counts: Counter[str] = Counter()
    slow, failed = [], []
    shares = [range(first, min(first + SHARE, last)) for first in range(wanted.first, last, SHARE)]
    with ProcessPoolExecutor(wanted.processes, initializer=signal.signal, initargs=UNDISTURBED) as pool:
        try:
            for ends in pool.map(live_through, shares):
                for seed, state, slow_by, failure in ends:
                    counts[state] += 1
                    slow += [f"{seed}: {slow_by}"] if slow_by else []
                    if failure:
                        failed.append(seed)
                        print(failure, "", sep="\n", flush=True)
        except KeyboardInterrupt:
            pool.shutdown(cancel_futures=True)
    took = time.monotonic() - began
    how = ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))
    print(f"{counts.total()} seeds from {wanted.first} on in {took:.0f} s: {how}")
    print(f"more than {SLOW_SECONDS:.0f} s without steps after the last fault: {len(slow)}", *slow, sep="\n  ")
    if failed:
        print(f"failed: {', '.join(map(str, failed))}")
        return 1
    return 0 if counts.total() == wanted.seeds else 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main())
