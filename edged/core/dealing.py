"""Which works follow which route, and which of the program's inputs each hop takes: shared by source and hops.

A training step deals its micro-batches as the plan says. An evaluation may have more micro-batches than a step; they
are dealt out the same way, modulo the number of micro-batches of a full step.
"""

from __future__ import annotations

from functools import lru_cache

from edged.core.job import JobSpec, Phase, Work
from edged.core.plan import Hop, Plan

VERSIONS_AHEAD = 4
"""The source feeds no work of a version that is this many above the oldest one that it has not seen completed ..."""

ROOM = 2
"""So many works more than its window may be on their way to the first hop of a route."""


class Dealing:
    """The works of a plan, by version and route. A pure function of plan and job, with a small memory.

    ``ahead``: ... and, where every micro-batch is a version, all that may be on its way to the first hop or in flight.
    """

    def __init__(self, plan: Plan, spec: JobSpec) -> None:
        """Take down which route each micro-batch follows."""
        self._spec = spec
        self._route = tuple(plan.route_of(m) for m in range(plan.micro_batches))
        widest = max(route.hops[0].window for route in plan.routes)
        self.ahead = VERSIONS_AHEAD + (2 * (widest + ROOM) if spec.asynchronous else 0)
        self.works_at = lru_cache(maxsize=2 * self.ahead)(spec.works_at)
        self.barrier_after = spec.barrier_after
        self._sizes = lru_cache(maxsize=4 * self.ahead)(spec.sizes)

    def route_of(self, work: Work) -> int:
        """Index of the route that ``work`` follows."""
        return self._route[work.micro_batch % len(self._route)]

    def works_of(self, version: int, route: int) -> tuple[Work, ...]:
        """The works of a version on one route, ascending: its evaluation, if due, then its training."""
        return tuple(work for work in self.works_at(version) if self.route_of(work) == route)

    def evaluations_at(self, version: int) -> int:
        """How many works of a version are its evaluation; they are the first of ``works_at``."""
        return len(self._sizes(version, Phase.EVALUATE)) if self._spec.evaluates_at(version) else 0

    def exists(self, work: Work) -> bool:
        """Whether the job has this work at all."""
        due = work.version < self._spec.steps if work.phase is Phase.TRAIN else self._spec.evaluates_at(work.version)
        return due and 0 <= work.micro_batch < len(self._sizes(work.version, work.phase))

    def weight(self, work: Work) -> float:
        """The share of this micro-batch in the mean over its step, or over its evaluation: n_i / N."""
        sizes = self._sizes(work.version, work.phase)
        return sizes[work.micro_batch] / sum(sizes)

    def samples(self, version: int) -> int:
        """Samples in the training step that starts at ``version``."""
        return sum(self._sizes(version, Phase.TRAIN))


def inputs_of(spec: JobSpec, index: int, hop: Hop) -> tuple[int, ...] | None:
    """Indices of the program's inputs that hop number ``index`` of a route takes; ``None``: it gets no ``Inputs``.

    The first hop always gets ``Inputs``, even empty ones: they are what lets it begin.
    """
    layers = spec.layers[hop.first_layer : hop.last_layer + 1]
    used = tuple(sorted({i for layer in layers for i in layer.inputs}))
    return used if used or index == 0 else None
