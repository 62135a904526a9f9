"""The soak: hundreds of random faults from one seed, done to one long job; the verdict is that of every scenario."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import psutil
from chaos_trial import Scenario, Trial
from testbed import TestbedError

STEPS_PER_FAULT = 20
"""More than the usual interval of the replicas, so that the job gets on whatever happens."""

NODES, FEWEST = 6, 2
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


HURTS: tuple[tuple[int, Callable[[Trial], None]], ...] = ((10, kill_some), (3, kill_leader), (4, hang), (2, leave))


def soak(faults: int, trial: Trial) -> None:
    """Disturb the job at its every twentieth step or so, until so many faults have been done."""
    hurts = [*HURTS, *([(4, cut)] if trial.bed.network is not None else [])]
    most: dict[str, dict[str, int]] = {}
    while len(trial.faults) < faults:
        _advance(trial, len(trial.faults) * STEPS_PER_FAULT)
        _weigh(trial, most)
        done = len(trial.faults)
        _strike(trial, hurts)
        for _, text in trial.faults[done:]:
            print(f"step {trial.watch.newest_step(trial.job)}, fault {len(trial.faults)}: {text}", file=sys.stderr)
    trial.go_on_all()
    if trial.away:
        trial.restart(*sorted(trial.away))
    _advance(trial, faults * STEPS_PER_FAULT - 1)
    _weigh(trial, most)
    trial.figures["most"] = most
    trial.figures["zombies"] = sum(process.status() == psutil.STATUS_ZOMBIE for process in psutil.Process().children())


def _strike(trial: Trial, hurts: list[tuple[int, Callable[[Trial], None]]]) -> None:
    """One fault, and now and then another in the recovery from it."""
    there = len(trial.others())
    if there <= FEWEST or (trial.away and trial.rng.random() < len(trial.away) / NODES):
        come_back(trial)
        return
    since = time.monotonic()
    weights = [weight for weight, _ in hurts]
    trial.rng.choices([hurt for _, hurt in hurts], weights)[0](trial)
    if len(trial.others()) > FEWEST and trial.rng.random() < IN_RECOVERY:
        with suppress(TestbedError):
            trial.watch.wait(trial.rng.choice(PHASES), seconds=5.0, since=since)
            kill_some(trial)


def _advance(trial: Trial, step: int) -> None:
    """Wait until the job has done this step; what it waits for is given back. Raises ``TestbedError``."""
    deadline = time.monotonic() + STUCK_SECONDS
    while trial.watch.newest_step(trial.job) < step:
        with suppress(TestbedError):
            trial.watch.wait_step(trial.job, step, 1.0)
        reasons = [record["reason"] for record in trial.records() if record["state"] == "waiting"]
        if reasons and trial.away:
            trial.note(f"it waits: {reasons[0]}")
            trial.restart(*sorted(trial.away))
        if time.monotonic() > deadline:
            raise TestbedError(f"HANG: step {step} was not done within {STUCK_SECONDS:.0f} s: {trial.records()}")


def _weigh(trial: Trial, most: dict[str, dict[str, int]]) -> None:
    """Note the most that each device's process has taken so far."""
    for device in trial.bed.running():
        with suppress(psutil.Error):
            so_far = most.setdefault(device.name, {})
            for name, amount in device.taken().items():
                so_far[name] = max(amount, so_far.get(name, 0))


def scenario(faults: int, *, network: bool = False) -> Scenario:
    """The soak as a scenario."""
    return Scenario(
        "soak-network" if network else "soak",
        f"{faults} random faults in one run" + (", cuts among them" if network else ""),
        partial(soak, faults),
        nodes=NODES,
        needs="network" if network else "",
        changes=(("steps", str(faults * STEPS_PER_FAULT)),),
    )
