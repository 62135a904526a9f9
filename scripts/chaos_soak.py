"""The soak: hundreds of random faults from one seed, done to one long job.

The verdict is that of every scenario, and the bounds of ``chaos_bounds`` hold for every process all the while.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import psutil
from chaos_bounds import COUNTED, Sample, broken, excess, most_before, report
from chaos_trial import EVENT_SECONDS, Scenario, Trial, Waits
from testbed import TestbedError, wait_until

STEPS_PER_FAULT = 20
"""More than the usual interval of the replicas, so that the job gets on whatever happens."""

NODES, FEWEST, MOST = 6, 2, 10
STUCK_SECONDS = 180.0
IN_RECOVERY = 0.25
"""The chance that a fault is followed by another one in the recovery from it."""

PHASES = ("heard Halt", "MakePlan", "heard Prepare", "heard Start")


def kill_some(trial: Trial) -> None:
    """SIGKILL one or two, whoever they are."""
    there = trial.others()
    trial.kill(*trial.rng.sample(there, min(len(there) - FEWEST, trial.rng.choice([1, 1, 1, 2]))))


def kill_leader(trial: Trial) -> None:
    """SIGKILL whoever leads, if that is agreed."""
    with suppress(TestbedError):
        trial.kill(trial.leader())


def hang(trial: Trial) -> None:
    """SIGSTOP one; SIGCONT when the others have gone on, or after a moment."""
    victim = trial.rng.choice(trial.others())
    since = trial.hang(victim)
    if trial.rng.randrange(2):
        trial.pause(trial.rng.uniform(0.1, 2.0), since)
    else:
        with suppress(TestbedError):
            trial.watch.wait("heard RecoveryReport", seconds=15.0, since=since, job=trial.job)
    trial.go_on(victim)


def leave(trial: Trial) -> None:
    """One leaves gracefully."""
    trial.leave(trial.rng.choice(trial.others()))


def join(trial: Trial) -> None:
    """A device that never took part joins; not more than this machine has room for."""
    if len(trial.bed.devices) < MOST:
        trial.note("a new device joins")
        trial.newcomer()


def come_back(trial: Trial) -> None:
    """One or all that are away are started again in their homes."""
    away = sorted(trial.away)
    if away:
        trial.restart(*(away if trial.rng.randrange(2) else [trial.rng.choice(away)]))


def cut(trial: Trial) -> None:
    """One is cut off, both ways or one way, until the others have gone on."""
    net = trial.bed.network
    if net is None:
        return
    victim, both = trial.rng.choice(trial.others()), bool(trial.rng.randrange(2))
    if both:
        net.cut(victim)
    else:
        net.deafen(victim)
    since = trial.note(f"cut {victim} off" if both else f"{victim} hears nothing")
    with suppress(TestbedError):
        trial.watch.wait("heard RecoveryReport", seconds=20.0, since=since, job=trial.job)
    net.heal()
    trial.note("healed")


MENDS = ("start", "continue", "healed", "it waits")
"""Words of notes that are no faults."""

HURTS: tuple[tuple[int, Callable[[Trial], None]], ...] = (
    (10, kill_some),
    (3, kill_leader),
    (4, hang),
    (2, leave),
    (1, join),
)


def soak(faults: int, trial: Trial) -> None:
    """Disturb the job at its every twentieth step or so, until so many faults have been done."""
    hurts = [*HURTS, *([(4, cut)] if trial.bed.network is not None else [])]
    samples: list[Sample] = []
    for step in range(trial.watch.newest_step(trial.job), STEPS_PER_FAULT):
        _advance(trial, step, samples)
    while _harm_done(trial) < faults:
        _advance(trial, _harm_done(trial) * STEPS_PER_FAULT, samples)
        done = len(trial.faults)
        _strike(trial, hurts)
        for _, text in trial.faults[done:]:
            print(f"step {trial.watch.newest_step(trial.job)}, fault {_harm_done(trial)}: {text}", file=sys.stderr)
    trial.go_on_all()
    if trial.away:
        trial.restart(*sorted(trial.away))
    _advance(trial, faults * STEPS_PER_FAULT - 1, samples)
    trial.figures["taken"] = taken = report(samples, faults)
    for device, most in sorted(taken.items()):
        early, late = (most[name] / 2**20 for name in ("early_rss_bytes", "rss_bytes"))
        text = f"{most['processes']} processes, {early:.0f} MiB at most in the first quarter, {late:.0f} MiB in all"
        counts = ", ".join(f"{most[name]} {name}" for name in COUNTED)
        print(f"{device}: {text}; at most {counts}", file=sys.stderr)
    trial.complaints += broken(samples, faults)
    trial.complaints += _unsettled(trial, most_before(samples))
    zombies = [child for child in _children(trial) if child.status() == psutil.STATUS_ZOMBIE]
    trial.complaints += [f"a zombie: {child.pid}" for child in zombies]


def _harm_done(trial: Trial) -> int:
    """How many faults have been done; to be started again, continued or healed is none."""
    return sum(not any(word in text for word in MENDS) for _, text in trial.faults)


def _unsettled(trial: Trial, before: dict[str, int]) -> list[str]:
    """What nodes have too much of although nothing is done to them any more, and all have had time to let it go."""

    def found() -> list[str]:
        running = trial.bed.running()
        return [f"{device.name} has {text}" for device in running for text in excess(before, device.taken())]

    with suppress(TestbedError):
        wait_until(lambda: not found(), "files, sockets and threads are let go", EVENT_SECONDS)
    return found()


def _children(trial: Trial) -> list[psutil.Process]:
    """Processes that nodes have begun."""
    nodes = [psutil.Process(device.process.pid) for device in trial.bed.running()]
    return [child for node in nodes for child in node.children(recursive=True)]


def _strike(trial: Trial, hurts: list[tuple[int, Callable[[Trial], None]]]) -> None:
    """One fault, and now and then another in the recovery from it."""
    there = len(trial.others())
    if there <= FEWEST or (trial.away and trial.rng.random() < len(trial.away) / len(trial.bed.devices)):
        come_back(trial)
        return
    since = time.monotonic()
    weights = [weight for weight, _ in hurts]
    trial.rng.choices([hurt for _, hurt in hurts], weights)[0](trial)
    if len(trial.others()) > FEWEST and trial.rng.random() < IN_RECOVERY:
        with suppress(TestbedError):
            trial.watch.wait(trial.rng.choice(PHASES), seconds=5.0, since=since)
            kill_some(trial)


def _advance(trial: Trial, step: int, samples: list[Sample]) -> None:
    """Wait until the job has done this step; what it waits for is given back. Raises ``TestbedError``.

    Each second, and once at least, it is noted what each device's process takes.
    """
    deadline = time.monotonic() + STUCK_SECONDS
    while True:
        _weigh(trial, samples)
        with suppress(TestbedError):
            trial.watch.wait_step(trial.job, step, 1.0)
        if trial.watch.newest_step(trial.job) >= step:
            return
        reasons = [record["reason"] for record in trial.records() if record["state"] == "waiting"]
        if reasons and trial.away:
            trial.note(f"it waits: {reasons[0]}")
            trial.restart(*sorted(trial.away))
        if time.monotonic() > deadline:
            raise TestbedError(f"HANG: step {step} was not done within {STUCK_SECONDS:.0f} s: {trial.records()}")


def _weigh(trial: Trial, samples: list[Sample]) -> None:
    """Note what each device's process takes now."""
    for device in trial.bed.running():
        with suppress(psutil.Error, OSError):
            samples.append(Sample(device.name, device.process.pid, _harm_done(trial), device.taken()))


def scenario(faults: int, *, network: bool = False) -> Scenario:
    """The soak as a scenario."""
    return Scenario(
        "soak-network" if network else "soak",
        f"{faults} random faults in one run" + (", cuts among them" if network else ""),
        partial(soak, faults),
        nodes=NODES,
        needs="network" if network else "",
        changes=(("steps", str(faults * STEPS_PER_FAULT)),),
        waits=Waits.MAY,
    )
