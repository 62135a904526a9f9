"""``spread``: one route over all members, in proportion to their speed and within their memory.

Every member that can hold at least one layer takes part, up to one for each layer. The source goes first, so that
inputs need not cross the network; the others follow, fastest first, or, where that does not fit into their memory,
largest first (the first hops keep the most micro-batches in flight); where the fastest do not hold the job, the largest
are tried. Windows are 2 (P - h) - 1: those of 1F1B, P - h, leave no slack, so that each hop waits for every message's
way there and back; here one more forward for each hop behind hides it. Where memory is short they are capped, and then
the member with the least memory is left out, until a plan fits. An asynchronous job's windows are P - h, and nothing
else (``core/stashing.py``).

Neighbours must reach each other, and everyone the source (``apart.py``): where the preferred order does not allow it,
the nearest one that does is taken, and only if there is none, a member stays out.

``equal`` is the same with all members taken as equally fast: what a planner does that knows nothing of devices
(Narayanan et al., PipeDream, SOSP 2019), for comparisons.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain

from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord, MemberState
from edged.core.plan import Hop, Plan, Route, layers_in_words
from edged.core.situation import Situation
from edged.strategies.apart import Division
from edged.strategies.cost import PlanImpossibleError, StageCost, as_size, levelled, shortage, slowness_of
from edged.strategies.partition import partition
from edged.strategies.prediction import predicted_seconds


def plan_spread(situation: Situation, stamp: Stamp) -> Plan:
    """Plan one route; raises ``PlanImpossibleError`` if the members' memory does not hold the job."""
    measured, base = dict(situation.slowness), situation.spec.source_slowness or 1.0
    members = tuple(
        replace(each, slowness=base * measured.get(each.node, each.slowness / base)) for each in situation.members
    )
    plan = _plan_all("spread", replace(situation, members=members), stamp)
    return replace(plan, predicted_step_seconds=predicted_seconds(plan, situation))


def plan_equal(situation: Situation, stamp: Stamp) -> Plan:
    """Plan one route for members that are taken as equally fast; raises ``PlanImpossibleError`` as ``spread`` does."""
    members = tuple(replace(member, slowness=1.0) for member in situation.members)
    spec = replace(situation.spec, source_slowness=1.0)
    plan = _plan_all("equal", replace(situation, spec=spec, members=members, slowness=()), stamp)
    return replace(plan, predicted_step_seconds=predicted_seconds(plan, situation))


ALL_TAKE_PART = frozenset({plan_spread, plan_equal})
"""Planners that leave nobody out who could do anything: a newcomer need not make steps shorter."""


def _plan_all(strategy: str, situation: Situation, stamp: Stamp) -> Plan:
    spec, members = situation.spec, situation.members
    cost, division = StageCost(spec), Division(spec, situation.apart)
    alive = [record for record in members if record.state is MemberState.ALIVE]
    able, too_small = _able(spec, cost, alive)
    company: list[MemberRecord] = []
    largest = sorted(able, key=_largest_first)
    for company in chain.from_iterable(division.companies(those, len(spec.layers)) for those in (able, largest)):
        largest_first = sorted(company, key=_largest_first)
        for count in range(len(company), 0, -1):
            for order, cap in _tries(spec, largest_first[:count], division):
                windows = _windows(spec, count, cap)
                cuts = _cut(spec, cost, order, windows)
                if cuts is not None:
                    left_out = [*too_small, *_left_out(able, company, division, spec)]
                    left_out += [f"{record.name} (not enough memory)" for record in largest_first[count:]]
                    return _plan(strategy, spec, stamp, order, windows, cuts, left_out)
    if able and not company:
        names = ", ".join(record.name for record in able)
        raise PlanImpossibleError(f"nobody who could run layers reaches the job's source: {names}")
    raise PlanImpossibleError(shortage(spec, alive))


def _windows(spec: JobSpec, count: int, cap: int) -> tuple[int, ...]:
    if spec.asynchronous:
        return tuple(range(count, 0, -1))
    return tuple(min(cap, 2 * (count - h) - 1) for h in range(count))


def _largest_first(record: MemberRecord) -> tuple[int, NodeId]:
    return -record.memory_bytes, record.node


def _able(spec: JobSpec, cost: StageCost, alive: list[MemberRecord]) -> tuple[list[MemberRecord], list[str]]:
    """Members that can hold some layer, in the order of preference; and why others cannot."""
    least = min(cost.size_bytes(layer, layer, 1) for layer in range(len(spec.layers)))
    able = [record for record in alive if record.memory_bytes >= least]
    left_out = [
        f"{record.name} (the smallest layer needs {as_size(least)}, it has {as_size(record.memory_bytes)})"
        for record in alive
        if record.memory_bytes < least
    ]
    able.sort(key=lambda record: (record.node != spec.source, slowness_of(record, spec), record.node))
    return able, left_out


def _left_out(
    able: list[MemberRecord], company: list[MemberRecord], division: Division, spec: JobSpec
) -> Iterator[str]:
    """Say who could hold layers and does not take part, and why."""
    inside = {record.node for record in company}
    others = [record for record in able if record.node in inside or record.node == spec.source]
    for record in able:
        if record.node not in inside:
            foes = division.foes_of(record, others)
            reason = f"it and {foes[0]} cannot reach each other" if foes else "more members than layers"
            yield f"{record.name} ({reason})"


def _orders(spec: JobSpec, records: list[MemberRecord], division: Division) -> Iterator[tuple[MemberRecord, ...]]:
    """Orders worth trying, the preferred one first."""
    preferred = sorted(records, key=lambda r: (r.node != spec.source, slowness_of(r, spec), r.node))
    for order in (division.chain(preferred), division.chain(records)):
        if order is not None:
            yield order


def _tries(
    spec: JobSpec, records: list[MemberRecord], division: Division
) -> Iterator[tuple[tuple[MemberRecord, ...], int]]:
    """Orders with caps of the windows: the preferred order is worth slack in the windows, but not an idle pipeline."""
    orders = tuple(_orders(spec, records, division))
    widest, enough = (min(each, spec.micro_batches) for each in (2 * len(records) - 1, len(records)))
    yield from ((order, cap) for order in orders for cap in range(widest, enough - 1, -1))
    yield from ((order, cap) for cap in range(enough - 1, 0, -1) for order in orders)


def _cut(
    spec: JobSpec, cost: StageCost, order: tuple[MemberRecord, ...], windows: tuple[int, ...]
) -> tuple[int, ...] | None:
    slowness = levelled([slowness_of(record, spec) for record in order])

    def seconds(s: int, first: int, last: int) -> float:
        if cost.size_bytes(first, last, windows[s]) > order[s].memory_bytes:
            return math.inf
        return cost.seconds(first, last, slowness[s])

    return partition(len(spec.layers), len(order), seconds, cost.crossing_bytes)


def _plan(
    strategy: str,
    spec: JobSpec,
    stamp: Stamp,
    order: tuple[MemberRecord, ...],
    windows: tuple[int, ...],
    cuts: tuple[int, ...],
    left_out: list[str],
) -> Plan:
    ends = (*cuts[1:], len(spec.layers))
    hops = tuple(
        Hop(record.node, first, end - 1, window)
        for record, first, end, window in zip(order, cuts, ends, windows, strict=True)
    )
    return Plan(
        stamp=stamp,
        strategy=strategy,
        reason=_reason(strategy, spec, order, hops, left_out),
        layers=len(spec.layers),
        micro_batches=spec.micro_batches,
        routes=(Route(hops, tuple(range(spec.micro_batches))),),
        predicted_step_seconds=0.0,
    )


def _reason(
    strategy: str, spec: JobSpec, order: tuple[MemberRecord, ...], hops: tuple[Hop, ...], left_out: list[str]
) -> str:
    """One sentence: who runs what, who does not, and why."""
    shares = [
        f"{record.name} {layers_in_words(hop.first_layer, hop.last_layer)}"
        for record, hop in zip(order, hops, strict=True)
    ]
    shared = "as if all were equally fast" if strategy == "equal" else "by measured speed and free memory"
    by = shared if len(order) > 1 else "alone"
    without = f"; without {', '.join(left_out)}" if left_out else ""
    what = "one asynchronous pipeline" if spec.asynchronous else "one pipeline"
    return f"{what} {by}: {', '.join(shares)}{without}"
