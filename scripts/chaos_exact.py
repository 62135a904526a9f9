"""The scenarios in which a node dies at an exact point, by its own hand (``chaos_points``), and one that must fail."""

from __future__ import annotations

import json
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from chaos_points import FLIP, FORGETS, HASTY, STILL
from chaos_scenarios import FREQUENT, LATER, Choice, any_worker, kill, kill_everything, leader, leave
from chaos_trial import EVENT_SECONDS, LEAVE_SECONDS, Scenario, Script, Trial, Waits
from testbed import TestbedError, wait_until

LARGE = (("width", "400"),)
"""Layers of more bytes than one message of a replica holds."""


def _armed(trial: Trial, name: str) -> Path:
    return trial.bed.folder / f"{name}.armed"


def arm(
    trial: Trial, point: str, *names: str, count: int = 1, above: tuple[int, int] = (0, 0), victim: str = ""
) -> None:
    """Let nodes die when they reach a point for the count-th time from now on, or let them kill ``victim`` there."""
    for name in names:
        wanted: dict[str, Any] = {"point": point, "count": count, "above": above, "at": time.monotonic()}
        if victim:
            wanted["victim"] = trial.bed[victim].process.pid
        beside = _armed(trial, name).with_suffix(".new")
        beside.write_text(json.dumps(wanted), encoding="utf-8")
        beside.replace(_armed(trial, name))
        trial.note(f"{name} is armed: {point}")


def fallen(trial: Trial, point: str, *names: str) -> tuple[str, dict[str, Any]]:
    """Wait until one of these armed nodes has died, there and of nothing else; its name, and what was under way.

    The others are disarmed. Raises ``TestbedError``.
    """
    devices = [trial.bed[name] for name in names]
    wait_until(lambda: any(not device.running for device in devices), f"{point} is reached", EVENT_SECONDS)
    for name in names:
        _armed(trial, name).unlink(missing_ok=True)
    dead = []
    for device in devices:
        mark = trial.bed.folder / f"{device.name}.died"
        if not mark.exists():
            continue
        facts = json.loads(mark.read_text(encoding="utf-8"))
        mark.unlink()
        status = device.wait()
        if status != -signal.SIGKILL or facts["point"] != point:
            raise TestbedError(f"{device.name} ended with {status} at {facts}, not at {point}")
        trial.away.add(device.name)
        trial.note(f"{device.name} dies: {point}")
        dead.append((device.name, facts))
    if not dead:
        raise TestbedError(f"a node ended, but not at {point}: {[device.last_words() for device in devices]}")
    return dead[0]


def kill_in_phase(phase: str, choose: Choice, trial: Trial) -> None:
    """SIGKILL a worker, or let one leave where the phase is ``drain``; the leader kills another, or itself, in a phase.

    It does so when it has begun the phase and nothing has come of it yet, so the phase cannot be over.
    """
    leading, one = trial.leader(), any_worker(trial)
    two = choose(trial)
    if one == two:
        two = next(name for name in trial.workers() if name != one)
    running = max(trial.watch.steps[trial.job])[0]
    above = (0, 0) if phase == "drain" else running  # what is drained is the plan that runs
    arm(trial, phase, leading, above=above, victim="" if two == leading else two)
    if phase == "drain":
        trial.note(f"{one} is asked to leave")
        trial.bed[one].client.ask("leave")
    else:
        trial.kill(one)
    mark = trial.bed.folder / f"{leading}.died"
    wait_until(mark.exists, f"{phase} is reached", EVENT_SECONDS)
    reached = json.loads(mark.read_text(encoding="utf-8"))
    mark.unlink()
    if (status := trial.bed[two].wait()) != -signal.SIGKILL or reached["point"] != phase:
        raise TestbedError(f"{two} ended with {status} at {reached}, not killed at {phase}")
    trial.away.add(two)
    trial.note(f"{two} is killed at {phase.upper()} of plan {reached['stamp']}")
    if phase == "drain":
        trial.bed[one].wait(LEAVE_SECONDS)
        trial.away.add(one)


def kill_around_vote(point: str, trial: Trial) -> None:
    """SIGKILL the leader; a worker dies around the writing of its vote for the next one, and comes back."""
    victim = any_worker(trial)
    arm(trial, point, victim)
    trial.kill(trial.leader())
    _, facts = fallen(trial, point, victim)
    written = json.loads((trial.bed[victim].home / "vote.json").read_text(encoding="utf-8"))
    is_written = (written["term"], written["voted_for"]) == (facts["term"], facts["voted_for"])
    if is_written != (point == "after-vote"):
        raise TestbedError(f"{point}, and the file says {written}, the vote was {facts}")
    trial.restart(victim)


def kill_half_plan(trial: Trial) -> None:
    """SIGKILL a worker; the leader dies when one member has been told the next plan, and the others have not."""
    leading, victim = leader(trial), any_worker(trial)
    arm(trial, "half-plan", leading, count=2, above=max(trial.watch.steps[trial.job])[0])
    trial.kill(victim)
    _, facts = fallen(trial, "half-plan", leading)
    stamp = tuple(facts["stamp"])

    def told() -> set[str]:
        return {f.device for f in trial.watch.all("heard PlanChosen", trial.job) if f.stamp() == stamp}

    heard: set[str] = wait_until(told, "somebody has been told the plan", EVENT_SECONDS)
    if heard >= set(trial.others()):
        raise TestbedError(f"the plan was published to all: {heard}")


def kill_half_replica(trial: Trial) -> None:
    """A worker dies in the middle of a replica, and comes back."""
    names = trial.workers()
    arm(trial, "half-replica", *names, count=2)
    victim, facts = fallen(trial, "half-replica", *names)
    if not 0 < facts["waiting"] < facts["of"]:
        raise TestbedError(f"not in the middle of a replica: {facts}")
    trial.restart(victim)


def kill_after_update(trial: Trial) -> None:
    """A worker dies when its weights are updated and nobody has been told."""
    victim = any_worker(trial)
    arm(trial, "after-update", victim, count=3)
    fallen(trial, "after-update", victim)


def kill_before_rename(trial: Trial) -> None:
    """A worker dies when a copy has been written beside, and not renamed; it comes back, and has cleaned up."""
    victim = any_worker(trial)
    arm(trial, "between-write-and-rename", victim)
    _, facts = fallen(trial, "between-write-and-rename", victim)
    beside, target = Path(facts["source"]), Path(facts["target"])
    if not beside.exists() or target.exists():
        raise TestbedError(f"not between write and rename of {target.name}: {list(target.parent.iterdir())}")
    trial.restart(victim)
    if beside.exists():
        raise TestbedError(f"{beside} has not been removed by the next start")


def wrong_copies(trial: Trial) -> None:
    """One bit of every copy is wrong on every node; then a worker is killed, and the others go back to such copies."""
    arm(trial, FLIP, *trial.others())
    trial.steps_later(LATER)
    trial.protected(trial.watch.newest_step(trial.job) - LATER // 2)
    trial.kill(any_worker(trial))


def _phases() -> list[Scenario]:
    found = []
    for phase in ("fence", "inventory", "plan", "transfer", "resume", "drain"):
        for who, choose in (("worker", any_worker), ("leader", leader)):
            first = "a worker leaves" if phase == "drain" else "a worker is killed"
            text = f"{first}, and {'another is killed' if who == 'worker' else 'the leader'} at {phase.upper()}"
            script: Script = partial(kill_in_phase, phase, choose)
            short, waits = (phase, who) == ("transfer", "worker"), Waits.NEVER if who == "worker" else Waits.MAY
            found.append(Scenario(f"kill-{who}-at-{phase}", text, script, short=short, waits=waits, armed=True))
    return found


EXACT_SCENARIOS: tuple[Scenario, ...] = (
    *_phases(),
    *(
        Scenario(
            f"kill-{point}",
            f"the leader is killed, and a worker dies {point.replace('-', ' its ')} is on the disk",
            partial(kill_around_vote, point),
            armed=True,
            waits=Waits.MAY,
        )
        for point in ("before-vote", "after-vote")
    ),
    Scenario(
        "kill-half-plan",
        "the leader, when only one member has been told the plan",
        kill_half_plan,
        armed=True,
        waits=Waits.MAY,
    ),
    Scenario(
        "kill-half-replica",
        "a worker, in the middle of a replica",
        kill_half_replica,
        changes=(*FREQUENT, *LARGE),
        armed=True,
    ),
    Scenario("kill-after-update", "a worker, updated and not acknowledged", kill_after_update, armed=True),
    Scenario(
        "kill-between-write-and-rename",
        "a worker, its copy written and not renamed",
        kill_before_rename,
        changes=FREQUENT,
        armed=True,
    ),
)


def wrongly(how: str, script: Script, trial: Trial) -> None:
    """All nodes are wrong ones; then what another scenario does."""
    arm(trial, how, *trial.others())
    script(trial)


MUTANTS: tuple[Scenario, ...] = (
    Scenario("wrong-copies", "one bit of each copy is wrong", wrong_copies, changes=FREQUENT, armed=True),
    Scenario(
        "wrong-patience",
        "a job waits for a killed worker, though others have its layers",
        partial(wrongly, STILL, partial(kill, any_worker)),
        armed=True,
    ),
    Scenario(
        "wrong-leave",
        "a worker that leaves is treated as if it had died",
        partial(wrongly, HASTY, partial(leave, any_worker)),
        armed=True,
        planned=True,
    ),
    Scenario(
        "wrong-start", "restarted nodes forget their disks", partial(wrongly, FORGETS, kill_everything), armed=True
    ),
)
"""Played only by name: the verdict must be bad."""
