"""The scenarios that need no root: processes killed, stopped, joined, taken out, at points that journals tell of."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

from chaos_trial import EVENT_SECONDS, Scenario, Trial, Waits
from testbed import TestbedError, wait_until

EARLY, LATER = 12, 10
"""A fault comes so many steps after the beginning, or after the fault before it."""

LITTLE_DISK_BYTES = 4096
"""Not 0: that limit would also stop writing over a file in place, as votes are, which a full disk does not."""

Choice = Callable[[Trial], str]


def first_worker(trial: Trial) -> str:
    """The first of the plan that is neither source nor leader."""
    return trial.workers()[0]


def middle_worker(trial: Trial) -> str:
    """One that is neither at the plan's beginning nor its end."""
    workers = [name for name in trial.plan()[1:-1] if name in trial.workers()]
    return trial.rng.choice(workers or trial.workers())


def last_stage(trial: Trial) -> str:
    """The plan's last node."""
    return trial.plan()[-1]


def any_worker(trial: Trial) -> str:
    """Any that is neither source nor leader."""
    return trial.rng.choice(trial.workers())


def leader(trial: Trial) -> str:
    """The leader."""
    return trial.leader()


def source(trial: Trial) -> str:
    """The node that the job was handed to."""
    return trial.source


# -- one after the other


def kill(choose: Choice, trial: Trial) -> None:
    """SIGKILL one."""
    trial.kill(choose(trial))


def kill_source_with_copy(trial: Trial) -> None:
    """SIGKILL the source once another node holds all samples, which that one then draws."""
    holder = trial.bed.named(trial.data_holder())
    trial.note(f"{holder} holds the samples")
    since = trial.kill(trial.source)
    told = trial.watch.wait("heard PlanChosen", seconds=EVENT_SECONDS, since=since, job=trial.job)
    if trial.bed.named(told.body["spec"]["source"]) != holder:
        trial.complaints.append(f"{holder} had the samples, and {told.body['spec']['source']} draws them")


def kill_neighbours(trial: Trial) -> None:
    """SIGKILL two nodes next to each other on the plan, at once."""
    plan, workers = trial.plan(), set(trial.workers())
    pairs = [(a, b) for a, b in pairwise(plan) if {a, b} <= workers]
    trial.kill(*(trial.rng.choice(pairs) if pairs else trial.rng.sample(sorted(workers), 2)))


def kill_leader_and_ring_successor(trial: Trial) -> None:
    """SIGKILL the leader and the node that holds the replicas of its layers, at once."""
    plan, leading = trial.plan(), trial.leader()
    successor = plan[(plan.index(leading) + 1) % len(plan)] if leading in plan else plan[-1]
    trial.kill(leading, successor)


def kill_leader_and_next(trial: Trial) -> None:
    """SIGKILL the leader, and the one who is elected instead as soon as that is told."""
    before = trial.leader()
    since = trial.kill(before)
    told = trial.watch.wait("TellLeader", seconds=EVENT_SECONDS, since=since, device=trial.others()[0])
    while told.body["leader"] is None or trial.bed.named(told.body["leader"]) == before:
        told = trial.watch.wait("TellLeader", seconds=EVENT_SECONDS, since=told.now, device=told.device)
    trial.kill(trial.bed.named(told.body["leader"]))


def kill_all_but_one(trial: Trial) -> None:
    """SIGKILL all but one, at once."""
    survivor = trial.rng.choice(trial.others())
    trial.kill(*trial.others(survivor))


def kill_everything(trial: Trial, absent: int = 0, torn: int = 0) -> None:
    """SIGKILL all at once once a version is on the disks, then start all again, or all but some that are not needed.

    ``torn``: so many workers find what they have written damaged; others have written all of it too.
    """
    trial.watch.wait("HeldStored", seconds=EVENT_SECONDS)
    trial.protected(1)
    wait_until(lambda: trial.stored() > 0, "a version lies on the disks of all", EVENT_SECONDS)
    away, names = trial.workers()[:absent], trial.others()
    damaged = trial.workers()[:torn]
    stored, since = trial.stored(), trial.kill(*names)
    for name in damaged:
        tear(trial, name)
    trial.restart(*(name for name in names if name not in away))
    told = trial.watch.wait("heard Prepare", seconds=EVENT_SECONDS, since=since, job=trial.job)
    trial.note(f"goes on from version {told.body['version']}; {stored} lay on the disks")
    if told.body["version"] < stored:
        trial.complaints.append(f"version {stored} lay on the disks, and the job went back to {told.body['version']}")


def tear(trial: Trial, name: str) -> None:
    """Of what a node that is dead has written, every other file loses its second half, the rest one bit each."""
    files = sorted((trial.bed[name].home / "held" / trial.job).glob("*.safetensors"))
    if not files:
        raise TestbedError(f"{name} has written nothing")
    for number, path in enumerate(files):
        content = bytearray(path.read_bytes())
        if number % 2:
            content[len(content) - len(content) // 4] ^= 1
        else:
            del content[len(content) // 2 :]
        path.write_bytes(content)
    trial.note(f"{len(files)} files of {name} are damaged")


def kill_at(kind: str, choose: Choice, trial: Trial) -> None:
    """SIGKILL a node as soon as its own journal tells of this."""
    victim = choose(trial)
    seen = trial.watch.wait(kind, seconds=EVENT_SECONDS, since=time.monotonic(), device=victim)
    trial.note(f"seen: {seen.kind} on {victim}")
    trial.kill(victim)


def hang(choose: Choice, trial: Trial) -> None:
    """SIGSTOP a node until the job goes on without it; then let it return (a zombie of an older plan)."""
    victim = choose(trial)
    since = trial.hang(victim)
    trial.watch.wait("heard RecoveryReport", seconds=EVENT_SECONDS, since=since, job=trial.job)
    trial.steps_later(LATER)
    trial.go_on(victim)


def hang_briefly(trial: Trial) -> None:
    """SIGSTOP a worker, and continue it as soon as a step is missed: nobody need be called dead."""
    victim = any_worker(trial)
    since = trial.hang(victim)
    before = trial.watch.step_seconds(trial.job)
    with_patience = max(0.3, 5 * before)
    trial.pause(with_patience, since)
    trial.go_on(victim)


def leave_beside_hang(trial: Trial) -> None:
    """A node leaves while another is stopped, and both return: three times. Then all know each other."""
    for _ in range(3):
        leaving, hung = trial.rng.sample(trial.others(trial.source, trial.leader()), 2)
        since = trial.hang(hung)
        trial.leave(leaving)
        trial.watch.wait("heard RecoveryReport", seconds=EVENT_SECONDS, since=since, job=trial.job)
        trial.go_on(hung)
        trial.restart(leaving)
        trial.bed.settle()


def join(trial: Trial) -> None:
    """Start one more device in mid-run."""
    since = trial.note("a new device joins")
    trial.newcomer()
    trial.joined(since)


def leave(choose: Choice, trial: Trial) -> None:
    """Let a node leave gracefully."""
    trial.leave(choose(trial))


def kill_and_return(trial: Trial) -> None:
    """SIGKILL a worker, start it again in its home, wait until it has layers again, and the same with another."""
    for _ in range(2):
        victim = any_worker(trial)
        since = trial.kill(victim)
        trial.watch.wait("heard RecoveryReport", seconds=EVENT_SECONDS, since=since, job=trial.job)
        trial.restart(victim)
        trial.joined(since)
        trial.protected(1)


def fill_files(trial: Trial) -> None:
    """No file of a worker can grow any more (RLIMIT_FSIZE): its disk is full; then kill another one."""
    victim, other = trial.rng.sample(trial.workers(), 2)
    trial.note(f"{victim} can write nothing any more")
    limits = (LITTLE_DISK_BYTES, LITTLE_DISK_BYTES)
    resource.prlimit(trial.bed[victim].process.pid, resource.RLIMIT_FSIZE, limits)
    trial.steps_later(LATER)
    trial.protected(max(1, trial.watch.newest_step(trial.job) - LATER))
    trial.kill(other)


def attack(name: str, trial: Trial) -> None:
    """A member of the cluster sends malformed frames to all nodes; it is shut out, and nothing else happens.

    Its frames speak of the job and of the plan at work, as those of a member whose memory fails would.
    """
    nodes = [device.address for device in trial.bed.running()]
    key = next(iter(trial.bed.folder.glob("*.key")))
    command = [sys.executable, str(Path(__file__).with_name("chaos_hostile.py")), name, *nodes, "--key-file", str(key)]
    term, version = max(trial.watch.steps[trial.job])[0]
    command += ["--stamp", trial.job, str(term), str(version), "--seed", str(trial.rng.randrange(1 << 30))]
    trial.note(name)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TestbedError(f"the hostile member failed: {done.stderr.strip().splitlines()[-1:]}")
    frames = json.loads(done.stdout)
    trial.note(f"{frames['sent']} frames taken in, {frames['refused']} refused")
    if not frames["least_refused"]:
        raise TestbedError("a node took in all malformed frames and did not shut their sender out")


def nothing(trial: Trial) -> None:
    """No fault: the job just runs; what the others are compared with."""
    trial.steps_later(LATER)


MOVED = (("moved", "true"),)
FREQUENT = (("every", "4"),)
LONG = (("steps", "400"), ("pause", "0.0025"))
"""At least 16 seconds: newcomers are given layers five seconds after a change of plan, and take their time to start."""


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("undisturbed", "no fault", nothing),
    Scenario("kill-first-worker", "SIGKILL of the first worker behind the source", partial(kill, first_worker)),
    Scenario("kill-middle", "SIGKILL of a worker in the middle", partial(kill, middle_worker), short=True),
    Scenario("kill-last", "SIGKILL of the last stage", partial(kill, last_stage)),
    Scenario("kill-leader", "SIGKILL of the leader", partial(kill, leader), short=True),
    Scenario("kill-source", "SIGKILL of the source, whose samples are copied", kill_source_with_copy),
    Scenario(
        "kill-source-uncopied",
        "the same where no copy can stand in: it waits",
        partial(kill, source),
        changes=MOVED,
        waits=Waits.MUST,
    ),
    Scenario(
        "kill-leading-source",
        "SIGKILL of the node that leads and is the source",
        partial(kill, source),
        leader_is_source=True,
        waits=Waits.MAY,
    ),
    Scenario("kill-neighbours", "two neighbours at once", kill_neighbours, nodes=6),
    Scenario(
        "kill-leader-and-holder",
        "the leader and who holds its layers, at once",
        kill_leader_and_ring_successor,
        waits=Waits.MAY,
    ),
    Scenario(
        "kill-leader-and-next",
        "the leader, and the next as soon as it is elected",
        kill_leader_and_next,
        waits=Waits.MAY,
    ),
    Scenario("kill-all-but-one", "all but one, at once", kill_all_but_one, short=True, waits=Waits.MAY),
    Scenario("kill-everything", "all at once; all started again", kill_everything),
    Scenario(
        "restart-some",
        "all at once; all but a worker started again",
        partial(kill_everything, absent=1),
        changes=FREQUENT,
    ),
    Scenario(
        "restart-torn",
        "all at once; all started again, and a worker's files are damaged",
        partial(kill_everything, torn=1),
        changes=FREQUENT,
    ),
    Scenario(
        "kill-at-snapshot",
        "a worker, while it copies its layers",
        partial(kill_at, "TakeSnapshot", any_worker),
        changes=FREQUENT,
    ),
    Scenario(
        "kill-at-replica",
        "a worker, while it sends a replica",
        partial(kill_at, "SendHeld", any_worker),
        changes=FREQUENT,
    ),
    Scenario(
        "kill-at-commit",
        "the leader, as it commits a version",
        partial(kill_at, "sends Committed", leader),
        changes=FREQUENT,
    ),
    Scenario(
        "kill-at-store",
        "a worker, while it writes to its disk",
        partial(kill_at, "StoreHeld", any_worker),
        changes=FREQUENT,
    ),
    Scenario(
        "hang-worker", "SIGSTOP of a worker, SIGCONT when others have gone on", partial(hang, any_worker), short=True
    ),
    Scenario("hang-leader", "the same with the leader", partial(hang, leader)),
    Scenario("hang-briefly", "SIGSTOP of a worker for a moment", hang_briefly),
    Scenario("join", "a new device in mid-run", join, short=True, changes=LONG, planned=True),
    Scenario("leave-worker", "a worker leaves gracefully", partial(leave, any_worker), short=True, planned=True),
    Scenario("leave-leader", "the leader leaves gracefully", partial(leave, leader), planned=True),
    Scenario(
        "leave-beside-hang",
        "a node leaves while another is stopped, three times",
        leave_beside_hang,
        changes=LONG,
    ),
    Scenario("kill-and-return", "a worker is killed and comes back, twice", kill_and_return, changes=LONG),
    Scenario("flipped-bit", "a member sends sound frames with one wrong bit", partial(attack, "flipped-bit")),
    Scenario(
        "malformed-storm", "a member sends a storm of malformed frames", partial(attack, "malformed-storm"), short=True
    ),
    Scenario("full-files", "a worker can write no file any more, then another is killed", fill_files, changes=FREQUENT),
)
