"""What one step of one route takes, to the last bit what ``rehearsal`` says, without the machines: for searching.

The rules of ``core/schedule.py`` and ``core/feeding.py`` in counters. A hop does its works in ascending order, so what
has come to it and what it has done are six numbers::

    inputs  arrived  gradients     how many have come: from the source, from the hop before, from the hop behind
    begun   done                   forwards begun, backwards done; begun - done are in flight, at most the window

Micro-batches count on from step to step: number m of version v is v * M + m. What a hop does not need has come without
end. A parcel's lane is a wire with the parcel's size, as seconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import NamedTuple

from edged.core.ids import NodeId
from edged.errors import BrokenInvariantError
from edged.strategies.figures import Figures, Flush, Stretch
from edged.strategies.links import Wire
from edged.strategies.rehearsal import STEPS, Moment

_GRADIENT, _ACTIVATION, _INPUTS, _WORD, _ROAD, _DONE = map(int, Moment)
_FORWARD, _BACKWARD, _NORMS, _UPDATE = range(4)


class _Lane(NamedTuple):
    """How one kind of parcel reaches one hop: places of interfaces and path, seconds that it takes of each."""

    stays: bool
    uplink: int
    path: int
    downlink: int
    up: float
    along: float
    down: float
    startup: float


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
    """The state of one evaluation. Lists are by hop, or by node in the order in which the route meets them."""

    def __init__(self, route: Road, windows: Sequence[int], micro_batches: int, steps: int) -> None:
        nodes = [stretch.node for stretch in route.stretches]
        count, single = len(nodes), [*dict.fromkeys(nodes)]
        self._route, self._size, self._steps = route, micro_batches, steps
        self._windows = windows
        self._home = [single.index(node) for node in nodes]
        self._hops = [[h for h in range(count) if nodes[h] == node] for node in single]
        self._flushes = [route.flush[node] for node in single]
        self._words = [[(m, route.words.get((a, b), 0.0)) for m, b in enumerate(single) if a != b] for a in single]
        self._needs_inputs = [h for h in range(count) if route.stretches[h].input_bytes is not None]
        self._inputs = [0 if h in self._needs_inputs else math.inf for h in range(count)]
        self._arrived = [0 if h else math.inf for h in range(count)]
        self._gradients = [0 if h + 1 < count else math.inf for h in range(count)]
        self._come = (self._gradients, self._arrived, self._inputs)
        self._begun, self._done = [0] * count, [0] * count
        self._end = [micro_batches] * count
        self._version, self._heard = [0] * len(single), [0] * len(single)
        self._busy, self._joins = [False] * len(single), [False] * len(single)
        self._fed = self._closed = 0
        self._now = 0.0
        self._upcoming: list[tuple[float, int, int, int, int]] = []
        self._lanes = _lanes(route)
        places = 1 + max(max(lane.uplink, lane.path, lane.downlink) for lanes in self._lanes for lane in lanes)
        self._up, self._path, self._down = ([0.0] * places for _ in range(3))
        self._ends: list[float] = []

    def play(self) -> list[float]:
        """The moments at which the steps end."""
        upcoming, ends, come = self._upcoming, self._ends, self._come
        self._feed()
        while upcoming and len(ends) < self._steps:
            self._now, moment, hop, number, what = heappop(upcoming)
            if moment == _DONE:
                self._finish(hop, number, what)
            elif moment < _WORD:
                come[moment][hop] += 1
                self._go_on(hop)
            elif moment == _ROAD:
                self._reach(hop % 3, hop // 3, number)
            else:
                self._hear(what)
        if len(ends) < self._steps:
            raise BrokenInvariantError(f"a route comes to stand at step {len(ends) + 1}: {self._begun}, {self._done}")
        return ends

    # ------------------------------------------------------------------------------------------------- computing

    def _go_on(self, hop: int) -> None:
        """What the node of this hop computes next, as ``Schedule`` chooses: the oldest work, at the deeper hop."""
        node = self._home[hop]
        if self._busy[node]:
            return
        hops = self._hops[node]
        if len(hops) > 1:
            hop = min(hops, key=self._urgency)
        done, begun = self._done[hop], self._begun[hop]
        if self._gradients[hop] > done < begun:
            what, number, seconds = _BACKWARD, done, self._route.stretches[hop].backward
        elif begun < self._end[hop] and self._may_forward(hop, begun):
            self._begun[hop] = begun + 1
            what, number, seconds = _FORWARD, begun, self._route.stretches[hop].forward
        else:
            if done == self._end[hop]:
                self._flush(node)
            return
        self._busy[node] = True
        heappush(self._upcoming, (self._now + seconds, _DONE, hop, number, what))

    def _may_forward(self, hop: int, begun: int) -> bool:
        room = begun - self._done[hop] < self._windows[hop]
        return room and self._arrived[hop] > begun and self._inputs[hop] > begun

    def _urgency(self, hop: int) -> tuple[int, int, int]:
        """Which of a node's hops goes first."""
        done, begun = self._done[hop], self._begun[hop]
        if self._gradients[hop] > done < begun:
            return 0, done, -hop
        if begun < self._end[hop] and self._may_forward(hop, begun):
            return 1, begun, -hop
        return 2, done - self._end[hop], -hop

    def _flush(self, node: int) -> None:
        """All that this node has to do of the step is done."""
        route, hops = self._route, self._hops[node]
        if self._version[node] == self._steps:
            return
        what, seconds = _UPDATE, self._flushes[node].update
        if route.agrees and not self._joins[node]:
            if route.clips:
                what, seconds = _NORMS, self._flushes[node].norms
            else:
                self._join(node)
        if what == _UPDATE:
            if route.agrees and self._heard[node] < (self._version[node] + 1) * (len(self._hops) - 1):
                return  # nobody can have joined the next version already
            self._joins[node] = False
        self._busy[node] = True
        heappush(self._upcoming, (self._now + seconds, _DONE, hops[0], -1, what))

    def _join(self, node: int) -> None:
        self._joins[node] = True
        for other, seconds in self._words[node]:
            heappush(self._upcoming, (self._now + seconds, _WORD, 0, 0, other + 1))

    def _finish(self, hop: int, number: int, what: int) -> None:
        node = self._home[hop]
        self._busy[node] = False
        if what == _BACKWARD:
            self._done[hop] += 1
        elif what == _NORMS:
            self._join(node)
        elif what == _UPDATE:
            self._version[node] += 1
            for h in self._hops[node]:
                self._end[h] += self._size if self._version[node] < self._steps else 0
            if node == 0:
                self._ends.append(self._now)
        self._go_on(hop)
        if what == _BACKWARD:
            if hop > 0:
                self._send(_GRADIENT, hop - 1, number)
        elif what == _FORWARD:
            self._hand_on(hop, number)

    def _hand_on(self, hop: int, number: int) -> None:
        if hop == 0:
            heappush(self._upcoming, (self._now + self._route.taken_seconds, _WORD, 0, 0, -number))
        if hop + 1 < len(self._home):
            self._send(_ACTIVATION, hop + 1, number)
        else:
            heappush(self._upcoming, (self._now + self._route.result_seconds, _WORD, 0, 0, -number))

    # --------------------------------------------------------------------------------------------------- network

    def _hear(self, what: int) -> None:
        """A word: another node has joined (node ``what - 1`` hears it), or micro-batch ``-what`` has been taken."""
        if what > 0:
            self._heard[what - 1] += 1
            self._go_on(self._hops[what - 1][0])
        elif self._closed <= -what:
            self._closed = 1 - what
            self._feed()

    def _feed(self) -> None:
        """What the source may send now: so many are on their way to the first hop at most (``Progress.has_room``)."""
        most = min(self._closed + self._windows[0] + 2, self._steps * self._size)
        while self._fed < most:
            for h in self._needs_inputs:
                self._send(_INPUTS, h, self._fed)
            self._fed += 1

    def _send(self, kind: int, to: int, number: int) -> None:
        """``Traffic.leave``."""
        lane, now = self._lanes[kind][to], self._now
        if lane.stays:
            heappush(self._upcoming, (now, kind, to, number, 0))
            return
        start = max(now, self._up[lane.uplink])
        self._up[lane.uplink] = start + lane.up
        start = max(start, self._path[lane.path])
        self._path[lane.path] = start + lane.along
        if start > now:
            heappush(self._upcoming, (start, _ROAD, 3 * to + kind, number, 0))
        else:
            self._reach(kind, to, number)

    def _reach(self, kind: int, to: int, number: int) -> None:
        """``Traffic.reach``."""
        lane, now = self._lanes[kind][to], self._now
        done = max(now, self._down[lane.downlink]) + lane.down
        self._down[lane.downlink] = done
        heappush(self._upcoming, (max(done, now + lane.along) + lane.startup, kind, to, number, 0))


def _lanes(route: Road) -> tuple[list[_Lane], list[_Lane], list[_Lane]]:
    """For gradients, activations and inputs: the lane to each hop."""
    places: dict[object, int] = {}

    def lane(wire: Wire, size: int) -> _Lane:
        ends = wire.sender, (wire.sender, wire.receiver), wire.receiver
        uplink, path, downlink = (places.setdefault(each, len(places)) for each in ends)
        seconds = (size * wire.up, size * wire.path, size * wire.down, wire.startup)
        return _Lane(wire.sender == wire.receiver, uplink, path, downlink, *seconds)

    sizes = [stretch.crossing_bytes for stretch in route.stretches]
    back = [lane(wires[1], size) for wires, size in zip(route.wires, sizes[1:], strict=True)]
    ahead = [lane(wires[0], size) for wires, size in zip(route.wires, sizes[1:], strict=True)]
    inputs = [lane(wire, s.input_bytes or 0) for wire, s in zip(route.from_source, route.stretches, strict=True)]
    return back, ahead[:1] + ahead, inputs
