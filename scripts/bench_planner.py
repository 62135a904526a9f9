"""How long planning takes, and how near its step times come to what the members' speeds allow.

Run ``python scripts/bench_planner.py``. Members are drawn from a seed: slowness between 1 and 10, and, where links are
said to be measured, rates between 100 Mbit/s and 1 Gbit/s; half of the layers are three times as heavy as the others.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from dataclasses import dataclass

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, LayerProfile
from edged.core.messages import MemberRecord, MemberState
from edged.core.situation import LinkSpeed, Situation
from edged.strategies import PLANNERS

CASES = ((3, 42, 64, True), (4, 97, 64, True), (8, 42, 64, True), (20, 100, 64, False), (20, 100, 64, True),
         (100, 100, 64, False), (1000, 200, 64, False), (1000, 200, 64, True))  # fmt: skip
"""(nodes, layers, micro-batches, whether links are measured)."""

MEASURED = 20
"""Each node's links to so many others are measured."""


@dataclass(frozen=True)
class Outcome:
    """One planning: seconds that it took, the nodes that it uses, seconds of a step, and of one that wastes nothing."""

    seconds: float
    used: int
    step_seconds: float
    ideal_seconds: float


def situation_of(nodes: int, layers: int, micro_batches: int, *, measured: bool, seed: int = 0) -> Situation:
    """A drawn cluster and job; the first node is the source."""
    draw = random.Random(seed)
    names = [NodeId(f"{number:016x}") for number in range(nodes)]
    members = tuple(_member(name, 1.0 if not number else draw.uniform(1.0, 10.0)) for number, name in enumerate(names))
    links = tuple(
        LinkSpeed(a, b, 0.0005, draw.uniform(12.5e6, 125e6))
        for a in (names if measured else ())
        for b in draw.sample(names, min(MEASURED, nodes))
        if a != b
    )
    profiles = tuple(
        LayerProfile(0.001 * heavy, 0.002 * heavy, 40_000, 40_000, 100_000, 50_000, (0,) if not layer else ())
        for layer in range(layers)
        for heavy in (3 if layer % 2 else 1,)
    )
    return Situation(_spec(names[0], profiles, micro_batches), members, links=links)


def measure(nodes: int, layers: int, micro_batches: int, *, measured: bool, strategy: str) -> Outcome:
    """Plan once; seconds are processor time, which other programs do not lengthen."""
    situation = situation_of(nodes, layers, micro_batches, measured=measured)
    began = time.process_time()
    plan = PLANNERS[strategy](situation, Stamp(JobId("0" * 12), 1, 1))
    seconds = time.process_time() - began
    work = micro_batches * sum(layer.forward_seconds + layer.backward_seconds for layer in situation.spec.layers)
    speed = sum(1.0 / member.slowness for member in situation.members)
    return Outcome(seconds, len(plan.nodes()), plan.predicted_step_seconds, work / speed)


def main() -> None:
    """Print a line for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--strategy", default="auto", help="which planner (default auto)")
    arguments = parser.parse_args()
    sys.stdout.write("nodes layers micro-batches links     processor  used  step       of the ideal\n")
    for nodes, layers, micro_batches, measured in CASES:
        found = measure(nodes, layers, micro_batches, measured=measured, strategy=arguments.strategy)
        sys.stdout.write(
            f"{nodes:5} {layers:6} {micro_batches:13} {'measured' if measured else 'assumed':9} {found.seconds:7.3f} s "
            f"{found.used:5}  {found.step_seconds:7.3f} s  {found.ideal_seconds / found.step_seconds:.2f}\n"
        )
        sys.stdout.flush()


def _member(name: NodeId, slowness: float) -> MemberRecord:
    return MemberRecord(
        node=name, name=f"device-{name}", public_key="", addresses=(), control_port=1, bulk_port=2, door_port=3,
        protocol=1, boot=1, incarnation=0, state=MemberState.ALIVE, slowness=slowness, memory_bytes=10**9, device="cpu",
    )  # fmt: skip


def _spec(source: NodeId, layers: tuple[LayerProfile, ...], micro_batches: int) -> JobSpec:
    return JobSpec(
        job=JobId("0" * 12), name="bench", source=source, strategy="auto", mode="sync", program="", layers=layers,
        parameters=len(layers), inputs=1, samples=800 * micro_batches, batch_size=8 * micro_batches,
        micro_batches=micro_batches, drop_last=True, epochs=1, steps=100, eval_samples=0, seed=0, clips=False,
        optimizer_copies=1, keep_inputs_home="", shuffle=False, replicate_every=0, on_nan="stop", source_slowness=1.0,
        training="{}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
