"""How slow a node is while it works by a plan: measured seconds of its layers over those of the source's profile.

C_d = measured seconds of d's layers / reference seconds of the same layers (Chen et al., FTPipeHD, arXiv 2110.02781):
it belongs to the node, not to the stage. A micro-batch counts when its backward is done, with its forward. They are
added up to blocks that are long against the periods in which systems ration a processor, of which the median counts: a
few that were disturbed do not move it. It is that of many seconds, so that noise moves no layers, unless that of the
latest few is clearly another: a change is followed within seconds. The first seconds do not count: memory is new,
caches are cold, and copies of the layers are made.
"""

from __future__ import annotations

from collections import deque
from statistics import median

from edged.core.events import BackwardDone, Event, ForwardDone
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.core.plan import Plan

COLD_SECONDS = 5.0
"""What is done within so long after the first of all is not measured."""

BLOCK_SECONDS = 0.1
"""A block of micro-batches has taken at least so long."""

SPAN_SECONDS, LONG_SECONDS = 3.0, 20.0
"""The latest blocks are those that ended at most so long before the newest; and all that count."""

LEAST_BLOCKS, MOST_BLOCKS = 3, 256
"""The newest few count however long they took; more than these are not kept."""

ALIKE = 0.15
"""The latest blocks are clearly others if their median differs by more than this share."""


class Gauge:
    """One node's speed under one plan."""

    def __init__(self, plan: Plan, spec: JobSpec, node: NodeId) -> None:
        """Nothing has been measured. A hop's reference is the profile of its layers, for a full micro-batch."""
        self._spec = spec
        self._references = {
            (route, hop): sum(
                layer.forward_seconds + layer.backward_seconds
                for layer in spec.layers[its.first_layer : its.last_layer + 1]
            )
            for route, hop, its in plan.hops_of(node)
        }
        self._forwards: dict[tuple[int, int, Work], float] = {}
        self._blocks: deque[tuple[float, float]] = deque(maxlen=MOST_BLOCKS)
        self._seconds = self._expected = 0.0
        self._warm_at: float | None = None

    @property
    def slowness(self) -> float:
        """How many times longer than the profile says; 0.0 before the first block."""
        if not self._blocks:
            return 0.0
        latest, usual = self._median(SPAN_SECONDS), self._median(LONG_SECONDS)
        return usual if abs(latest - usual) <= ALIKE * usual else latest

    def _median(self, seconds: float) -> float:
        """That of the blocks of these last seconds, or of the newest few."""
        newest = self._blocks[-1][0]
        recent = [ratio for at, ratio in self._blocks if at > newest - seconds]
        return median(recent if len(recent) >= LEAST_BLOCKS else [ratio for _, ratio in self._blocks][-LEAST_BLOCKS:])

    def handle(self, event: Event, now: float) -> None:
        """Take note of a computation of this plan; of training, and of micro-batches of the full size."""
        match event:
            case ForwardDone(_, route, hop, work, seconds) if self._is_full(work):
                self._forwards[route, hop, work] = seconds
            case BackwardDone(_, route, hop, work, seconds):
                forward = self._forwards.pop((route, hop, work), None)
                if forward is not None:
                    self._add(forward + seconds, self._references.get((route, hop), 0.0), now)
            case _:
                pass

    def _is_full(self, work: Work) -> bool:
        start, stop = self._spec.sample_range(work.version)
        return work.phase is Phase.TRAIN and (work.micro_batch + 1) * self._spec.micro_batch_size <= stop - start

    def _add(self, seconds: float, expected: float, now: float) -> None:
        self._warm_at = now + COLD_SECONDS if self._warm_at is None else self._warm_at
        if now < self._warm_at:
            return
        self._seconds += seconds
        self._expected += expected
        if self._seconds >= BLOCK_SECONDS:
            if self._expected > 0.0:
                self._blocks.append((now, self._seconds / self._expected))
            self._seconds = self._expected = 0.0
