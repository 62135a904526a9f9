"""How long a person waits, in seconds: for commands, start to announced, peer seen to the first joint step."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarking import SCRIPTS, arguments

from edged.cli.demo_nodes import lines_of, run_edged, start_nodes, wait_until_known
from edged.client import Client

BUDGETS = {
    "edged --help": 0.3,
    "edged doctor": 5.0,  # two to import torch, three of listening
    "edged status": 0.3,
    "start to announced": 3.0,
    "peer seen to first joint step": 10.0,
}


def help_seconds() -> float:
    """Seconds of ``edged --help``."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "edged", "--help"], check=True, capture_output=True)
    return time.perf_counter() - began


def doctor_seconds() -> float:
    """Seconds of ``edged doctor`` in a new home; it ends with status 1 where it finds a problem."""
    with tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        began = time.perf_counter()
        command = [sys.executable, "-m", "edged", "doctor", "--json", "--home", folder]
        done = subprocess.run(command, check=False, capture_output=True)
        if done.returncode not in {0, 1}:
            raise SystemExit(done.stderr.decode())
        return time.perf_counter() - began


def start_alone() -> dict[str, float]:
    """Seconds from the start of a node to its ready line, and of ``edged status`` right after it."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        began = time.perf_counter()
        nodes = start_nodes(stack, Path(folder), [1.0])
        announced = time.perf_counter() - began
        asked = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "edged", "status", "--json", "--home", str(nodes[0].home)],
            check=True,
            capture_output=True,
        )
        status = time.perf_counter() - asked
        stack.close()
    return {"start to announced": announced, "edged status": status}


def join_and_train() -> dict[str, float]:
    """Seconds from two nodes seeing each other to their first joint step, ``edged train`` begun once they are known."""
    with ExitStack() as stack, tempfile.TemporaryDirectory(prefix="edged-bench-") as folder:
        nodes = start_nodes(stack, Path(folder), [1.0, 1.0])
        while len(Client(nodes[0].home).ask("status")["members"]) < len(nodes):
            time.sleep(0.01)
        seen = time.perf_counter()
        wait_until_known(nodes)
        job = [str(SCRIPTS / "bench_model.py"), "--home", str(nodes[0].home), "--json", "--set", "steps=3"]
        for event in lines_of(run_edged(["train", *job])):
            if event["event"] == "step":
                break
        joint = time.perf_counter()
        stack.close()
    return {"peer seen to first joint step": joint - seen}


def main() -> None:
    """Measure and print; exit status 1 if a budget is exceeded."""
    options = arguments(__doc__ or "", rounds=5)
    found: dict[str, list[float]] = {
        "edged --help": [help_seconds() for _ in range(3 * options.rounds)],
        "edged doctor": [doctor_seconds() for _ in range(options.rounds)],
    }
    for _ in range(options.rounds):
        for name, seconds in {**start_alone(), **join_and_train()}.items():
            found.setdefault(name, []).append(seconds)
    medians = {name: statistics.median(values) for name, values in found.items()}
    if options.json:
        print(json.dumps({"seconds": found, "median": medians, "budget": BUDGETS}))
    else:
        print("| what | median | spread | budget |\n|---|---|---|---|")
        for name, values in found.items():
            print(f"| {name} | {medians[name]:.2f} s | {min(values):.2f} – {max(values):.2f} s | {BUDGETS[name]} s |")
    sys.exit(any(medians[name] > BUDGETS[name] for name in medians))


if __name__ == "__main__":
    main()
