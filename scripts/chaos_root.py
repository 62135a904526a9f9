"""The scenarios that need root: cuts, loss, slow links in network namespaces; a full disk; the out-of-memory killer."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

from chaos_scenarios import FREQUENT, LATER, LONG, Choice, any_worker, leader
from chaos_trial import EVENT_SECONDS, Scenario, Trial
from testbed import TestbedError, wait_until
from testbed_groups import Group
from testbed_network import Network

LOSS, HEAVY_LOSS = 0.05, 0.2
SLOW_MBIT = 1.0
DISK_BYTES = 24 * 2**20
ROOM_BYTES = 4 * 2**20


def network(trial: Trial) -> Network:
    """The trial's network."""
    if trial.bed.network is None:
        raise TestbedError("this scenario needs a network of namespaces")
    return trial.bed.network


def recovered(trial: Trial, since: float, seconds: float = EVENT_SECONDS, **fields: str) -> None:
    """Wait until a job goes on by another plan."""
    trial.watch.wait("heard RecoveryReport", seconds=seconds, since=since, job=trial.job, **fields)


def cut(choose: Choice, trial: Trial) -> None:
    """Cut a node off both ways until the rest goes on without it; then heal it: the node is used again."""
    victim = choose(trial)
    network(trial).cut(victim)
    since = trial.note(f"cut {victim} off")
    recovered(trial, since)
    trial.steps_later(LATER)
    network(trial).heal()
    trial.joined(trial.note("healed"))


def cut_two(trial: Trial) -> None:
    """Cut two workers off together, a minority; heal when the majority goes on."""
    victims = trial.rng.sample(trial.workers(), 2)
    network(trial).cut(*victims)
    since = trial.note(f"cut {' and '.join(victims)} off")
    recovered(trial, since)
    trial.steps_later(LATER)
    network(trial).heal()
    trial.joined(trial.note("healed"))


def cut_reset(trial: Trial) -> None:
    """Connections between two workers and the rest are refused: each side proves the other dead, and goes on.

    The two are a lineage of their own at once, without the job's source; healed, there is one again, and uses them.
    """
    victims = trial.rng.sample(trial.workers(), 2)
    network(trial).refuse(*victims)
    since = trial.note(f"connections of {' and '.join(victims)} to the others are refused")
    recovered(trial, since)
    rest = trial.others(*victims)
    wait_until(lambda: not lineages(trial, victims) & lineages(trial, rest), "two lineages lead", EVENT_SECONDS)
    trial.steps_later(LATER)
    network(trial).heal()
    healed = trial.note("healed")
    wait_until(lambda: len(lineages(trial, trial.others())) == 1, "one lineage for all", EVENT_SECONDS)
    recovered(trial, healed)
    wait_until(lambda: set(victims) <= set(trial.plan()), "they are used again", EVENT_SECONDS)


def lineages(trial: Trial, names: list[str]) -> set[str]:
    """The lineages of these devices, and their leaders."""
    documents = [trial.bed[name].status() for name in names]
    return {f"{document['lineage']} {document['leader']}" for document in documents}


def cut_one_way(choose: Choice, trial: Trial) -> None:
    """A node hears nothing any more, but is heard; healed when the rest goes on without it: the node is used again."""
    victim = choose(trial)
    network(trial).deafen(victim)
    since = trial.note(f"{victim} hears nothing")
    recovered(trial, since)
    trial.steps_later(LATER)
    network(trial).heal()
    trial.joined(trial.note("healed"))


def cut_pair(trial: Trial) -> None:
    """Two neighbours of the plan cannot reach each other, all others can reach both; never healed. Both go on."""
    plan, workers = trial.plan(), trial.workers()
    pairs = [(a, b) for a, b in pairwise(plan) if {a, b} <= set(workers)]
    one, two = trial.rng.choice(pairs) if pairs else trial.rng.sample(workers, 2)
    network(trial).deafen(one, two)
    network(trial).deafen(two, one)
    recovered(trial, trial.note(f"{one} and {two} cannot reach each other"), EVENT_SECONDS)
    trial.steps_later(LATER)
    plan = trial.plan()
    if not {one, two} <= set(plan):
        raise TestbedError(f"a link is at fault, and a node was left out: {plan}")
    if abs(plan.index(one) - plan.index(two)) == 1:
        raise TestbedError(f"neighbours on the plan that cannot reach each other: {plan}")


def lossy(trial: Trial, share: float = LOSS) -> None:
    """Every node loses a share of what it receives, to the end; a worker is killed meanwhile."""
    for device in trial.bed.running():
        network(trial).lose(device.name, share)
    trial.note(f"{share:.0%} loss everywhere")
    trial.steps_later(LATER)
    trial.kill(any_worker(trial))


def slow_link(trial: Trial) -> None:
    """A worker's link falls to 1 Mbit/s, to the end; another worker is killed meanwhile."""
    slow, victim = trial.rng.sample(trial.workers(), 2)
    network(trial).limit(slow, SLOW_MBIT, latency_ms=400.0)
    trial.note(f"{slow} at {SLOW_MBIT:g} Mbit/s")
    trial.steps_later(LATER)
    trial.kill(victim)


def full_disk(trial: Trial) -> None:
    """A worker's disk is filled to the last byte; training goes on; then another worker is killed."""
    victim, other = trial.rng.sample(trial.workers(), 2)
    filler = trial.bed[victim].home / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    trial.note(f"{victim}'s disk is full")
    trial.steps_later(LATER)
    trial.protected(max(1, trial.watch.newest_step(trial.job) - LATER))
    trial.kill(other)
    recovered(trial, trial.faults[-1][0])
    filler.unlink()


def out_of_memory(trial: Trial) -> None:
    """Another program takes the memory that a worker's group may use, and the kernel kills the worker for it."""
    victim = any_worker(trial)
    device = trial.bed[victim]
    with ExitStack() as stack:
        group = Group(stack, f"{victim}-memory", "memory")
        group.add(device.process.pid)
        hog = subprocess.Popen([sys.executable, "-c", HOG], stdin=subprocess.PIPE)
        stack.callback(hog.wait)
        stack.callback(hog.kill)
        Path(f"/proc/{device.process.pid}/oom_score_adj").write_text("1000", encoding="ascii")  # the first to be killed
        group.add(hog.pid)
        group.memory(group.used_bytes() + ROOM_BYTES)
        since = trial.note(f"no memory is left for {victim}", time.monotonic())
        if hog.stdin is not None:
            hog.stdin.close()  # now it takes all it can get
        wait_until(lambda: not device.running, f"the kernel kills {victim}", EVENT_SECONDS)
    trial.away.add(victim)
    if device.process.returncode != -signal.SIGKILL:
        raise TestbedError(f"{victim} ended with {device.process.returncode}, it was not killed")
    recovered(trial, since)


HOG = """
import sys
sys.stdin.read()
taken = []
while True:
    taken.append(bytearray(1 << 20))
"""
"""Waits until its standard input ends, then takes memory for ever."""

NETWORK_SCENARIOS = (
    Scenario(
        "cut-worker", "a worker is cut off; healed later", partial(cut, any_worker), needs="network", changes=LONG
    ),
    Scenario("cut-leader", "the leader is cut off; healed later", partial(cut, leader), needs="network", changes=LONG),
    Scenario("cut-minority", "two of five are cut off together; healed later", cut_two, needs="network", changes=LONG),
    Scenario("cut-reset", "two of five are refused; healed later", cut_reset, needs="network", changes=LONG),
    Scenario(
        "cut-one-way",
        "a worker hears nothing but is heard; healed",
        partial(cut_one_way, any_worker),
        needs="network",
        changes=LONG,
    ),
    Scenario(
        "cut-leader-one-way", "the same with the leader", partial(cut_one_way, leader), needs="network", changes=LONG
    ),
    Scenario("cut-pair", "two neighbours cannot reach each other", cut_pair, needs="network"),
    Scenario("loss", "5 % of all packets are lost, and a worker killed", lossy, needs="network"),
    Scenario(
        "loss-heavy",
        "20 % of all packets are lost, and a worker killed",
        partial(lossy, share=HEAVY_LOSS),
        needs="network",
    ),
    Scenario("slow-link", "a link at 1 Mbit/s, and a worker killed", slow_link, needs="network"),
)

ROOT_SCENARIOS: tuple[Scenario, ...] = (
    *NETWORK_SCENARIOS,
    Scenario(
        "full-disk", "a worker's disk is full, and another killed", full_disk,
        needs="disk", changes=FREQUENT, disk_bytes=DISK_BYTES,
    ),
    Scenario("out-of-memory", "the kernel kills a worker for want of memory", out_of_memory, needs="memory"),
)  # fmt: skip
