"""How long training stands still when something breaks: a 15 MB network on five nodes, on loopback, one long job.

A pause is the time from the last step done before the fault to the first one done after it (which may be one that is
done again), less one ordinary step; medians of ``--rounds``. Beside it, the same without edged's recovery: everything
is stopped, started again, and the job handed in from a checkpoint file; its first step ends that pause. Steps lost
since the checkpoint are not counted, in its favour.
"""

from __future__ import annotations

import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from benchmarking import SCRIPTS, arguments
from chaos_trial import EVENT_SECONDS, Trial
from chaos_watch import Gap, Watch
from testbed import Testbed, ended_by_signals, wait_until

JOB = SCRIPTS / "bench_recovery_job.py"
NODES = 5
CALM_STEPS = 10
RESTARTS = 3
TIMES_FASTER = 14.0

PHASES = ("heard Halt", "heard Inventory", "heard Prepare", "heard Prepared", "heard Start", "SnapshotTaken")
"""What a change of plan goes through; when the last message of each was heard is told on standard error."""

Fault = Callable[[Trial], float]


@dataclass
class Case:
    """One kind of fault: how it is done (the moment is returned), and what was measured."""

    name: str
    fault: Fault
    goal_seconds: float
    planned: bool = False
    gaps: list[Gap] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    moved_bytes: list[int] = field(default_factory=list)

    def median(self) -> float:
        """Median pause in seconds."""
        return statistics.median(self.seconds)


def kill_worker(trial: Trial) -> float:
    """SIGKILL a worker that is neither leader nor source."""
    return trial.kill(trial.rng.choice(trial.workers()))


def kill_leader(trial: Trial) -> float:
    """SIGKILL the leader."""
    return trial.kill(trial.leader())


def kill_two(trial: Trial) -> float:
    """SIGKILL two workers at once: two whose layers lie elsewhere too."""
    plan, workers = trial.plan(), trial.workers()
    apart = [(a, b) for a in workers for b in workers if plan.index(b) - plan.index(a) > 1]
    return trial.kill(*(trial.rng.choice(apart) if apart else workers[:2]))


def hang_worker(trial: Trial) -> float:
    """SIGSTOP a worker."""
    return trial.hang(trial.rng.choice(trial.workers()))


def hang_leader(trial: Trial) -> float:
    """SIGSTOP the leader."""
    return trial.hang(trial.leader())


def leave(trial: Trial) -> float:
    """A worker leaves gracefully."""
    since = time.monotonic()
    trial.leave(trial.rng.choice(trial.workers()))
    return since


def leave_leader(trial: Trial) -> float:
    """The leader leaves gracefully: another one is elected, and a plan made without it."""
    since = time.monotonic()
    trial.leave(trial.leader())
    return since


def cases() -> list[Case]:
    """What is measured, with the goals."""
    return [
        Case("SIGKILL of a worker", kill_worker, 1.0),
        Case("SIGKILL of the leader", kill_leader, 1.5),
        Case("SIGKILL of two workers at once", kill_two, 2.0),
        Case("SIGSTOP of a worker", hang_worker, 4.0),
        Case("SIGSTOP of the leader", hang_leader, 6.0),
        Case("graceful leave", leave, 0.5, planned=True),
        Case("graceful leave of the leader", leave_leader, 0.5, planned=True),
    ]


def gap_after(trial: Trial, since: float) -> Gap:
    """The first change of plan after a moment, once its first step is done."""

    def found() -> Gap | None:
        return next((gap for gap in trial.watch.gaps(trial.job) if gap.came > since), None)

    gap: Gap = wait_until(found, "the job goes on", EVENT_SECONDS)
    return gap


def moved(trial: Trial, since: float) -> int:
    """Bytes that the first recovery told after a moment has moved."""
    fact = trial.watch.wait("heard RecoveryReport", seconds=EVENT_SECONDS, since=since, job=trial.job)
    return int(fact.body["moved_bytes"])


def measure(trial: Trial, case: Case, joined: Case) -> None:
    """One fault, and the return of who was away: both are changes of plan."""
    whole(trial)
    since = case.fault(trial)
    note(trial, case, since)
    trial.steps_later(CALM_STEPS)
    back = time.monotonic()
    stopped = [device for device in trial.bed.devices.values() if device.running and device.stopped]
    if stopped:
        trial.go_on_all()
        return
    trial.restart(*sorted(trial.away))
    note(trial, joined, back)


def note(trial: Trial, case: Case, since: float) -> None:
    """Wait for the change of plan after a moment and add it to a case."""
    gap = gap_after(trial, since)
    case.gaps.append(gap)
    case.seconds.append(gap.came - gap.left - trial.watch.step_seconds(trial.job))
    case.moved_bytes.append(moved(trial, since))
    again = f", {gap.replayed} steps again" if gap.replayed else ""
    times = {kind: moments[-1] - gap.left for kind in PHASES if (moments := told(trial, kind, gap))}
    again += "; seconds since the last step: " + ", ".join(f"{kind} {seconds:.2f}" for kind, seconds in times.items())
    print(f"{case.name}: {case.seconds[-1]:.2f} s, {case.moved_bytes[-1] / 1e6:.1f} MB{again}", file=sys.stderr)


def told(trial: Trial, kind: str, gap: Gap) -> list[float]:
    """When messages of a kind about the new plan were heard, in their order, before its first step."""
    facts = trial.watch.all(kind, trial.job)
    return [fact.now for fact in facts if fact.stamp() == gap.stamp and gap.left < fact.now < gap.came]


def whole(trial: Trial) -> None:
    """Wait until all nodes work on the job, some steps are done, and what they hold is protected."""
    wait_until(lambda: len(trial.plan()) == NODES, "all nodes have layers", EVENT_SECONDS)
    trial.bed.settle()
    trial.steps_later(CALM_STEPS)
    trial.protected(0)


def restart_everything(trial: Trial) -> float:
    """Stop all, start all, hand the job in from a checkpoint: seconds from the last step to the first new one."""
    checkpoint = trial.bed.folder / "checkpoint.safetensors"
    source = trial.bed[trial.source]
    source.client.ask("export", job=trial.job, output=str(checkpoint))
    names = [device.name for device in trial.bed.running()]
    left = max(trial.watch.steps[trial.job].values())
    source.client.ask("stop", job=trial.job, reason="the baseline begins")
    trial.kill(*names)
    trial.restart(*names)
    trial.bed.settle()
    trial.changes = {"checkpoint": str(checkpoint)}
    trial.begin(trial.source, 1)
    return min(trial.watch.steps[trial.job].values()) - left


def main() -> None:
    """Measure all, print the table; exit status 1 if a goal was missed."""
    options = arguments(__doc__ or "", rounds=10)
    measured, joined = cases(), Case("a node joins", lambda _trial: 0.0, 0.5, planned=True)
    with ended_by_signals(), ExitStack() as stack:
        bed, watch = Testbed(stack), Watch()
        stack.callback(watch.close)
        for index in range(NODES):
            watch.follow(bed.add(f"n{index}"))
        bed.start(*bed.devices)
        bed.settle()
        trial = Trial(bed, watch, random.Random(1), {}, JOB)
        for number in range(options.rounds):
            print(f"round {number + 1}/{options.rounds}", file=sys.stderr)
            for case in measured:
                take_turns(trial)
                measure(trial, case, joined)
        restarts = [restart_everything(trial) for _ in range(2 if options.quick else RESTARTS)]
    report([*measured, joined], restarts, as_json=options.json)


def take_turns(trial: Trial) -> None:
    """Let another node be the source if it has come to lead: a leader is to be hit as a leader only."""
    if trial.job and trial.leader() != trial.source:
        return
    if trial.job:
        trial.bed[trial.source].client.ask("stop", job=trial.job, reason="the source has come to lead")
    trial.begin(trial.rng.choice(trial.others(trial.leader())), CALM_STEPS)


def report(measured: list[Case], restarts: list[float], *, as_json: bool) -> None:
    """Print what was measured; the exit status says whether all goals were met."""
    baseline, worker = statistics.median(restarts), measured[0].median()
    faster = baseline / worker
    met = {case.name: case.median() <= case.goal_seconds + carried(case) for case in measured}
    planned = [gap for case in measured if case.planned for gap in case.gaps]
    met["no step is done again when nodes leave or join"] = not any(gap.replayed for gap in planned)
    met["times faster than a restart from a checkpoint"] = faster >= TIMES_FASTER
    if as_json:
        print(json.dumps(document(measured, restarts, faster, met)))
    else:
        print("| what | pause, median | least to greatest | steps again, median | moved MB | goal | met |")
        print("|---|---|---|---|---|---|---|")
        for case in measured:
            again, size = statistics.median(g.replayed for g in case.gaps), statistics.median(case.moved_bytes) / 1e6
            spread = f"{min(case.seconds):.2f} – {max(case.seconds):.2f} s ({len(case.seconds)})"
            goal = f"{case.goal_seconds} s" + (" and the transfer" if case.planned else "")
            yes = "yes" if met[case.name] else "**no**"
            print(f"| {case.name} | **{case.median():.2f} s** | {spread} | {again:.0f} | {size:.1f} | {goal} | {yes} |")
        spread = f"{min(restarts):.1f} – {max(restarts):.1f} s ({len(restarts)})"
        yes = "yes" if faster >= TIMES_FASTER else "**no**"
        print(f"| stop everything, restart from a checkpoint file | {baseline:.1f} s | {spread} | | | ")
        print(f"| the same / SIGKILL of a worker | **{faster:.1f}** | | | | {TIMES_FASTER} | {yes} |")
    sys.exit(not all(met.values()))


def document(measured: list[Case], restarts: list[float], faster: float, met: dict[str, bool]) -> dict[str, Any]:
    """What ``--json`` prints, and ``bench_all.py`` reads."""
    rows = {
        case.name: {
            "seconds": case.seconds,
            "median": case.median(),
            "goal": case.goal_seconds,
            "planned": case.planned,
        }
        for case in measured
    }
    return {"seconds": rows, "restarts": restarts, "faster": faster, "faster_goal": TIMES_FASTER, "met": met}


def carried(case: Case) -> float:
    """Seconds that a planned change may take for what it moves: at what loopback carries then."""
    return statistics.median(case.moved_bytes) / LOOPBACK_BYTES_PER_SECOND if case.planned else 0.0


LOOPBACK_BYTES_PER_SECOND = 200e6
"""What the transport carries on this machine with several nodes at work (bench_transport.py: 1,300 MB/s alone)."""


if __name__ == "__main__":
    main()
