"""A pipeline over unequal devices: against the sum of their speeds, the fastest alone, and a split that ignores them.

Nodes in network namespaces (root), links of 1 Gbit/s or 100 Mbit/s, ``--slowdown`` for the devices; 64 micro-batches
of 8 samples per step. Speeds are samples per second of steady steps: those of one plan, from 20 s after its first.

- three-1gbit, three-100mbit: 1:1:10, MobileNetV2, strategy "auto", against one fast node alone and 2.1 times that.
- blind-mobilenet, blind-gpt, blind-gpt-async: the same at 1 Gbit/s, "auto" against "equal" (all nodes taken as equally
  fast), whose seconds per step are the mean over the three places that the slow node can have in the order.
- four-unequal, four-equal: 1:2:5:10 and 1:1:1:1, MobileNetV2, against a fast node alone, the sum of speeds, and what
  exhaustive search with an event simulation allows (scripts/exhaustive.py), by the profile of the layers and the step
  of the fast node alone.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarking import (
    SCRIPTS,
    Comparison,
    NotMeasuredError,
    add_device,
    alone,
    arguments,
    base,
    begin,
    compared,
    dealt,
    each_case,
    interleaved,
    need_network,
    networked,
    report,
    say,
)
from exhaustive import Block, Links, Search
from job_run import WARM_SECONDS, JobRun, Steady, steady_steps
from testbed import Testbed, ended_by_signals

from edged.errors import JobError
from edged.transport.identity import load_identity

MICRO_BATCHES, MICRO_BATCH = 64, 8
STEPS = 1_000_000
"""More than are waited for: a job is stopped once it has been measured."""

MOBILENET, GPT = SCRIPTS / "bench_model.py", SCRIPTS / "bench_gpt.py"
THREE, FOUR, FOUR_EQUAL = (1.0, 1.0, 10.0), (1.0, 2.0, 5.0, 10.0), (1.0, 1.0, 1.0, 1.0)
GIGABIT, FAST_ETHERNET = 1000.0, 100.0
UNIT = "samples/s"
MOST_BLIND_ROUNDS = 2
"""A round of a blind case takes five minutes and more."""

LINK_STARTUP = 0.0005
"""Seconds that a message of no bytes is taken to need between two nodes, in the simulation."""

OF_ALLOWED = 0.95
"""Of what exhaustive search allows."""


@dataclass(frozen=True)
class Length:
    """How many steps are measured, how many seconds after the first step of a plan, and how long ones."""

    steps: int
    warm_seconds: float
    micro_batches: int = MICRO_BATCHES


FULL, QUICK = Length(4, WARM_SECONDS), Length(1, 0.0, 8)
BLIND_FULL = Length(1, 0.0)
"""A step of more than a minute."""

ASYNC_FULL, ASYNC_BLIND, ASYNC_QUICK = Length(256, WARM_SECONDS), Length(64, 10.0), Length(10, 1.0)
"""Of asynchronous jobs, whose every micro-batch is a step."""


def measured(bed: Testbed, name: str, job: Path, length: Length, strategy: str = "auto", mode: str = "sync") -> float:
    """Samples per second of a job whose source is device ``name``."""
    changes = {"micro_batches": length.micro_batches, "steps": STEPS, "strategy": strategy}
    changes |= {} if mode == "sync" else {"mode": mode}
    found = steady_steps(bed[name].home, job, changes, steps=length.steps, warm_seconds=length.warm_seconds)
    return speed(found, length, mode)


def speed(found: Steady, length: Length, mode: str) -> float:
    """Samples per second; of an asynchronous job over all steps together, since they come in bunches."""
    return MICRO_BATCH / found.mean if mode == "async" else length.micro_batches * MICRO_BATCH / found.median


def profile(bed: Testbed) -> list[Block]:
    """Seconds and bytes of the layers of MobileNetV2, as the source of a job finds them."""
    with JobRun(bed["n0"].home, MOBILENET, {"micro_batches": 8}) as run:
        layers: Sequence[Mapping[str, Any]] = run.spec()["layers"]
    return [Block(each["forward_seconds"], each["backward_seconds"], each["crossing_bytes"]) for each in layers]


# --------------------------------------------------------------------------------------- against speeds that add up


def three(name: str, mbit: float, goal: float, options: argparse.Namespace) -> list[Comparison]:
    """1:1:10 against the ideal sum of speeds, and against the fastest alone."""
    length = QUICK if options.quick else FULL
    with networked(THREE, mbit) as bed, alone(base(THREE)) as one:
        mine, single = interleaved(
            lambda: measured(bed, "n0", MOBILENET, length),
            lambda: measured(one, "n0", MOBILENET, length),
            rounds=options.rounds,
            unit=UNIT,
        )
    return [
        against_sum(f"{name} / sum of speeds", mine, single, THREE, goal),
        compared(f"{name} / fastest alone", mine, single, goal=1.85, unit=UNIT),
    ]


def four(name: str, slowness: Sequence[float], options: argparse.Namespace) -> list[Comparison]:
    """Four nodes against the sum of speeds, the fastest alone, and what exhaustive search allows."""
    length = QUICK if options.quick else FULL
    with networked(slowness, GIGABIT) as bed, alone(base(slowness)) as one:
        mine, single = interleaved(
            lambda: measured(bed, "n0", MOBILENET, length),
            lambda: measured(one, "n0", MOBILENET, length),
            rounds=options.rounds,
            unit=UNIT,
        )
        blocks = profile(one)
    allowed = [allowed_speed(blocks, slowness, each, length.micro_batches) for each in single]
    return [
        against_sum(f"{name} / sum of speeds", mine, single, slowness, 0.85),
        compared(f"{name} / exhaustive search", mine, allowed, goal=OF_ALLOWED, unit=UNIT),
        compared(f"{name} / fastest alone", mine, single, goal=1.0, unit=UNIT),
    ]


def against_sum(
    name: str, ours: list[float], single: list[float], slowness: Sequence[float], goal: float
) -> Comparison:
    """Against what all nodes would do if they lost nothing by working together."""
    total = sum(1 / each for each in slowness)
    return compared(name, ours, [total * each for each in single], goal=goal, unit=UNIT)


def allowed_speed(
    blocks: Sequence[Block], slowness: Sequence[float], single: float, micro_batches: int = MICRO_BATCHES
) -> float:
    """Samples per second of the best pipeline; blocks are scaled to ``single``, those of the fastest node alone."""
    scale = MICRO_BATCH / single / sum(block.forward + block.backward for block in blocks)
    scaled = [Block(scale * block.forward, scale * block.backward, block.crossing) for block in blocks]
    best = Search(scaled, slowness, micro_batches, Links(GIGABIT * 1e6 / 8, LINK_STARTUP)).best()
    say(f"  exhaustive search: {best.seconds:.3f} s a step, nodes {best.order}, first layers {best.cuts}")
    return micro_batches * MICRO_BATCH / best.seconds


# ---------------------------------------------------------------------------------- against a split that is blind


def blind(name: str, job: Path, goal: float, options: argparse.Namespace, mode: str = "sync") -> list[Comparison]:
    """Strategy "auto" against "equal" on 1:1:10, the mean over the places of the slow node."""
    if reason := refused(mode):
        raise NotMeasuredError(reason)
    seeing, unseeing = (ASYNC_FULL, ASYNC_BLIND) if mode == "async" else (FULL, BLIND_FULL)
    if options.quick:
        seeing = unseeing = ASYNC_QUICK if mode == "async" else QUICK
    with ExitStack() as stack:
        bed = placed(stack)
        mine, others = interleaved(
            lambda: measured(bed, "n0", job, seeing, mode=mode),
            lambda: over_places([measured(bed, source, job, unseeing, "equal", mode) for source in bed.devices]),
            rounds=min(options.rounds, MOST_BLIND_ROUNDS),
            unit=UNIT,
        )
    return [compared(f"{name} / capacity-blind", mine, others, goal=goal, unit=UNIT)]


def refused(mode: str) -> str:
    """Why jobs of this mode cannot be measured; empty if they can."""
    from bench_gpt import job

    try:
        job(mode=mode)
    except JobError as error:
        return str(error)
    return ""


def over_places(speeds: Sequence[float]) -> float:
    """The speed whose seconds per step are the mean of those at these speeds."""
    return statistics.harmonic_mean(speeds)


def placed(stack: ExitStack) -> Testbed:
    """1:1:10 at 1 Gbit/s, with the slow node's id between those of the others.

    "equal" puts the source first and the others by their ids. So the slow node, n2, comes first if it is the source
    itself, and second or third if a fast one is: whichever of the two, each gives one of these places.
    """
    bed = Testbed(stack, network=True)
    for slowness, place in zip(THREE, dealt(THREE), strict=True):
        add_device(bed, slowness * base(THREE), GIGABIT, place)
    homes = [device.home for device in bed.devices.values()]
    while not in_the_middle(*(load_identity(home).node for home in homes)):
        (homes[-1] / "identity.json").unlink()
    begin(bed)
    return bed


def in_the_middle(one: str, other: str, slow: str) -> bool:
    """Whether the slow node's id stands between the others'."""
    return min(one, other) < slow < max(one, other)


Case = Callable[[argparse.Namespace], list[Comparison]]

CASES: Mapping[str, Case] = {
    "three-1gbit": partial(three, "1:1:10, 1 Gbit/s", GIGABIT, 0.93),
    "three-100mbit": partial(three, "1:1:10, 100 Mbit/s", FAST_ETHERNET, 0.90),
    "blind-mobilenet": partial(blind, "1:1:10, MobileNetV2", MOBILENET, 6.0),
    "blind-gpt": partial(blind, "1:1:10, GPT of 42 blocks", GPT, 6.4),
    "blind-gpt-async": partial(blind, "1:1:10, GPT of 42 blocks, asynchronous", GPT, 6.8, mode="async"),
    "four-unequal": partial(four, "1:2:5:10, 1 Gbit/s", FOUR),
    "four-equal": partial(four, "1:1:1:1, 1 Gbit/s", FOUR_EQUAL),
}


def main() -> None:
    """Measure the cases; exit status 1 if a goal was missed."""
    options = arguments(__doc__ or "", rounds=4, cases=tuple(CASES))
    need_network(as_json=options.json)
    with ended_by_signals():
        comparisons, complete = each_case(options.case, lambda name: CASES[name](options))
    report(comparisons, as_json=options.json, complete=complete)


if __name__ == "__main__":
    main()
