"""Which pipelines are worth a look: nodes in an order, with cuts. All there are, where they are few."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, combinations, islice, pairwise, permutations

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord
from edged.strategies.apart import Division
from edged.strategies.lineup import NARROW, Lineup, Yard

LISTED = 6000
"""So many pairs of an order and cuts are all looked at; of more, a few for each of the orders that are worth it."""

FEW = 4
"""Of so many nodes every order is tried."""

COMPANIES = 8
"""Of the sets of members that can all work together so many are tried, the largest first."""

REORDERED = 600
"""So many hops in changes of the best order are tried where links differ."""

IMPROVED = 4
"""Of so many sketches, the best, single cuts are moved."""

Candidate = tuple[Lineup, tuple[int, ...]]


def are_few(yard: Yard, able: Sequence[MemberRecord]) -> bool:
    """Whether there are so few pairs of an order and cuts that all can be looked at."""
    count = 0
    for hops in range(1, min(len(able), yard.layers) + 1):
        count += math.perm(len(able), hops) * math.comb(yard.layers - 1, hops - 1)
        if count > LISTED:
            return False
    return True


def every(yard: Yard, able: Sequence[MemberRecord], division: Division) -> Iterator[Candidate]:
    """All of them, in the order of preference: fewer nodes first, then as ``able`` is sorted."""
    for hops in range(1, min(len(able), yard.layers) + 1):
        for order in permutations(able, hops):
            for nodes in _at_home(yard, order, division):
                if len(nodes) <= yard.layers:
                    lineup = Lineup(yard, nodes)
                    for inner in combinations(range(1, yard.layers), len(nodes) - 1):
                        yield lineup, (0, *inner)


def sketched(yard: Yard, able: Sequence[MemberRecord], division: Division) -> list[Candidate]:
    """For orders that are worth it, cuts near the best; ``able``: preferred first."""
    drawn = [*_drawn(yard, _orders(yard, able, division), division)]
    if drawn and not yard.figures.links.alike:
        records = {record.node: record for record in able}
        _, lineup, _, _ = min(drawn, key=lambda each: each[0])
        best = tuple(records[node] for node in dict.fromkeys(lineup.nodes))
        drawn += _drawn(yard, islice(_neighbours(best), REORDERED // len(best)), division)
    drawn.sort(key=lambda each: each[0])
    better = [(lineup, lineup.improved(cuts, rule)) for _, lineup, cuts, rule in drawn[:IMPROVED]]
    others = ((lineup, cuts) for _, lineup, cuts, _ in drawn)
    return [*better, *(each for each in others if each not in better)]


def _drawn(
    yard: Yard, orders: Iterable[Sequence[MemberRecord]], division: Division
) -> Iterator[tuple[float, Lineup, tuple[int, ...], int]]:
    """The bound of each order that memory allows, with its cuts and the rule of its windows.

    Windows have some slack; where memory is short they are ever narrower.
    """
    for order in orders:
        for nodes in _at_home(yard, order, division):
            lineup = Lineup(yard, nodes)
            for rule in (2, NARROW, 0) if len(nodes) <= yard.layers else ():
                cuts = lineup.sketch(rule)
                if cuts is not None and (windows := lineup.windows(cuts, rule)) is not None:
                    yield lineup.bound(cuts, windows), lineup, cuts, rule
                    break


def _orders(yard: Yard, able: Sequence[MemberRecord], division: Division) -> Iterator[tuple[MemberRecord, ...]]:
    """Orders of the fastest members, or of the largest; of few members, all."""
    seen: set[tuple[NodeId, ...]] = set()
    source = yard.situation.spec.source
    for company in islice(division.companies(able, len(able)), COMPANIES):
        fastest = sorted(company, key=lambda record: (yard.figures.slowness[record.node], able.index(record)))
        largest = sorted(company, key=lambda record: (-record.memory_bytes, able.index(record)))
        if len(company) <= FEW:
            found: Iterator[Sequence[MemberRecord]] = chain.from_iterable(
                permutations(company, hops) for hops in range(1, min(len(company), yard.layers) + 1)
            )
        else:
            found = chain(_of_the_first(fastest, source, yard), _of_the_first(largest, source, yard))
        for order in found:
            reached = division.chain(order)
            nodes = () if reached is None else tuple(record.node for record in reached)
            if reached is not None and nodes not in seen:
                seen.add(nodes)
                yield reached


def _of_the_first(ranked: Sequence[MemberRecord], source: NodeId, yard: Yard) -> Iterator[Sequence[MemberRecord]]:
    """For ever more of the first: the source in front if it is one of them; with it instead of the last; nearest."""
    place = next((i for i, record in enumerate(ranked) if record.node == source), None)
    for hops in _numbers(min(len(ranked), yard.layers)):
        first = [*ranked[:hops]]
        if place is not None:
            rest = [record for record in first if record.node != source]
            yield [ranked[place], *rest[: hops - 1]]
        if place is None or place >= hops:
            yield first
        if not yard.figures.links.alike:
            yield _nearest(first, source, yard)


def _nearest(records: Sequence[MemberRecord], source: NodeId, yard: Yard) -> list[MemberRecord]:
    """From the source, or else the first, always on over the fastest wire."""
    left = sorted(records, key=lambda record: record.node != source)
    order = [left.pop(0)]
    while left:
        here = order[-1].node
        following = min(left, key=lambda record: yard.figures.wire(here, record.node).path)
        left.remove(following)
        order.append(following)
    return order


def _numbers(most: int) -> Iterator[int]:
    """1 to 8, then ever wider apart, and the largest."""
    number = 1
    while number < most:
        yield number
        number = max(number + 1, number * 5 // 4)
    if most > 0:
        yield most


def _neighbours(order: tuple[MemberRecord, ...]) -> Iterator[tuple[MemberRecord, ...]]:
    """The same without one, with two neighbours exchanged, or with one elsewhere."""
    for i in range(len(order)):
        if len(order) > 1:
            yield (*order[:i], *order[i + 1 :])
    for i in range(len(order) - 1):
        yield (*order[:i], order[i + 1], order[i], *order[i + 2 :])
    for i in range(len(order)):
        rest = (*order[:i], *order[i + 1 :])
        for j in range(len(order)):
            if abs(i - j) > 1:
                yield (*rest[:j], order[i], *rest[j:])


def _at_home(yard: Yard, order: Sequence[MemberRecord], division: Division) -> Iterator[tuple[NodeId, ...]]:
    """The nodes of an order that can work together, as the job's wish to keep inputs at home allows it."""
    source, home = yard.situation.spec.source, yard.home
    if not division.allows(order):
        return
    nodes = tuple(record.node for record in order)
    if home.starts and nodes[0] != source:
        return
    yield (*nodes, source) if home.ends and len(nodes) > 1 else nodes


def neighbours_of(cuts: tuple[int, ...], layers: int) -> Iterator[tuple[int, ...]]:
    """The same with one cut a layer earlier or later."""
    for h in range(1, len(cuts)):
        for step in (-1, 1):
            moved = (*cuts[:h], cuts[h] + step, *cuts[h + 1 :])
            if all(a < b for a, b in pairwise((*moved, layers))):
                yield moved
