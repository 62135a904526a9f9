"""``pipeline``: the one pipeline that takes the shortest step, over those nodes that help.

What is minimised is the step time that ``timing`` finds, which is that of a rehearsal: fill and drain, links and
windows included, not only the slowest stage. So a node that does not help is left out, and where pipelining is slower
than the fastest node alone, that one works alone.

1. Candidates (``candidates.py``): nodes in an order, with cuts. Where there are at most ``LISTED``, all of them;
   otherwise, for every order that is worth it, cuts from ``Lineup.sketch``.
2. They are played through in the order of their lower bounds, each with windows of every rule as far as memory allows,
   until no bound is below the best step time found, or, where not all are listed or they are large, until
   ``EFFORT`` is used up; then cuts are moved by single layers as long as that helps.
3. Of all that are within ``NEAR`` of the best, the one with the fewest nodes is taken, of those the one whose nodes
   come first in the order of preference (source, speed, name): measuring noise shall not choose.

So the step time is the least of all subsets, orders, cuts and windows of the rules, up to ``NEAR``, wherever all
candidates are listed and playing them costs at most ``EXACT``; else it is as good as the sketches are.

Devices that a measurement cannot tell apart count as equal here, unless theirs were long enough to be sure;
``predicted_step_seconds`` is from their own figures.
Memory must hold layers, gradients, optimizer state, micro-batches in flight, and the copies of layers (``cost.py``);
where no plan can, copies are not counted: they are bounded by themselves.

An asynchronous job's steps are its micro-batches: windows are P - h, and what counts is the time between two of them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from edged.core.ids import NodeId, Stamp
from edged.core.messages import MemberRecord, MemberState
from edged.core.plan import Hop, Plan, Route, layers_in_words
from edged.core.situation import Situation
from edged.strategies.apart import Division
from edged.strategies.candidates import Candidate, are_few, every, neighbours_of, sketched
from edged.strategies.cost import PlanImpossibleError, StageCost, as_size, shortage
from edged.strategies.figures import Figures, measured_slowness
from edged.strategies.home import Home
from edged.strategies.lineup import NARROW, WIDEST, Lineup, Yard
from edged.strategies.prediction import predicted_seconds
from edged.strategies.steady import seconds_between
from edged.strategies.timing import road, step_seconds

NEAR = 0.01
"""Step times this near to each other count as equal."""

EXACT = 400_000
"""Passes of a micro-batch over a hop that playing all candidates may take, if that finds the best for certain."""

EFFORT = 10_000
"""Passes that are played where it does not ..."""

LEAST_PLAYED = 3
"""... but so many candidates at least."""

STEPS = 2
"""Steps that are played when candidates are compared: the second is like all that follow."""

NAMED = 6
"""So many of those who do not take part are named with the reason."""


@dataclass(frozen=True, slots=True)
class Played:
    """A candidate and its step time."""

    seconds: float
    nodes: tuple[NodeId, ...]
    cuts: tuple[int, ...]
    windows: tuple[int, ...]


def plan_pipeline(situation: Situation, stamp: Stamp) -> Plan:
    """Plan one route; raises ``PlanImpossibleError`` with the numbers if the members' memory does not hold the job."""
    spec = situation.spec
    alive = [record for record in situation.members if record.state is MemberState.ALIVE]
    able = _able(situation, alive)
    division = Division(spec, situation.apart)
    for copies in (True, False):
        played = search(Yard(situation, copies=copies), able, division)
        if played:
            return _plan(situation, stamp, preferred(played, able), alive)
    raise PlanImpossibleError(_why_impossible(situation, alive, able, division))


def search(yard: Yard, able: Sequence[MemberRecord], division: Division) -> list[Played]:
    """Candidates that have been played through, with all that are within ``NEAR`` of the best if that is certain."""
    listed = are_few(yard, able)
    found = every(yard, able, division) if listed else sketched(yard, able, division)
    bounded = sorted(_bounded(yard, found), key=lambda each: each[0])
    passes = 2 * yard.micro_batches * sum(len(candidate[1]) for _, candidate in bounded)
    exact = listed and passes * (WIDEST - NARROW + 1) <= EXACT
    played, left = _play(yard, bounded, EXACT if exact else EFFORT, certain=exact)
    return played if exact or not played else [*played, *_refine(yard, played, left)]


def preferred(played: Sequence[Played], able: Sequence[MemberRecord]) -> Played:
    """The one to take: of those near the best, the fewest nodes, the first in the order of preference, the fastest."""
    limit = (1.0 + NEAR) * min(each.seconds for each in played)
    places = {record.node: place for place, record in enumerate(able)}
    near = [each for each in played if each.seconds <= limit]
    return min(near, key=lambda each: (len(each.nodes), [places[n] for n in each.nodes], each.seconds, each.windows))


def _bounded(yard: Yard, candidates: Iterable[Candidate]) -> Iterator[tuple[float, Candidate]]:
    """Every candidate that fits into memory, with what it takes at least."""
    for lineup, cuts in candidates:
        choices = _windows(yard, lineup, cuts)
        if choices and yard.is_async:
            yield seconds_between(road(yard.figures, lineup.nodes, cuts)), (lineup, cuts)
        elif choices:
            yield lineup.bound(cuts, choices[-1]), (lineup, cuts)


def _windows(yard: Yard, lineup: Lineup, cuts: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Windows of each rule, once, as far as memory allows, the widest last; asynchronous gates know only one."""
    widest, count = lineup.widest(cuts), len(cuts)
    if widest is None:
        return []
    if yard.is_async:
        strict = tuple(count - h for h in range(count))
        return [strict] if all(most >= window for most, window in zip(widest, strict, strict=True)) else []
    return [*dict.fromkeys(lineup.narrowed(widest, rule) for rule in range(NARROW, WIDEST + 1))]


def _play(
    yard: Yard, bounded: Sequence[tuple[float, Candidate]], effort: int, *, certain: bool
) -> tuple[list[Played], int]:
    """Play candidates through, lowest bound first; returns the effort that is left as well."""
    played: list[Played] = []
    least = math.inf
    for bound, (lineup, cuts) in bounded:
        if bound > least * (1.0 + NEAR) or (not certain and effort <= 0 and len(played) >= LEAST_PLAYED):
            break
        for each in _through(yard, lineup, cuts, least):
            effort -= 2 * yard.micro_batches * len(cuts)
            played.append(each)
            least = min(least, each.seconds)
    return played, effort


def _through(yard: Yard, lineup: Lineup, cuts: tuple[int, ...], least: float) -> Iterator[Played]:
    """One candidate with windows of every rule that may be near the best, ``least``."""
    route = road(yard.figures, lineup.nodes, cuts)
    for windows in _windows(yard, lineup, cuts):
        if yard.is_async:
            yield Played(seconds_between(route), lineup.nodes, cuts, windows)
        elif lineup.bound(cuts, windows) <= least * (1.0 + NEAR):
            seconds = step_seconds(route, windows, yard.micro_batches, STEPS)
            least = min(least, seconds)
            yield Played(seconds, lineup.nodes, cuts, windows)


def _refine(yard: Yard, played: Sequence[Played], effort: int) -> Iterator[Played]:
    """Move single cuts of the best as long as that helps and effort is left."""
    best = min(played, key=lambda each: each.seconds)
    lineup, before = Lineup(yard, best.nodes), None
    while effort > 0 and best is not before:
        before = best
        for cuts in neighbours_of(before.cuts, yard.layers):
            for each in islice(_through(yard, lineup, cuts, best.seconds), 1 if effort > 0 else 0):
                effort -= 2 * yard.micro_batches * len(cuts)
                yield each
                best = min(best, each, key=lambda one: one.seconds)


def _able(situation: Situation, alive: Sequence[MemberRecord]) -> list[MemberRecord]:
    """Members that can hold some layer, in the order of preference."""
    spec, cost = situation.spec, StageCost(situation.spec)
    figures = Figures(situation, level=True)
    least = min(cost.size_bytes(layer, layer, 1) for layer in range(len(spec.layers)))
    able = [record for record in alive if record.memory_bytes >= least]
    return sorted(able, key=lambda r: (r.node != spec.source, figures.slowness[r.node], r.node))


def _plan(situation: Situation, stamp: Stamp, best: Played, alive: Sequence[MemberRecord]) -> Plan:
    spec, layers = situation.spec, len(situation.spec.layers)
    ends = (*best.cuts[1:], layers)
    hops = tuple(
        Hop(node, first, end - 1, window)
        for node, first, end, window in zip(best.nodes, best.cuts, ends, best.windows, strict=True)
    )
    plan = Plan(
        stamp=stamp,
        strategy="pipeline",
        reason=_reason(situation, hops, alive),
        layers=layers,
        micro_batches=spec.micro_batches,
        routes=(Route(hops, tuple(range(spec.micro_batches))),),
        predicted_step_seconds=0.0,
    )
    return replace(plan, predicted_step_seconds=predicted_seconds(plan, situation))


def _reason(situation: Situation, hops: Sequence[Hop], alive: Sequence[MemberRecord]) -> str:
    """One sentence: who runs what, who does not, and why."""
    spec, names = situation.spec, {record.node: record.name for record in alive}
    shares = ", ".join(f"{names[hop.node]} {layers_in_words(hop.first_layer, hop.last_layer)}" for hop in hops)
    used = {hop.node for hop in hops}
    left_out = [record for record in alive if record.node not in used]
    why = [f"{record.name} ({_why_not(situation, record, used, alive)})" for record in left_out[:NAMED]]
    more = len(left_out) - NAMED
    why += ["another" if more == 1 else f"{more} others"] if more > 0 else []
    how = "the shortest step" if len(used) > 1 else "alone"
    kind = "one asynchronous pipeline" if spec.asynchronous else "one pipeline"
    return f"{kind}, {how}: {shares}{'; without ' + ', '.join(why) if why else ''}"


def _why_not(
    situation: Situation, record: MemberRecord, used: Collection[NodeId], alive: Sequence[MemberRecord]
) -> str:
    spec, cost = situation.spec, StageCost(situation.spec)
    least = min(cost.size_bytes(layer, layer, 1) for layer in range(len(spec.layers)))
    if record.memory_bytes < least:
        return f"the smallest layer needs {as_size(least)}, it has {as_size(record.memory_bytes)}"
    others = [other for other in alive if other.node in used or other.node == spec.source]
    foes = Division(spec, situation.apart).foes_of(record, others)
    if foes:
        return f"it and {foes[0]} cannot reach each other"
    slow = measured_slowness(situation)[record.node]
    return f"{slow:.2g} times the source's time for a layer: the step is no shorter with it"


def _why_impossible(
    situation: Situation, alive: Sequence[MemberRecord], able: Sequence[MemberRecord], division: Division
) -> str:
    spec = situation.spec
    source = next((record for record in able if record.node == spec.source), None)
    if able and next(division.companies(able, 1), None) is None:
        names = ", ".join(record.name for record in able)
        return f"nobody who could run layers reaches the job's source: {names}"
    if able and source is None and Home(spec).starts:
        return (
            "keep_inputs_home wants the first layers on the device that the job was handed in on, and that has no "
            "memory for them: raise --memory there, or hand the job in on a larger device"
        )
    return shortage(spec, alive)
