"""Coverage-guided fuzzing of everything that reads bytes of somebody else (docs/fuzzing.md).

    python scripts/fuzz.py --list
    python scripts/fuzz.py message program --seconds 600 --keep fuzzed
    python scripts/fuzz.py message --input fuzzed/message/found/crash-...

libFuzzer, by way of atheris, changes inputs that edged has made itself and keeps those that reach code which none has
reached before. The only allowed outcomes are a sound value and the error that the reader promises. With ``--keep`` a
later run goes on from the inputs that this one has kept. The exit status is 1 if anything was found.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from fuzz_one import MISSING, PLANTED, TARGETS

ONE = Path(__file__).with_name("fuzz_one.py")
ROOT = ONE.parents[1]
GRACE_SECONDS = 300
"""For imports, seeds, and the first look at a corpus that was kept."""

STATUS = re.compile(r"cov: (\d+) ft: (\d+) corp: (\d+)/")
EXECUTED = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
PEAK = re.compile(r"stat::peak_rss_mb:\s+(\d+)")
EXCEPTION = re.compile(r"=== Uncaught Python exception: ===\n(.*?)\n", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of fuzzing one target. ``edges``: places in edged's code that were reached; ``inputs``: kept for that.

    ``problem``: one line, empty if nothing was found; ``found``: the file that shows it.
    """

    target: str
    seconds: int
    executions: int
    edges: int
    inputs: int
    peak_mb: int
    problem: str = ""
    found: str = ""

    def line(self) -> str:
        """For people."""
        what = f"{self.executions} executions in {self.seconds} s, {self.edges} edges by {self.inputs} inputs"
        ending = f"FOUND {self.problem}\n  see {self.found}" if self.problem else "nothing found"
        return f"{self.target:9} {what}, at most {self.peak_mb} MB: {ending}"


def fuzz(target: str, seconds: int, seed: int, folder: Path) -> Outcome:
    """Fuzz one target in a process of its own. Raises ``ModuleNotFoundError`` without atheris."""
    shutil.rmtree(folder / "found", ignore_errors=True)
    for name in ("seeds", "corpus", "found", "temporary"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    environment = {**_environment(), "TMPDIR": str(folder / "temporary")}
    command = [sys.executable, str(ONE), target, "--folder", str(folder)]
    subprocess.run([*command, "--plant"], check=True, env=environment, timeout=GRACE_SECONDS)
    done = subprocess.run(
        [*command, "--seconds", str(seconds), "--seed", str(seed)],
        capture_output=True, text=True, errors="replace", check=False, env=environment, timeout=seconds + GRACE_SECONDS,
    )  # fmt: skip
    shutil.rmtree(folder / "temporary")
    if done.returncode == MISSING:
        raise ModuleNotFoundError(done.stderr.strip())
    told = done.stderr + done.stdout
    edges, inputs = next(((int(m[1]), int(m[3])) for m in reversed(list(STATUS.finditer(told)))), (0, 0))
    found = next((str(path) for path in sorted((folder / "found").iterdir())), "")
    return Outcome(
        target,
        seconds,
        _number(EXECUTED, told),
        edges,
        inputs,
        _number(PEAK, told),
        _problem(done.returncode, told),
        found,
    )


def _problem(status: int, told: str) -> str:
    if status == 0:
        return ""
    raised = EXCEPTION.search(told)
    if raised is not None:
        return raised[1].strip()
    said = [line for line in told.splitlines() if line.startswith(("==", "SUMMARY")) or "ERROR" in line]
    return (said or told.splitlines() or [f"status {status}"])[-1]


def _number(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.search(text)
    return int(found[1]) if found else 0


def _environment() -> dict[str, str]:
    """One thread, this source, nothing of the user's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
    path = os.pathsep.join(filter(None, (str(ROOT), kept.get("PYTHONPATH"))))
    return {**kept, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="all but the planted fault if none is named")
    parser.add_argument("--seconds", type=int, default=10, help="for each target")
    parser.add_argument("--seed", type=int, default=1, help="equal seeds begin alike; at least 1")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where inputs and findings stay, to go on from")
    parser.add_argument("--input", type=Path, metavar="FILE", help="read this one input again, without a fuzzer")
    parser.add_argument("--list", action="store_true", help="the targets")
    parser.add_argument("--json", action="store_true", help="one object a target")
    options = parser.parse_args()
    if wrong := [name for name in options.targets if name not in TARGETS]:
        parser.error(f"there is no target {wrong[0]}: choose from {', '.join(TARGETS)}")
    if options.input is not None and len(options.targets) != 1:
        parser.error("--input takes one target")
    return options


def main() -> int:
    """Fuzz the targets one after the other."""
    options = _arguments()
    if options.list:
        print("\n".join(TARGETS))
        return 0
    if options.input is not None:
        command = [sys.executable, str(ONE), *options.targets, "--input", str(options.input)]
        return subprocess.run(command, check=False, env=_environment()).returncode
    folder = options.keep or Path(tempfile.mkdtemp(prefix="edged-fuzz-"))
    outcomes = []
    try:
        for target in options.targets or [name for name in TARGETS if name != PLANTED]:
            outcomes.append(fuzz(target, options.seconds, options.seed, folder / target))
            print(json.dumps(asdict(outcomes[-1])) if options.json else outcomes[-1].line(), flush=True)
    except ModuleNotFoundError as missing:
        print(missing, file=sys.stderr)
        return MISSING
    found = any(outcome.problem for outcome in outcomes)
    if options.keep is None and not found:
        shutil.rmtree(folder, ignore_errors=True)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
