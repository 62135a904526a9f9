"""Nodes in an order: what their pipeline takes at least, whatever the schedule does, and where to cut the layers.

``bound`` is below every step time that ``timing`` can find: the first micro-batch has to reach a hop before that has
anything to do, the last has to come back after it, and between the two every hop computes all micro-batches, every
interface carries all parcels, and no more micro-batches than its window fits are on their way from a hop and back. With
windows that are wide enough it is also near the step time (the dominant step of Ye et al., Asteroid, MobiCom 2024), so
that most candidates need not be played through.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

from edged.core.ids import NodeId
from edged.core.situation import Situation
from edged.strategies.cost import StageCost
from edged.strategies.figures import Figures
from edged.strategies.home import Home

NARROW, WIDEST = 1, 4
"""Windows of rule k are k (P - h - 1) + 1: those of 1F1B, with k = 2 one more for each hop behind, and so on.

Where a parcel takes as long as a pass, the wider ones hide its way there and back.
"""

LONG = 10_000
"""Micro-batches that stand for all of an asynchronous job, which is not drained between steps."""

_PRECISION = 1e-3
_DOUBLINGS = 40


class Yard:
    """What is the same for every line-up: figures, memory, and who leads."""

    def __init__(self, situation: Situation, *, copies: bool) -> None:
        """``copies``: whether memory has to hold the copies of layers as well."""
        self.situation = situation
        self.figures = Figures(situation, level=True)
        self.cost = StageCost(situation.spec)
        self.copies = copies
        self.layers = len(situation.spec.layers)
        self.micro_batches = situation.spec.micro_batches
        self.is_async = situation.spec.asynchronous
        self.rounds = LONG if self.is_async else self.micro_batches
        self.memory = {record.node: record.memory_bytes for record in situation.members}
        layers = situation.spec.layers
        self.crossing = [0, *(layer.crossing_bytes for layer in layers)]
        self.forward, self.backward = [0.0], [0.0]
        for layer in layers:
            self.forward.append(self.forward[-1] + layer.forward_seconds)
            self.backward.append(self.backward[-1] + layer.backward_seconds)
        self.both = [f + b for f, b in zip(self.forward, self.backward, strict=True)]
        self.home = Home(situation.spec)


class Lineup:
    """Nodes in the order of a route. ``cuts`` are the first layers of its hops, in all methods."""

    def __init__(self, yard: Yard, nodes: Sequence[NodeId]) -> None:
        """A node may stand in it twice."""
        self.nodes = tuple(nodes)
        self._twice = len({*nodes}) < len(self.nodes)
        self._yard = yard
        figures = yard.figures
        self._slow = [figures.slowness[node] for node in nodes]
        pairs = list(pairwise(nodes))
        self._ahead = [figures.wire(a, b) for a, b in pairs]
        self._back = [figures.wire(b, a) for a, b in pairs]
        self._memory = [yard.memory[node] for node in nodes]

    # ------------------------------------------------------------------------------------------------ memory

    def windows(self, cuts: Sequence[int], rule: int) -> tuple[int, ...] | None:
        """Windows of a rule, as far as each node's memory goes; ``None`` if not even one micro-batch fits somewhere."""
        widest = self.widest(cuts)
        if widest is None:
            return None
        return self.narrowed(widest, rule)

    def narrowed(self, widest: Sequence[int], rule: int) -> tuple[int, ...]:
        """Windows of a rule that are no larger than these."""
        return tuple(min(most, self._wanted(h, rule)) for h, most in enumerate(widest))

    def widest(self, cuts: Sequence[int]) -> list[int] | None:
        """The largest window that each node's memory allows; ``None`` if there is none somewhere."""
        if not self._yard.home.allows(cuts):
            return None
        ends = (*cuts[1:], self._yard.layers)
        found = []
        for h, (first, end) in enumerate(zip(cuts, ends, strict=True)):
            room = self._memory[h] - self._held_besides(h, cuts, ends)
            found.append(self._yard.cost.widest(first, end - 1, room))
            if found[-1] < 1:
                return None
        return found

    def _wanted(self, h: int, rule: int) -> int:
        if self._yard.is_async:
            return len(self.nodes) - h
        return min(self._yard.micro_batches, rule * (len(self.nodes) - h - 1) + 1)

    def _held_besides(self, h: int, cuts: Sequence[int], ends: Sequence[int]) -> int:
        """Bytes of what this hop's node holds besides its layers: its other hop, and copies of its own and others'.

        What the leader keeps of all layers is not counted: it keeps as much as it has room for (``protection.py``).
        """
        yard, node, count = self._yard, self.nodes[h], len(self.nodes)
        others = [i for i in range(count) if i != h and self.nodes[i] == node] if self._twice else []
        size = sum(yard.cost.size_bytes(cuts[i], ends[i] - 1, 1) for i in others)
        if not yard.copies:
            return size
        before = [(h - 1 - i) % count for i in range(min(yard.situation.replicas, count - 1))]
        return size + sum(yard.cost.copy_bytes(cuts[i], ends[i] - 1) for i in {h, *before})

    # ------------------------------------------------------------------------------------------------- time

    def bound(self, cuts: Sequence[int], windows: Sequence[int]) -> float:
        """Seconds that a step takes at least."""
        yard, count, all_of = self._yard, len(self.nodes), self._yard.rounds
        f, b, x, y = self._times(cuts)
        way = self._ways(f, b, x, y)
        least, ahead, back = 0.0, 0.0, 0.0
        for h in range(count):
            rounds = (all_of - 1) // windows[h] + 1
            least = max(least, ahead + max(all_of * (f[h] + b[h]), rounds * way[h]) + back)
            size, coming = yard.crossing[cuts[h + 1]] if h + 1 < count else 0, yard.crossing[cuts[h]] if h else 0
            out = (size * self._ahead[h].up if h + 1 < count else 0.0) + (coming * self._back[h - 1].up if h else 0.0)
            least = max(least, ahead + f[h] + all_of * out + (back - y[h] + self._back[h - 1].startup if h else 0.0))
            if h + 1 < count:
                wire, other = self._ahead[h], self._back[h]
                rest = way[h + 1] + y[h + 1] + b[h] + back
                least = max(least, ahead + f[h] + all_of * size * wire.path + wire.startup + rest)
                least = max(least, ahead + f[h] + x[h + 1] + way[h + 1] + all_of * size * other.path + b[h] + back)
                taken = all_of * (size * other.down + (coming * self._ahead[h - 1].down if h else 0.0))
                least = max(least, ahead - x[h] + taken + b[h] + back)
                ahead += f[h] + x[h + 1]
                back += b[h] + y[h + 1]
        flush = yard.figures.flush(self.nodes[0], [(cuts[0], (cuts[1] if count > 1 else yard.layers) - 1)])
        return least + flush.norms + flush.update

    def _times(self, cuts: Sequence[int]) -> tuple[list[float], list[float], list[float], list[float]]:
        """For each hop: forward, backward, seconds of a parcel to it, and of one back from it."""
        yard, ends = self._yard, (*cuts[1:], self._yard.layers)
        f = [s * (yard.forward[e] - yard.forward[c]) for s, c, e in zip(self._slow, cuts, ends, strict=True)]
        b = [s * (yard.backward[e] - yard.backward[c]) for s, c, e in zip(self._slow, cuts, ends, strict=True)]
        sizes = [yard.crossing[cut] for cut in cuts[1:]]
        x = [0.0, *(wire.seconds(size) for wire, size in zip(self._ahead, sizes, strict=True))]
        y = [0.0, *(wire.seconds(size) for wire, size in zip(self._back, sizes, strict=True))]
        return f, b, x, y

    @staticmethod
    def _ways(f: list[float], b: list[float], x: list[float], y: list[float]) -> list[float]:
        """For each hop: from the beginning of a forward there to the end of its backward."""
        found, behind = [0.0] * len(f), 0.0
        for h in range(len(f) - 1, -1, -1):
            found[h] = f[h] + behind + b[h]
            behind = x[h] + found[h] + y[h]
        return found

    # ------------------------------------------------------------------------------------------------- cuts

    def sketch(self, rule: int) -> tuple[int, ...] | None:
        """Cuts with a low bound: the least time in which layers, dealt out in order, are all taken.

        Each hop takes as many layers as it can do in that time, once the first micro-batch has come. ``None``: memory
        does not allow any such cuts with windows of this rule.
        """
        ideal = self._yard.rounds * self._yard.both[-1] / sum(1.0 / slow for slow in self._slow)
        low, high, best = 0.0, max(ideal, 1e-9), None
        for _ in range(_DOUBLINGS):
            best = self._deal(high, rule)
            if best is not None:
                break
            low, high = high, 2.0 * high
        if best is None:
            return None
        while high - low > _PRECISION * high:
            middle = (low + high) / 2.0
            cuts = self._deal(middle, rule)
            low, high, best = (middle, high, best) if cuts is None else (low, middle, cuts)
        return best

    def _deal(self, seconds: float, rule: int) -> tuple[int, ...] | None:
        """Each hop in turn takes what it can; ``None`` if layers are left over."""
        yard, count, cuts, fill = self._yard, len(self.nodes), [0], 0.0
        for h in range(count - 1):
            first, slow = cuts[h], self._slow[h]
            each = (seconds - fill) / (yard.rounds * slow)
            end = min(bisect_right(yard.both, yard.both[first] + each) - 1, yard.layers - (count - h - 1))
            end = self._at_home(h, self._fitting(h, cuts, end, rule))
            while end > first and yard.rounds * self._carried(h, cuts, end) > seconds - fill:
                end -= 1
            if end <= first or yard.rounds * slow * (yard.both[end] - yard.both[first]) > seconds - fill:
                return None
            fill += slow * (yard.both[end] - yard.both[first])
            fill += self._ahead[h].seconds(yard.crossing[end]) + self._back[h].seconds(yard.crossing[end])
            cuts.append(end)
        rest = yard.both[-1] - yard.both[cuts[-1]]
        if fill + yard.rounds * self._slow[-1] * rest > seconds:
            return None
        return tuple(cuts) if self._fitting(count - 1, cuts, yard.layers, rule) == yard.layers else None

    def _at_home(self, h: int, end: int) -> int:
        """Where this hop's layers end if some of them may have to stay on the source."""
        home = self._yard.home
        if h == 0 and home.starts:
            end = max(end, home.first)
        return min(end, home.last) if h + 2 == len(self.nodes) and home.ends else end

    def _carried(self, h: int, cuts: Sequence[int], end: int) -> float:
        """Seconds for which each micro-batch occupies this hop's uplink, or a path from it."""
        size, coming = self._yard.crossing[end], self._yard.crossing[cuts[h]]
        up = size * self._ahead[h].up + (coming * self._back[h - 1].up if h else 0.0)
        return max(up, size * max(self._ahead[h].path, self._back[h].path))

    def _fitting(self, h: int, cuts: Sequence[int], end: int, rule: int) -> int:
        """The last end up to ``end`` with which this hop's layers fit into its memory."""
        first, cost, window = cuts[h], self._yard.cost, self._wanted(h, rule)
        ends = (*cuts[1:], first)
        room = self._memory[h]
        own = self._yard.copies
        if own:
            room -= sum(
                cost.copy_bytes(cuts[i], ends[i] - 1) for i in range(max(0, h - self._yard.situation.replicas), h)
            )
        low, high = first, end
        while low < high:  # the last that fits
            middle = (low + high + 1) // 2
            size = cost.size_bytes(first, middle - 1, window) + (cost.copy_bytes(first, middle - 1) if own else 0)
            low, high = (middle, high) if size <= room else (low, middle - 1)
        return low

    def improved(self, cuts: tuple[int, ...], rule: int) -> tuple[int, ...]:
        """Move single cuts by a layer as long as that lowers the bound."""
        best, least = cuts, self._bound_of(cuts, rule)
        for _ in range(2):
            before = least
            for h in range(1, len(cuts)):
                for step in (-1, 1):
                    moved = (*best[:h], best[h] + step, *best[h + 1 :])
                    above = best[h + 1] if h + 1 < len(best) else self._yard.layers
                    if best[h - 1] < moved[h] < above and (seconds := self._bound_of(moved, rule)) < least:
                        best, least = moved, seconds
            if least == before:
                break
        return best

    def _bound_of(self, cuts: tuple[int, ...], rule: int) -> float:
        windows = self.windows(cuts, rule)
        return math.inf if windows is None else self.bound(cuts, windows)
