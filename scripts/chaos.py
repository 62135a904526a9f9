"""Chaos: a real cluster trains a small network while its nodes are killed, stopped, cut off, joined and taken out.

The verdict is always the same: the final weights equal, bit for bit, those of ``edged train --local``; or the job said
plainly what it waited for, and went on to those weights when it was given back. Exit status 1 if any verdict fails.

    python scripts/chaos.py --list
    python scripts/chaos.py --scenario kill-leader --scenario hang-worker --seed 7
    python scripts/chaos.py --short --repeat 20
    python scripts/chaos.py --scenario soak --faults 200
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import chaos_soak
import testbed_groups
import testbed_network
from chaos_exact import EXACT_SCENARIOS, MUTANTS
from chaos_root import ROOT_SCENARIOS
from chaos_scenarios import EARLY, SCENARIOS
from chaos_trial import Outcome, OverError, Scenario, Trial, devices, reference
from chaos_watch import Watch
from testbed import Testbed, TestbedError, ended_by_signals
from testbed_groups import no_groups
from testbed_network import RefusedError, no_network

from edged.errors import UserError

HEAD = "| scenario | faults | detection s | pause s | replayed | moved kB | verdict |\n|---|---|---|---|---|---|---|"


class Stage:
    """The cluster on which scenarios of one kind are played, one after the other; made when first needed."""

    def __init__(self, *, network: bool) -> None:
        """Start nothing."""
        self._network = network
        self._stack = ExitStack()
        self._bed: Testbed | None = None
        self._watch = Watch()

    def play(self, scenario: Scenario, seed: int, outcome: Outcome) -> None:
        """Begin a job, disturb it, and judge what becomes of it. Raises ``TestbedError``, ``UserError``.

        On a busy machine a job may have ended before it is disturbed: then it is played again, with a slower one.
        """
        reference(scenario.changes)
        for slower in (1, 4, 16):
            outcome.faults, outcome.told = [], []
            if not self._play(scenario, seed, outcome, slower):
                return
        raise TestbedError("the job had always ended before it was disturbed")

    def _play(self, scenario: Scenario, seed: int, outcome: Outcome, slower: int) -> bool:
        """Play once; whether it was too late to disturb anything."""
        rng = random.Random(f"{scenario.name} {seed}")
        if self._bed is None:
            self._bed, self._watch = Testbed(self._stack, network=self._network), Watch()
        devices(self._bed, self._watch, scenario)
        leader = self._bed.settle()
        others = [device.name for device in self._bed.running() if device.name != leader]
        trial = Trial(self._bed, self._watch, rng, dict(scenario.changes))
        try:
            trial.begin(leader if scenario.leader_is_source else rng.choice(others), EARLY, slower)
            scenario.script(trial)
            if trial.too_late():
                return True
            trial.conclude(outcome, scenario.waits, planned=scenario.planned)
        except OverError:
            return True
        except TestbedError:
            if not trial.too_late():
                raise
            return True
        else:
            return False
        finally:
            outcome.faults = [text for _, text in trial.faults]
            self._repair()

    def end(self) -> list[str]:
        """End the cluster; what it left behind."""
        self._watch.close()
        if self._bed is None:
            return []
        bed, self._bed = self._bed, None
        bed.end()
        left = bed.left_behind()
        self._stack.close()
        self._stack = ExitStack()
        return [*left, f"a folder: {bed.folder}"] if bed.folder.exists() else left

    def keep(self, target: Path) -> None:
        """Copy homes and logs."""
        if self._bed is not None:
            secret = shutil.ignore_patterns("*.sock", "*.key")
            shutil.copytree(self._bed.folder, target, dirs_exist_ok=True, ignore=secret)

    def _repair(self) -> None:
        """Continue what is stopped, heal the network: the next scenario starts what is missing."""
        if self._bed is None:
            return
        for device in self._bed.devices.values():
            if device.stopped:
                device.signal(signal.SIGCONT)
        if self._bed.network is not None:
            self._bed.network.heal()


def refusal(scenario: Scenario) -> str:
    """Why a scenario cannot be played here; empty if it can."""
    match scenario.needs:
        case "network":
            return no_network()
        case "memory":
            return no_groups("memory")
        case "disk":
            return "" if os.geteuid() == 0 else "needs root, to mount a small disk"
        case _:
            return ""


class Show:
    """Plays scenarios, says how each went, and counts what failed."""

    def __init__(self, keep: Path | None, *, fresh: bool) -> None:
        """``keep``: where homes and logs go after a failure; ``fresh``: a new cluster for each scenario."""
        self.outcomes: list[Outcome] = []
        self.left: list[str] = []
        self._keep, self._fresh = keep, fresh
        self._stages: dict[str, Stage] = {}

    def play(self, scenario: Scenario, seed: int) -> None:
        """Play one scenario. After a failure the next one gets a new cluster."""
        outcome = Outcome(scenario.name, seed)
        self.outcomes.append(outcome)
        if reason := refusal(scenario):
            outcome.passed, outcome.verdict = True, f"skipped: {reason}"
            return
        kind = " ".join([scenario.needs, *(["armed"] if scenario.armed else []), *scenario.options])
        stage = self._stages.setdefault(kind, Stage(network=scenario.needs == "network"))
        began = time.monotonic()
        try:
            stage.play(scenario, seed, outcome)
        except (TestbedError, UserError, RefusedError, OSError) as failure:
            outcome.verdict = str(failure)
        outcome.figures["seconds"] = time.monotonic() - began
        if not outcome.passed and self._keep is not None:
            stage.keep(self._keep / f"{scenario.name}-{seed}")
        if self._fresh or not outcome.passed:
            self.left += stage.end()
        mark = "ok    " if outcome.passed else "FAILED"
        print(
            f"{mark} {scenario.name} (seed {seed}, {outcome.figures['seconds']:.0f} s): {outcome.verdict}",
            file=sys.stderr,
        )
        for text in outcome.told:
            print(f"         {text}", file=sys.stderr)

    def end(self) -> None:
        """End all clusters; look for what they have left."""
        for stage in self._stages.values():
            self.left += stage.end()
        self.left += [f"a namespace: {name}" for name in testbed_network.own()]
        self.left += [f"a link: {name}" for name in testbed_network.links()]
        self.left += [f"a control group: {name}" for name in testbed_groups.own()]

    @property
    def passed(self) -> bool:
        """Whether every verdict is good and nothing was left behind."""
        return all(outcome.passed for outcome in self.outcomes) and not self.left


def table(outcomes: Sequence[Outcome]) -> str:
    """The table that is printed at the end."""

    def seconds(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    rows = [
        f"| {o.scenario} | {', '.join(o.faults)} | {seconds(o.detection_seconds)} | {seconds(o.pause_seconds)} "
        f"| {o.replayed_steps} | {o.moved_bytes / 1000:.0f} | {'' if o.passed else 'FAILED: '}{o.verdict} |"
        for o in outcomes
    ]
    return "\n".join([HEAD, *rows])


def chosen(options: argparse.Namespace) -> list[Scenario]:
    """The scenarios that the command line names; all by default."""
    everything = (*SCENARIOS, *EXACT_SCENARIOS, *ROOT_SCENARIOS)
    if options.scenario:
        soaks = (chaos_soak.scenario(options.faults), chaos_soak.scenario(options.faults, network=True))
        known = {scenario.name: scenario for scenario in (*everything, *MUTANTS, *soaks)}
        if unknown := [name for name in options.scenario if name not in known]:
            raise SystemExit(f"there is no scenario {unknown[0]!r}: --list names them")
        return [known[name] for name in options.scenario]
    return [scenario for scenario in everything if scenario.short or not options.short]


def main() -> None:
    """Play, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="name the scenarios, and end")
    parser.add_argument(
        "--scenario", action="append", help="play this one; repeatable; default: all but soaks and mutants"
    )
    parser.add_argument("--short", action="store_true", help="the short set: what `make long` plays")
    parser.add_argument("--seed", type=int, default=1, help="decides who is hit, and when")
    parser.add_argument("--repeat", type=int, default=1, help="play so many times, with one seed after the other")
    parser.add_argument("--faults", type=int, default=50, help="faults of the soak")
    parser.add_argument("--fresh", action="store_true", help="a new cluster for each scenario")
    parser.add_argument("--keep", type=Path, help="after a failure, copy journals and logs here")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    options = parser.parse_args()
    if options.list:
        before = signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `--list | head` ends without a word
        soaks = (chaos_soak.scenario(options.faults), chaos_soak.scenario(options.faults, network=True))
        for scenario in (*SCENARIOS, *EXACT_SCENARIOS, *ROOT_SCENARIOS, *soaks, *MUTANTS):
            reason = refusal(scenario)
            print(
                f"{scenario.name:<24} {scenario.text}{' (short set)' if scenario.short else ''}"
                + (f" [{reason}]" if reason else "")
            )
        sys.stdout.flush()
        signal.signal(signal.SIGPIPE, before)
        return
    scenarios = chosen(options)
    show = Show(options.keep, fresh=options.fresh)
    with ended_by_signals():
        try:
            for seed in range(options.seed, options.seed + options.repeat):
                for scenario in scenarios:
                    show.play(scenario, seed)
        finally:
            show.end()
    if options.json:
        print(json.dumps({"outcomes": [outcome.document() for outcome in show.outcomes], "left": show.left}))
    else:
        print(table(show.outcomes))
        print("\n".join(f"left behind: {each}" for each in show.left), end="\n" if show.left else "")
    sys.exit(not show.passed)


if __name__ == "__main__":
    main()
