"""What a pipeline over unequal nodes could do at best: event simulation, and search of all orders, subsets and cuts.

An independent reference for the planner: it shares no code with ``edged``. One pipeline, backwards before forwards,
windows of 2 (P - p) - 1 micro-batches, a flush after every step. A node computes one thing at a time; its network card
sends one thing at a time, in both directions of the pipeline.

The search leaves nothing out but what a bound excludes. With F and B the seconds of forward and backward of a
micro-batch, stage p computes without a break at best, after the first forward and before the last backward of all
stages before it::

    step >= sum over i < p of (F_i + B_i) + M (F_p + B_p)
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate


@dataclass(frozen=True, slots=True)
class Block:
    """What cannot be cut: seconds of one micro-batch on a node of slowness 1; bytes that cross the cut after it."""

    forward: float
    backward: float
    crossing: float = 0.0


@dataclass(frozen=True, slots=True)
class Stage:
    """Blocks on one node: seconds of one micro-batch, and seconds that its activation takes to leave the node."""

    forward: float
    backward: float
    sending: float = 0.0


@dataclass(frozen=True, slots=True)
class Links:
    """Every node's link: a message of n bytes leaves in n / ``bytes_per_second`` and arrives ``startup`` later."""

    bytes_per_second: float = math.inf
    startup: float = 0.0


@dataclass(frozen=True, slots=True)
class Best:
    """A pipeline: seconds of a step, the nodes in their order, the first block of each."""

    seconds: float
    order: tuple[int, ...] = ()
    cuts: tuple[int, ...] = ()


def simulated_seconds(stages: Sequence[Stage], micro_batches: int, startup: float = 0.0) -> float:
    """Seconds of one step, from the first forward to the last backward."""
    return _Pipeline(stages, micro_batches, startup).run()


def bound_seconds(stages: Sequence[Stage], micro_batches: int) -> float:
    """No schedule takes less, see above."""
    times = [stage.forward + stage.backward for stage in stages]
    return max(
        before + micro_batches * each for before, each in zip(accumulate(times, initial=0.0), times, strict=False)
    )


class _Pipeline:
    """One step under a virtual clock. Index letters: ``p`` stage, ``m`` micro-batch."""

    def __init__(self, stages: Sequence[Stage], micro_batches: int, startup: float) -> None:
        count = len(stages)
        self._stages, self._startup = stages, startup
        self._windows = [2 * (count - p) - 1 for p in range(count)]
        self._forwards: list[deque[int]] = [deque() for _ in stages]
        self._backwards: list[deque[int]] = [deque() for _ in stages]
        self._forwards[0].extend(range(micro_batches))
        self._in_flight = [0] * count
        self._busy = [False] * count
        self._card_free = [0.0] * count
        self._events: list[tuple[float, int, str, int, int]] = []
        self._number = 0

    def run(self) -> float:
        now = 0.0
        self._compute(0, now)
        while self._events:
            now, _, event, p, m = heapq.heappop(self._events)
            match event:
                case "activation":
                    self._forwards[p].append(m)
                case "gradient":
                    self._backwards[p].append(m)
                case "forward":
                    self._forward_done(p, m, now)
                case "backward":
                    self._backward_done(p, m, now)
            self._compute(p, now)
        return now

    def _compute(self, p: int, now: float) -> None:
        """Backward first; a forward if the window is open."""
        if self._busy[p]:
            return
        stage = self._stages[p]
        if self._backwards[p]:
            self._busy[p] = True
            self._push(now + stage.backward, "backward", p, self._backwards[p].popleft())
        elif self._forwards[p] and self._in_flight[p] < self._windows[p]:
            self._busy[p] = True
            self._in_flight[p] += 1
            self._push(now + stage.forward, "forward", p, self._forwards[p].popleft())

    def _forward_done(self, p: int, m: int, now: float) -> None:
        self._busy[p] = False
        if p + 1 < len(self._stages):
            self._push(self._sent(p, self._stages[p].sending, now), "activation", p + 1, m)
        else:
            self._backwards[p].append(m)

    def _backward_done(self, p: int, m: int, now: float) -> None:
        self._busy[p] = False
        self._in_flight[p] -= 1
        if p:
            self._push(self._sent(p, self._stages[p - 1].sending, now), "gradient", p - 1, m)

    def _sent(self, p: int, seconds: float, now: float) -> float:
        """When a message that takes stage p's network card so long arrives."""
        self._card_free[p] = max(now, self._card_free[p]) + seconds
        return self._card_free[p] + self._startup

    def _push(self, when: float, event: str, p: int, m: int) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, event, p, m))


class Search:
    """All pipelines of some of the nodes, in any order, with any cuts."""

    def __init__(self, blocks: Sequence[Block], slowness: Sequence[float], micro_batches: int, links: Links) -> None:
        """``slowness``: how many times longer than the blocks say each node takes."""
        self._blocks, self._slowness, self._micro_batches, self._links = blocks, slowness, micro_batches, links
        self._forward = list(accumulate((block.forward for block in blocks), initial=0.0))
        self._backward = list(accumulate((block.backward for block in blocks), initial=0.0))

    def best(self) -> Best:
        """The fastest pipeline by simulation. First the one with the least bound: it excludes most of the others."""
        promising = self._least(lambda _stages, bound: bound, Best(math.inf))
        first = simulated_seconds(self.stages(promising), self._micro_batches, self._links.startup)

        def simulated(stages: Sequence[Stage], _bound: float) -> float:
            return simulated_seconds(stages, self._micro_batches, self._links.startup)

        return self._least(simulated, Best(first, promising.order, promising.cuts))

    def stages(self, pipeline: Best) -> list[Stage]:
        """The stages of a pipeline."""
        ends = (*pipeline.cuts[1:], len(self._blocks))
        return [
            self._stage(node, first, end) for node, first, end in zip(pipeline.order, pipeline.cuts, ends, strict=True)
        ]

    def _stage(self, node: int, first: int, end: int) -> Stage:
        slowness = self._slowness[node]
        return Stage(
            slowness * (self._forward[end] - self._forward[first]),
            slowness * (self._backward[end] - self._backward[first]),
            self._blocks[end - 1].crossing / self._links.bytes_per_second,
        )

    def _least(self, measure: Callable[[Sequence[Stage], float], float], best: Best) -> Best:
        """The pipeline that measures least, if it is less than ``best``."""
        total = len(self._blocks)

        def go_on(order: tuple[int, ...], cuts: tuple[int, ...], stages: tuple[Stage, ...], bound: float) -> None:
            nonlocal best
            first = cuts[-1]
            before = sum(stage.forward + stage.backward for stage in stages)
            tried: set[float] = set()
            for node in range(len(self._slowness)):
                if node in order or self._slowness[node] in tried:
                    continue
                tried.add(self._slowness[node])  # of equal nodes the first stands for all
                for end in range(first + 1, total + 1):
                    stage = self._stage(node, first, end)
                    least = max(bound, before + self._micro_batches * (stage.forward + stage.backward))
                    if least >= best.seconds:
                        break
                    nodes, all_stages = (*order, node), (*stages, stage)
                    if end == total:
                        seconds = measure(all_stages, least)
                        best = Best(seconds, nodes, cuts) if seconds < best.seconds else best
                    elif self._shared(end, nodes) < best.seconds:
                        go_on(nodes, (*cuts, end), all_stages, least)

        go_on((), (0,), (), 0.0)
        return best

    def _shared(self, first: int, order: tuple[int, ...]) -> float:
        """Seconds of all micro-batches through the blocks from ``first`` on, shared ideally by nodes not used yet."""
        speed = sum(1 / each for node, each in enumerate(self._slowness) if node not in order)
        work = self._forward[-1] - self._forward[first] + self._backward[-1] - self._backward[first]
        return self._micro_batches * work / speed if speed else math.inf
