"""What one step of one route takes, to the last bit what ``rehearsal`` says, without the machines: for searching.

The rules of ``core/schedule.py`` and ``core/feeding.py`` in counters. A hop does its works in ascending order, so what
has come to it and what it has done are six numbers::

    inputs  arrived  gradients     how many have come: from the source, from the hop before, from the hop behind
    begun   done                   forwards begun, backwards done; begun - done are in flight, at most the window

Micro-batches count on from step to step: number m of version v is v * M + m.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from edged.core.ids import NodeId
from edged.errors import BrokenInvariantError
from edged.strategies.figures import Figures, Flush, Stretch
from edged.strategies.links import Traffic, Wire
from edged.strategies.rehearsal import STEPS, Moment

_FORWARD, _BACKWARD, _NORMS, _UPDATE = range(4)


@dataclass(frozen=True, slots=True)
class Road:
    """One route in figures: its hops, the wires between them and from the source, the flush of each node.

    ``wires``: (to this hop, back from it) for each hop but the first. ``words``: seconds of a control message from hop
    to hop, empty where the nodes do not agree on updates.
    """

    stretches: tuple[Stretch, ...]
    wires: tuple[tuple[Wire, Wire], ...]
    from_source: tuple[Wire, ...]
    taken_seconds: float
    result_seconds: float
    flush: dict[NodeId, Flush]
    words: dict[tuple[NodeId, NodeId], float]
    agrees: bool
    clips: bool


def road(figures: Figures, nodes: Sequence[NodeId], cuts: Sequence[int]) -> Road:
    """Put a route together: ``cuts`` are the first layers of its hops."""
    ends = (*cuts[1:], len(figures.spec.layers))
    ranges = [(first, end - 1) for first, end in zip(cuts, ends, strict=True)]
    stretches = tuple(figures.stretch(node, *layers) for node, layers in zip(nodes, ranges, strict=True))
    source, single = figures.spec.source, tuple(dict.fromkeys(nodes))
    at = {node: [layers for other, layers in zip(nodes, ranges, strict=True) if other == node] for node in single}
    wires = [(figures.wire(a, b), figures.wire(b, a)) for a, b in pairwise(nodes)]
    return Road(
        stretches,
        tuple(wires),
        tuple(figures.wire(source, node) for node in nodes),
        figures.word_seconds(nodes[0], source),
        figures.word_seconds(nodes[-1], source),
        {node: figures.flush(node, at[node]) for node in single},
        {(a, b): figures.word_seconds(a, b) for a in single for b in single if a != b} if figures.agrees else {},
        figures.agrees,
        figures.clips,
    )


def step_seconds(route: Road, windows: Sequence[int], micro_batches: int, steps: int = STEPS) -> float:
    """Seconds of the last of ``steps`` steps: at least 2, and as many as ``rehearse`` takes."""
    ends = _Run(route, windows, micro_batches, steps).play()
    return ends[-1] - ends[-2]


class _Run:
    """The state of one evaluation. Lists are by hop, dictionaries by node."""

    def __init__(self, route: Road, windows: Sequence[int], micro_batches: int, steps: int) -> None:
        count = len(route.stretches)
        self._route, self._windows, self._size, self._steps = route, windows, micro_batches, steps
        self._nodes = [stretch.node for stretch in route.stretches]
        self._hops = {node: [h for h in range(count) if self._nodes[h] == node] for node in self._nodes}
        self._needs_inputs = [stretch.input_bytes is not None for stretch in route.stretches]
        self._inputs, self._arrived, self._gradients = [0] * count, [0] * count, [0] * count
        self._begun, self._done = [0] * count, [0] * count
        self._version, self._busy = dict.fromkeys(self._hops, 0), dict.fromkeys(self._hops, False)
        self._joins, self._heard = dict.fromkeys(self._hops, False), dict.fromkeys(self._hops, 0)
        self._fed = self._closed = 0
        self._now, self._count = 0.0, 0
        self._upcoming: list[tuple[float, int, int, int, int, int]] = []
        self._traffic = Traffic()
        self._ends: list[float] = []

    def play(self) -> list[float]:
        """The moments at which the steps end."""
        upcoming, ends = self._upcoming, self._ends
        self._feed()
        while upcoming and len(ends) < self._steps:
            self._now, moment, hop, number, _, what = heapq.heappop(upcoming)
            if moment == Moment.DONE:
                self._finish(hop, number, what)
            elif moment == Moment.ROAD:
                self._reach(hop % 3, hop // 3, number)
            elif moment == Moment.WORD:
                self._hear(hop, what)
            else:
                (self._gradients, self._arrived, self._inputs)[moment][hop] += 1
                self._go_on(hop)
        if len(ends) < self._steps:
            raise BrokenInvariantError(f"a route comes to stand at step {len(ends) + 1}: {self._begun}, {self._done}")
        return ends

    def _at(self, moment: float, kind: int, hop: int, number: int, what: int = 0) -> None:
        self._count += 1
        heapq.heappush(self._upcoming, (moment, kind, hop, number, self._count, what))

    # ------------------------------------------------------------------------------------------------- computing

    def _go_on(self, hop: int) -> None:
        """What the node of this hop computes next, as ``Schedule`` chooses."""
        node = self._nodes[hop]
        if self._busy[node]:
            return
        hops = self._hops[node]
        ready = [(self._done[h], -h) for h in hops if self._may_backward(h)]
        if ready:
            number, h = min(ready)
            self._compute(-h, _BACKWARD, number, self._route.stretches[-h].backward)
            return
        ready = [(self._begun[h], -h) for h in hops if self._may_forward(h)]
        if ready:
            number, h = min(ready)
            self._begun[-h] += 1
            self._compute(-h, _FORWARD, number, self._route.stretches[-h].forward)
            return
        self._flush(node)

    def _may_backward(self, h: int) -> bool:
        done = self._done[h]
        return done < self._begun[h] and (h + 1 == len(self._nodes) or self._gradients[h] > done)

    def _may_forward(self, h: int) -> bool:
        begun = self._begun[h]
        return (
            begun < (self._version[self._nodes[h]] + 1) * self._size
            and begun - self._done[h] < self._windows[h]
            and (h == 0 or self._arrived[h] > begun)
            and (not self._needs_inputs[h] or self._inputs[h] > begun)
        )

    def _flush(self, node: NodeId) -> None:
        end, hops = (self._version[node] + 1) * self._size, self._hops[node]
        if self._version[node] == self._steps or any(self._done[h] < end for h in hops):
            return
        route = self._route
        if route.agrees and not self._joins[node]:
            if route.clips:
                self._compute(hops[0], _NORMS, -1, route.flush[node].norms)
                return
            self._join(node)
        if not route.agrees or self._all_heard(node):
            self._joins[node] = False
            self._compute(hops[0], _UPDATE, -1, route.flush[node].update)

    def _join(self, node: NodeId) -> None:
        self._joins[node] = True
        for other, hops in self._hops.items():
            if other != node:
                self._at(self._now + self._route.words[node, other], Moment.WORD, 0, 0, hops[0] + 1)

    def _all_heard(self, node: NodeId) -> bool:
        """Whether every other node has joined this version: none can have joined the next one already."""
        return self._heard[node] >= (self._version[node] + 1) * (len(self._hops) - 1)

    def _compute(self, hop: int, what: int, number: int, seconds: float) -> None:
        self._busy[self._nodes[hop]] = True
        self._at(self._now + seconds, Moment.DONE, hop, number, what)

    def _finish(self, hop: int, number: int, what: int) -> None:
        node, last = self._nodes[hop], len(self._nodes) - 1
        self._busy[node] = False
        if what == _BACKWARD:
            self._done[hop] += 1
        elif what == _NORMS:
            self._join(node)
        elif what == _UPDATE:
            self._version[node] += 1
            if node == self._nodes[0]:
                self._ends.append(self._now)
        self._go_on(hop)
        if what == _FORWARD:
            if hop == 0:
                self._at(self._now + self._route.taken_seconds, Moment.WORD, 0, 0, -number)
            if hop < last:
                self._send(Moment.ACTIVATION, hop + 1, number)
            else:
                self._at(self._now + self._route.result_seconds, Moment.WORD, 0, 0, -number)
        elif what == _BACKWARD and hop > 0:
            self._send(Moment.GRADIENT, hop - 1, number)

    # --------------------------------------------------------------------------------------------------- network

    def _hear(self, _hop: int, what: int) -> None:
        """A word: another node has joined (hop ``what - 1`` hears it), or micro-batch ``-what`` has been taken."""
        if what > 0:
            self._heard[self._nodes[what - 1]] += 1
            self._go_on(what - 1)
        else:
            self._closed = max(self._closed, 1 - what)
            self._feed()

    def _feed(self) -> None:
        """What the source may send now: so many are on their way to the first hop at most (``Progress.has_room``)."""
        most = min(self._closed + self._windows[0] + 2, self._steps * self._size)
        while self._fed < most:
            for h, needed in enumerate(self._needs_inputs):
                if needed:
                    self._send(Moment.INPUTS, h, self._fed)
            self._fed += 1

    def _wire(self, kind: int, to: int) -> tuple[Wire, int]:
        if kind == Moment.GRADIENT:
            return self._route.wires[to][1], self._route.stretches[to + 1].crossing_bytes
        if kind == Moment.ACTIVATION:
            return self._route.wires[to - 1][0], self._route.stretches[to].crossing_bytes
        return self._route.from_source[to], self._route.stretches[to].input_bytes or 0

    def _send(self, kind: int, to: int, number: int) -> None:
        wire, size = self._wire(kind, to)
        if wire.sender == wire.receiver:
            self._at(self._now, kind, to, number)
            return
        start = self._traffic.leave(wire, size, self._now)
        if start > self._now:
            self._at(start, Moment.ROAD, 3 * to + kind, number)
        else:
            self._at(self._traffic.reach(wire, size, self._now), kind, to, number)

    def _reach(self, kind: int, to: int, number: int) -> None:
        wire, size = self._wire(kind, to)
        self._at(self._traffic.reach(wire, size, self._now), kind, to, number)
