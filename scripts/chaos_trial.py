"""One trial of a scenario: a cluster at work on a job, the faults done to it, and what became of it all."""

from __future__ import annotations

import json
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from chaos_watch import Watch
from testbed import Device, Testbed, TestbedError, wait_until

from edged.errors import UserError

JOB = Path(__file__).with_name("chaos_job.py")
POINTS = Path(__file__).with_name("chaos_points.py")
PAUSE_SECONDS = 0.001
"""What drawing a sample takes unless a scenario says otherwise."""

BEGIN_SECONDS = 90.0
EVENT_SECONDS = 240.0
LEAVE_SECONDS = 180.0
"""Whoever leaves while others are dead waits a minute or more for somebody to take its layers."""

STILL_SECONDS = 90.0
"""So long nothing may change in a job that does not say what it waits for."""

TOTAL_SECONDS = 900.0
PATIENCE_SECONDS = 4.0
"""So long a job waits for something before what it waits for is given back, ..."""

ALONE_SECONDS = 60.0
"""... and so long a job that has to go on by itself."""


class Waits(Enum):
    """Whether a job may have to wait until what it lost is given back: where others have all of it, it may not."""

    NEVER = "never"
    MAY = "may"
    MUST = "must"


class OverError(TestbedError):
    """The job was over before what a scenario waited for: on a busy machine it has to be a slower one."""


@dataclass
class Outcome:
    """One row of the table."""

    scenario: str
    seed: int
    faults: list[str] = field(default_factory=list)
    detection_seconds: float | None = None
    pause_seconds: float | None = None
    replayed_steps: int = 0
    moved_bytes: int = 0
    passed: bool = False
    verdict: str = ""
    told: list[str] = field(default_factory=list)
    """What the cluster said: recoveries, and why the job stood."""

    figures: dict[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As a JSON object."""
        return asdict(self)


class Reference:
    """The job's undisturbed run on this device, ``edged train --local``, in a process beside everything else."""

    def __init__(self, changes: Mapping[str, str]) -> None:
        """Start it. The pause in drawing samples, which changes no weight, is left out."""
        self._folder = tempfile.TemporaryDirectory(prefix="edged-reference-")
        arguments = [part for key, value in {**changes, "pause": "0"}.items() for part in ("--set", f"{key}={value}")]
        command = [sys.executable, "-m", "edged", "train", str(JOB), "--local", "--threads", "1", "--json", *arguments]
        command += ["--output", str(Path(self._folder.name) / "weights.safetensors")]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._found = ""

    def state_sha256(self) -> str:
        """Fingerprint of the weights. Raises ``TestbedError``."""
        if not self._found:
            printed, _ = self._process.communicate()
            self._folder.cleanup()
            end = json.loads((printed.splitlines() or ["{}"])[-1])
            if end.get("event") != "finished":
                raise TestbedError(f"the reference run did not finish: {end}")
            self._found = str(end["state_sha256"])
        return self._found


@cache
def reference(changes: tuple[tuple[str, str], ...]) -> Reference:
    """The one undisturbed run of the job with these changes, begun when it is first asked for."""
    return Reference(dict(changes))


class Trial:
    """A cluster with one job, and the means to disturb it. Faults are noted as they are done."""

    def __init__(
        self, bed: Testbed, watch: Watch, rng: random.Random, changes: Mapping[str, str], path: Path = JOB
    ) -> None:
        """Use the devices of ``bed`` that run now, and the job of file ``path``."""
        self.bed, self.watch, self.rng, self.path = bed, watch, rng, path
        self.changes = dict(changes)
        self.faults: list[tuple[float, str]] = []
        self.job = self.source = ""
        self._steps = 0
        self.away: set[str] = set()
        """Devices that have been killed or have left, and do not come back by themselves."""

        self.figures: dict[str, Any] = {}
        self.complaints: list[str] = []
        """What is wrong whatever the weights are."""

    # ------------------------------------------------------------------------------------------ the job

    def begin(self, source: str, step: int, slower: int = 1) -> None:
        """Hand the job in on device ``source`` and wait until some steps are done and a version is committed.

        ``slower``: so many times longer takes drawing a sample, which changes no weight.
        """
        from edged.compute.job_file import load
        from edged.compute.submission import submit
        from edged.strategies import PLANNERS

        device = self.bed[source]
        changes = {**self.changes, "pause": str(slower * float(self.changes.get("pause", PAUSE_SECONDS)))}
        job = load(f"{self.path}:job", changes)
        feeder = {"path": str(self.path), "function": "job", "set": changes}
        spec = submit(job, device.home, feeder, None, source=device.id, strategies=PLANNERS)
        device.client.ask("submit", job=spec.job)
        self.job, self.source, self._steps = spec.job, source, spec.steps
        self.watch.wait_step(self.job, step, BEGIN_SECONDS)
        self.protected(0)

    def protected(self, version: int) -> None:
        """Wait until at least this version is committed by the plan that runs."""
        newest = max(self.watch.steps[self.job])[0]

        def committed() -> bool:
            told = self.watch.all("heard Committed", self.job)
            return any(fact.body["version"] >= version and fact.stamp() >= newest for fact in told)

        wait_until(committed, f"a version from {version} on is committed", EVENT_SECONDS)

    def plan(self) -> list[str]:
        """Names of the newest plan's devices, in the order of their hops."""
        newest = max(self.watch.all("heard PlanChosen", self.job), key=lambda fact: fact.stamp())
        hops = [hop for route in newest.body["plan"]["routes"] for hop in route["hops"]]
        return [self.bed.named(hop["node"]) for hop in hops]

    def leader(self) -> str:
        """The name of the device that leads."""

        def asked() -> str:
            leaders = {device.status()["leader"] for device in self.bed.running()}
            return "" if len(leaders) != 1 or None in leaders else self.bed.named(leaders.pop())

        name: str = wait_until(asked, "there is one leader", EVENT_SECONDS)
        return name

    def workers(self) -> list[str]:
        """Devices of the plan, in its order, that are neither source nor leader."""
        leader = self.leader()
        return [name for name in self.plan() if name not in {self.source, leader}]

    def others(self, *names: str) -> list[str]:
        """Devices that run, without these."""
        return [device.name for device in self.bed.running() if device.name not in names]

    def steps_later(self, steps: int) -> None:
        """Wait until so many more steps are done."""
        self.watch.wait_step(self.job, self.watch.newest_step(self.job) + steps, EVENT_SECONDS)

    def joined(self, since: float) -> None:
        """Wait until a plan has taken somebody in. Raises ``OverError`` if the job ends before."""

        def told() -> str:
            for kind, fields in (("heard RecoveryReport", {"cause": "joined"}), ("heard FinishedReport", {})):
                if self.watch.first(kind, since=since, job=self.job, **fields):
                    return kind
            return ""

        if wait_until(told, "somebody is taken in", EVENT_SECONDS) == "heard FinishedReport":
            raise OverError("the job was over before anybody was taken in")

    def stored(self) -> int:
        """The newest version that the leader has told to lie on the disks; -1 before the first."""
        told = self.watch.all("heard Committed", self.job)
        return max((int(fact.body["stored"]) for fact in told), default=-1)

    def data_holder(self) -> str:
        """The id of the node that holds a copy of the samples, once one does."""

        def told() -> str:
            facts = self.watch.all("heard Committed", self.job)
            return next((str(fact.body["data_holder"]) for fact in reversed(facts) if fact.body["data_holder"]), "")

        holder: str = wait_until(told, "the samples are copied", EVENT_SECONDS)
        return holder

    def pause(self, seconds: float, since: float) -> None:
        """Return so long after a moment: the length of a fault, never a guess about when something has happened."""
        time.sleep(max(0.0, since + seconds - time.monotonic()))

    def newcomer(self) -> str:
        """Add a device and start its node; its name."""
        device = self.bed.add(f"n{len(self.bed.devices)}")
        self.watch.follow(device)
        self.bed.start(device.name)
        return device.name

    # ------------------------------------------------------------------------------------------- faults

    def note(self, text: str, now: float | None = None) -> float:
        """Write down a fault."""
        moment = time.monotonic() if now is None else now
        self.faults.append((moment, text))
        return moment

    def kill(self, *names: str) -> float:
        """SIGKILL, all at once; the moment."""
        for name in names:
            self.bed[name].process.send_signal(signal.SIGKILL)
        now = time.monotonic()
        for name in names:
            self.bed[name].process.wait()
            self.note(f"kill {name}", now)
            self.away.add(name)
        return now

    def hang(self, name: str) -> float:
        """SIGSTOP; the moment."""
        return self.note(f"stop {name}", self.bed[name].signal(signal.SIGSTOP))

    def go_on(self, name: str) -> float:
        """SIGCONT; the moment."""
        return self.note(f"continue {name}", self.bed[name].signal(signal.SIGCONT))

    def go_on_all(self) -> None:
        """SIGCONT to all that are stopped."""
        for device in self.bed.devices.values():
            if device.running and device.stopped:
                self.go_on(device.name)

    def restart(self, *names: str) -> None:
        """Start killed nodes again in their homes."""
        for name in names:
            self.note(f"start {name}")
        self.bed.start(*names)
        self.away -= set(names)

    def leave(self, name: str) -> None:
        """Let a node leave gracefully, and wait until it has."""
        self.note(f"{name} leaves")
        self.bed[name].client.ask("leave")
        self.bed[name].wait(LEAVE_SECONDS)
        self.away.add(name)

    # ------------------------------------------------------------------------------------------ the end

    def too_late(self) -> bool:
        """Whether the last step had been done before the first fault: then nothing was disturbed."""
        done = [moment for (_, step), moment in self.watch.steps.get(self.job, {}).items() if step == self._steps]
        return bool(self.faults and done) and min(done) <= self.faults[0][0]

    def conclude(self, outcome: Outcome, waits: Waits = Waits.MAY, *, planned: bool = False) -> None:
        """Wait for the job's end; where it waits for a lost device, see that it says so, and give that back.

        ``waits`` and ``planned``: what is expected of it, see ``Scenario``.
        """
        record = self._ended(outcome, ALONE_SECONDS if waits is Waits.NEVER else PATIENCE_SECONDS)
        self._survived()
        self.bed.settle()  # whoever was stopped or cut off is a member again, in one lineage
        outcome.faults = [text for _, text in self.faults]
        waited = any(text.startswith("waiting:") for text in outcome.told)
        if waited and waits is Waits.NEVER:
            self.complaints.append("the job has waited for who was gone, though others had all of it")
        if not waited and waits is Waits.MUST:
            self.complaints.append("the job went on without what only the lost had")
        self._measure(outcome)
        if planned and outcome.replayed_steps:
            self.complaints.append(
                f"{outcome.replayed_steps} steps were done again for a change that all had agreed to"
            )
        if record["state"] != "finished":
            outcome.verdict = f"{record['state']}: {record['reason']}"
            return
        found = self._fingerprint()
        outcome.passed = found == reference(tuple(self.changes.items())).state_sha256()
        outcome.verdict = (
            f"equal{' after waiting' if waited else ''}" if outcome.passed else f"WRONG WEIGHTS {found[:12]}"
        )
        if self.complaints:
            outcome.passed = False
            outcome.verdict += f"; but {'; '.join(self.complaints)}"

    def _survived(self) -> None:
        """Nobody has ended who was not made to. Raises ``TestbedError``."""
        for device in self.bed.devices.values():
            if not device.running and device.name not in self.away:
                raise TestbedError(f"{device.name} ended by itself: {device.last_words()}")

    def _ended(self, outcome: Outcome, patience: float) -> Mapping[str, Any]:
        """The job's record once it is over; who is away comes back where it waits for longer than ``patience``.

        Raises ``TestbedError`` if nothing changes for too long.
        """
        until, still_until, before, waiting_since = time.monotonic() + TOTAL_SECONDS, 0.0, None, 0.0
        while True:
            now = time.monotonic()
            records = self.records()
            ended = [record for record in records if record["state"] in {"finished", "failed", "stopped"}]
            if ended:
                return ended[0]
            waiting = [record["reason"] for record in records if record["state"] == "waiting"]
            if waiting and not waiting_since:
                waiting_since = now
            elif not waiting:
                waiting_since = 0.0
            if waiting_since and now - waiting_since > patience and self.away:
                reason = next(iter(waiting))
                outcome.told.append(f"waiting: {reason}")
                if not any(name in reason for name in self.away):
                    raise TestbedError(f"the job waits without naming what for: {reason!r}; away: {self.away}")
                self.restart(*sorted(self.away))
                waiting_since = 0.0
            state = (self.watch.newest_step(self.job), len(self.watch.steps.get(self.job, ())), str(records))
            if state != before:
                before, still_until = state, now + STILL_SECONDS
            if now > min(still_until, until):
                raise TestbedError(f"HANG: nothing has changed for {STILL_SECONDS:.0f} s: {records}")
            time.sleep(0.1)

    def records(self) -> list[dict[str, Any]]:
        """The job's record as each device that answers has it."""
        found = []
        for device in self.bed.running():
            with suppress(UserError):
                found += [job for job in device.client.ask("jobs")["jobs"] if job["job"] == self.job]
        return found

    def _fingerprint(self) -> str:
        """Digest of the weights, as others have heard it, or as a source that is alone has written them."""

        def told() -> str:
            heard = self.watch.first("heard FinishedReport", job=self.job)
            fact = heard or self.watch.first("WeightsWritten", job=self.job, token=0, problem="")
            return "" if fact is None else str(fact.body["state_sha256"])

        digest: str = wait_until(told, "the digest of the weights is told", EVENT_SECONDS)
        return digest

    def _measure(self, outcome: Outcome) -> None:
        gaps, usual = self.watch.gaps(self.job), self.watch.step_seconds(self.job)
        outcome.replayed_steps = sum(gap.replayed for gap in gaps)
        if gaps:
            outcome.pause_seconds = max(gap.came - gap.left for gap in gaps) - usual
        outcome.figures |= {"step_seconds": usual, "changes_of_plan": len(gaps), **self.figures}
        if gaps:
            outcome.figures["median_pause_seconds"] = statistics.median(gap.came - gap.left for gap in gaps) - usual
        detections = [seconds for moment, _ in self.faults if (seconds := self._detection(moment)) is not None]
        outcome.detection_seconds = max(detections, default=None)
        reports = {fact.stamp(): fact.body for fact in self.watch.all("heard RecoveryReport", self.job)}
        outcome.moved_bytes = sum(int(report["moved_bytes"]) for report in reports.values())
        outcome.told += [str(report["text"]) for _, report in sorted(reports.items())]

    def _detection(self, moment: float) -> float | None:
        """From a fault to the first halt after it, if that came before any further step."""
        halt = self.watch.first("heard Halt", since=moment, job=self.job)
        if halt is None:
            return None
        gap = next((gap for gap in self.watch.gaps(self.job) if gap.came > moment), None)
        return halt.now - moment if gap is not None and halt.now <= gap.came else None


Script = Callable[[Trial], None]


@dataclass(frozen=True)
class Scenario:
    """A named way to disturb a job. ``needs``: what of root's means it takes (``network``, ``disk``, ``memory``).

    ``armed``: its nodes can be made to die, or to do wrong, at exact points. ``waits``: whether the job may wait for
    who is gone; ``planned``: a change that everybody agrees to, for which no step is done again.
    """

    name: str
    text: str
    script: Script
    nodes: int = 5
    needs: str = ""
    short: bool = False
    changes: tuple[tuple[str, str], ...] = ()
    leader_is_source: bool = False
    options: Sequence[str] = ()
    disk_bytes: int = 0
    armed: bool = False
    waits: Waits = Waits.NEVER
    planned: bool = False

    def __str__(self) -> str:
        """Its name."""
        return self.name


def armed_program(bed: Testbed, name: str) -> list[str]:
    """What Python runs on a device whose node can be armed: ``chaos_points`` with its two files."""
    return [str(POINTS), str(bed.folder / f"{name}.armed"), str(bed.folder / f"{name}.died")]


def devices(bed: Testbed, watch: Watch, scenario: Scenario) -> list[Device]:
    """As many devices as the scenario needs, all running; added, started and followed as needed."""
    while len(bed.devices) < scenario.nodes:
        name = f"n{len(bed.devices)}"
        program = armed_program(bed, name) if scenario.armed else ("-m", "edged")
        device = bed.add(name, options=scenario.options, disk_bytes=scenario.disk_bytes, program=program)
        watch.follow(device)
    bed.start(*(device.name for device in bed.devices.values() if not device.running))
    return list(bed.devices.values())
