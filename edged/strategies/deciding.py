"""Whether another plan is worth the change: the plan in force and the best other one, by the same figures.

A change is made only if it gains more, over the steps that are left, than it costs, and if it gains as large a share
of the step time as the leader wants (``core/drift.py``), which is more than figures are sure to: otherwise noise would
move layers to and fro. A member that is new is treated like any other, but by the strategies by which everyone takes
part. Where a node's memory does not hold its part any more, the change is made in any case.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

from edged.core.ids import NodeId, Stamp
from edged.core.plan import Plan
from edged.core.situation import LEAST_GAIN, SURE_GAIN, Situation
from edged.strategies.cost import PlanImpossibleError, StageCost
from edged.strategies.figures import Figures
from edged.strategies.prediction import predicted_seconds
from edged.strategies.spread import ALL_TAKE_PART

REBUILD_SECONDS = 0.5
"""What a change takes besides the drain and the moving: stages are built, everyone is told."""


class Decision(NamedTuple):
    """A plan to change to, or ``None``: the one in force is kept; and why, in a sentence (none where none was).

    ``step_seconds``: what a step of the one in force should take by what is known now.
    """

    plan: Plan | None
    verdict: str
    step_seconds: float = 0.0


def decide(planner: Callable[[Situation, Stamp], Plan], situation: Situation, stamp: Stamp) -> Decision:
    """Plan; where a plan is in force, say whether to change to what was planned.

    Raises ``PlanImpossibleError`` if no plan exists and none is in force.
    """
    current = situation.plan
    if current is None:
        return Decision(planner(situation, stamp), "")
    now = predicted_seconds(current, situation)
    return Decision(*_weighed(planner, situation, stamp, current, now), now)


def _weighed(
    planner: Callable[[Situation, Stamp], Plan], situation: Situation, stamp: Stamp, current: Plan, now: float
) -> tuple[Plan | None, str]:
    """The plan to change to from ``current``, whose step takes ``now`` seconds, and why."""
    try:
        other = planner(situation, stamp)
    except PlanImpossibleError as impossible:
        return None, f"kept: there is no other plan ({impossible})"
    if [route.hops for route in other.routes] == [route.hops for route in current.routes]:
        return None, "kept: it is still the best plan"
    news = [record.name for record in situation.members if record.node in {*other.nodes()} - {*current.nodes()}]
    if planner in ALL_TAKE_PART and news:
        return other, f"changed: {_listed(news)} to take part, as everyone does"
    if short := _short_of_memory(current, situation):
        return other, f"changed: {short} has too little memory for its layers by now"
    then = predicted_seconds(other, situation)
    gain = (now - then) / now if now > 0.0 else 0.0
    if gain <= 0.0:
        return None, "kept: no other plan is faster"
    cost = moving_seconds(current, other, situation)
    steps = f"moving costs {_steps(cost, now)}"
    kept = f"kept: the best other plan gains {100 * gain:.0f} %, {steps}"
    usual = SURE_GAIN if situation.sure and not news else LEAST_GAIN
    least = usual if news else max(usual, situation.least_gain)
    if gain < least:
        return None, kept + (f"; layers have moved lately, so {100 * least:.0f} % are wanted" if gain >= usual else "")
    if (now - then) * situation.steps_left <= cost:
        return None, f"{kept}, and {situation.steps_left} are left"
    return other, f"changed: a step takes {_seconds(then)} instead of {_seconds(now)}, {steps}"


def _listed(names: Sequence[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]} are"


def _short_of_memory(plan: Plan, situation: Situation) -> str:
    """The name of a node whose budget does not hold what the plan gives it (any more); empty if there is none."""
    cost = StageCost(situation.spec)
    for record in situation.members:
        hops = [hop for _, _, hop in plan.hops_of(record.node)]
        if sum(cost.size_bytes(hop.first_layer, hop.last_layer, hop.window) for hop in hops) > record.memory_bytes:
            return record.name
    return ""


def moving_seconds(current: Plan, other: Plan, situation: Situation) -> float:
    """What the change takes: the pipeline drains and fills, layers' state moves, stages are built anew.

    State goes from who runs a layer to who is to run it, unless a copy is there already; what one node sends, or one
    receives, goes one after the other, and different nodes at the same time.
    """
    figures = Figures(situation)
    took: dict[object, float] = defaultdict(float)
    for layer, sender, receiver in _moves(current, other, situation):
        wire, size = figures.wire(sender, receiver), figures.state_bytes(layer, layer)
        took["from", sender] += size * wire.path
        took["to", receiver] += size * wire.path
    return max(took.values(), default=0.0) + _drain_seconds(current, figures) + REBUILD_SECONDS


def _moves(current: Plan, other: Plan, situation: Situation) -> Iterator[tuple[int, NodeId, NodeId]]:
    """(layer, who has it, who is to have it) for each that somebody has to be sent."""
    for layer in range(current.layers):
        before, after = _owners(current, layer), _owners(other, layer)
        held = {node for node, first, last in situation.holders if first <= layer <= last}
        for node in after:
            if node not in before and node not in held:
                yield layer, before[0], node


def _owners(plan: Plan, layer: int) -> list[NodeId]:
    hops = (hop for route in plan.routes for hop in route.hops)
    return [*dict.fromkeys(hop.node for hop in hops if hop.first_layer <= layer <= hop.last_layer)]


def _drain_seconds(plan: Plan, figures: Figures) -> float:
    """The longest way of a micro-batch through a route and back: for so long not everybody works."""
    ways = []
    for route in plan.routes:
        stretches = [figures.stretch(hop.node, hop.first_layer, hop.last_layer) for hop in route.hops]
        passes = sum(stretch.forward + stretch.backward for stretch in stretches)
        for before, after in pairwise(stretches):
            for wire in (figures.wire(before.node, after.node), figures.wire(after.node, before.node)):
                passes += wire.seconds(after.crossing_bytes)
        ways.append(passes)
    return max(ways)


def _steps(seconds: float, step_seconds: float) -> str:
    number = seconds / step_seconds if step_seconds > 0.0 else 0.0
    return f"{number:.1f} steps" if number < 10 else f"{number:.0f} steps"  # noqa: PLR2004 - two digits tell enough


def _seconds(seconds: float) -> str:
    return f"{seconds:.3g} s"
