"""Random jobs, devices and links for the tests of planners: small, and with times that often coincide."""

from __future__ import annotations

import random

from edged.core.job import JobSpec, LayerProfile
from edged.core.messages import MemberRecord, MemberState
from edged.core.plan import Hop, Plan, Route
from edged.core.situation import LinkSpeed, Situation
from tests.core.miniature import STAMP, make_spec, node


def member(
    number: int, *, slowness: float = 1.0, memory: int = 10**9, state: MemberState = MemberState.ALIVE
) -> MemberRecord:
    """Device ``number``; number 0 is the source."""
    return MemberRecord(
        node=node(number),
        name=f"device{number}",
        public_key="",
        addresses=(),
        control_port=1,
        bulk_port=2,
        door_port=3,
        protocol=1,
        boot=1,
        incarnation=0,
        state=state,
        slowness=slowness,
        memory_bytes=memory,
        device="cpu",
    )


def even(layers: int, **changes: object) -> JobSpec:
    """A job of equal layers that use no inputs."""
    return make_spec(layers, layers=(LayerProfile(1.0, 2.0, 100, 100, 50, 10, ()),) * layers, **changes)


def link(sender: int, receiver: int, startup: float, rate: float) -> LinkSpeed:
    return LinkSpeed(node(sender), node(receiver), startup, rate)


def drawn_seconds(draw: random.Random, *, whole: bool) -> float:
    return float(draw.randint(0, 4)) if whole else draw.uniform(0.001, 0.01)


def draw_spec(draw: random.Random, layers: int, **changes: object) -> JobSpec:
    """Layers with whole seconds in half of all cases, so that many things happen at one moment."""
    whole = draw.random() < 0.5
    profiles = tuple(
        LayerProfile(
            drawn_seconds(draw, whole=whole),
            drawn_seconds(draw, whole=whole),
            draw.randint(0, 900),
            draw.randint(0, 1000),
            draw.randint(0, 500),
            draw.choice((0, 1000, 20_000, draw.randint(0, 50_000))),
            tuple(i for i in range(2) if draw.random() < 0.2) if l else (0,),
        )
        for l in range(layers)
    )
    values: dict[str, object] = {
        "micro_batches": draw.randint(1, 6),
        "clips": draw.random() < 0.3,
        "on_nan": "skip" if draw.random() < 0.2 else "stop",
        "optimizer_copies": draw.randint(0, 2),
    }
    return make_spec(layers, layers=profiles, **(values | changes))


def draw_links(draw: random.Random, nodes: int) -> tuple[LinkSpeed, ...]:
    """None, some, or all pairs, of speeds that matter."""
    share = draw.choice((0.0, 0.5, 1.0))
    return tuple(
        link(a, b, draw.choice((0.0, 1.0, draw.uniform(0, 0.01))), draw.choice((1e4, 1e6, draw.uniform(1e6, 1e8))))
        for a in range(nodes)
        for b in range(nodes)
        if a != b and draw.random() < share
    )


def draw_situation(draw: random.Random, *, most_nodes: int = 4, most_layers: int = 6, **changes: object) -> Situation:
    nodes = draw.randint(1, most_nodes)
    members = tuple(member(n, slowness=draw.choice((1.0, 2.0, draw.uniform(0.5, 9.0)))) for n in range(nodes))
    return Situation(draw_spec(draw, draw.randint(1, most_layers), **changes), members, links=draw_links(draw, nodes))


def draw_plan(draw: random.Random, situation: Situation, *, revisit: bool = False) -> Plan:
    """One route, any order, any cut, any windows; with ``revisit`` the last hop may be on the first one's node."""
    spec, numbers = situation.spec, [m.node for m in situation.members]
    layers = len(spec.layers)
    count = draw.randint(1, min(layers, len(numbers)))
    nodes = draw.sample(numbers, count)
    if revisit and count < layers:
        nodes.append(nodes[0])
    cuts = (0, *sorted(draw.sample(range(1, layers), len(nodes) - 1)), layers)
    hops = tuple(
        Hop(nodes[h], cuts[h], cuts[h + 1] - 1, draw.randint(1, spec.micro_batches + 1)) for h in range(len(nodes))
    )
    return Plan(
        STAMP, "any", "drawn", layers, spec.micro_batches, (Route(hops, tuple(range(spec.micro_batches))),), 0.0
    )
