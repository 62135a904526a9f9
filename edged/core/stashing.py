"""Asynchronous training: an update after every micro-batch, no flush, older weights stashed for what is in flight.

Every micro-batch is a step of its own: micro-batch i leads from weight version i to version i + 1. Stage s of S, with
d = S - s stages from it to the end of the route, follows two gates (Chen et al., FTPipeHD, arXiv 2110.02781; Narayanan
et al., PipeDream, SOSP 2019, section 3.3), here in the order in which a stage's own passes make them one rule::

    forward  i   when forward  i-1 is done, and i - b < d or backward i-d is done    the window, d, is open
    backward i   when backward i-1 is done, and forward min(i+d-1, n-1) is           it is full, or all are in it
    update   i+1 follows backward i at once

::

    S = 3        stage 0   0F0 0F1 0F2 ... ... 0B0 0F3 ... 0B1 0F4 ...          at most 3 in flight
                 stage 1       1F0 1F1 ... 1B0 1F2 1B1 1F3 1B2 ...              at most 2
                 stage 2           2F0 2B0 2F1 2B1 2F2 2B2 ...                  one after the other

Micro-batches come in *spans*: one begins at version b and ends before version n, with an empty pipeline at both ends. A
span begins where the plan does, and where the model is evaluated; it ends where the next one begins, with the job, and
at the ``Boundary`` that the source tells when the plan is drained: from then on nobody waits for later micro-batches.

The second gate is what takes time out of the result. When a stage begins forward i, it has applied exactly the updates
up to version

    max(b, i - (S - 1 - s))

and none beyond, whatever computed or came how fast. So the weights equal this recurrence, in which g_s(i) is the
gradient of micro-batch i at stage s, with every stage at the version that it used for i::

    w_s(i+1) = update(w_s(i), g_s(i)),    g_s(i) from w_s(max(b, i - (S - 1 - s))) of all stages s

A boundary cuts off only forwards that were not fed yet, so where it lies changes no earlier version.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from edged.core.job import Phase, Work
from edged.core.plan import Plan, PlanError
from edged.core.stage import Stage


@dataclass(frozen=True, slots=True)
class Span(Sequence[Work]):
    """The works between two moments at which the pipeline is empty: an evaluation, if due, then training.

    Training works of versions ``first`` to ``end - 1``, one for each; none is kept in memory.
    """

    evaluation: tuple[Work, ...]
    first: int
    end: int

    def __len__(self) -> int:
        """Works of both kinds."""
        return len(self.evaluation) + self.end - self.first

    @overload
    def __getitem__(self, index: int) -> Work: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Work]: ...

    def __getitem__(self, index: int | slice) -> Work | Sequence[Work]:
        """One work, or some."""
        if isinstance(index, slice):
            return [self._at(place) for place in range(*index.indices(len(self)))]
        return self._at(range(len(self))[index])

    def _at(self, place: int) -> Work:
        evaluations = len(self.evaluation)
        if place < evaluations:
            return self.evaluation[place]
        return Work(self.first + place - evaluations, Phase.TRAIN, 0)


class StashingStage(Stage):
    """A hop of an asynchronous job: the gates above. Several versions are in flight at once."""

    def begin(self, version: int) -> None:
        """Go on with the span that begins at this weight version; nothing is in flight."""
        works = self._dealing.works_at(version)
        evaluation = tuple(work for work in works if work.phase is Phase.EVALUATE)
        end = self._dealing.barrier_after(version)
        self._first, self._first_training = version, len(evaluation)
        self._take(Span(evaluation, version, end), version, end)

    def reach(self, version: int) -> None:
        """The update to this version is applied; after the last one of a span the next span begins."""
        self._version = version
        if self.finished:
            self.begin(version)

    def bound(self, version: int) -> None:
        """Nothing from this version on will come: the span ends before it, but not before what has begun."""
        end = max(version, self._first + self._forward - self._first_training, self._first)
        if end < self._end:
            self._end = end
            self._works = Span(tuple(self._works[: self._first_training]), self._first, end)

    def next_backward(self) -> Work | None:
        """The work whose backward can run now: its window is full, or the span has no more forwards."""
        if self.in_flight < self.hop.window and self._forward < len(self._works):
            return None
        return super().next_backward()

    @property
    def due(self) -> bool:
        """Whether a backward has been done whose update has not."""
        return self._first + self._backward - self._first_training > self._version

    @property
    def trains(self) -> bool:
        """Whether an update is under way. At all other times a copy takes what the last one left, see ``compute``."""
        return self.due


def check_plan(plan: Plan) -> None:
    """Raise ``PlanError`` for a plan that asynchronous training cannot follow."""
    used = [route for route in plan.routes if route.micro_batches]
    if len(used) != 1 or len(plan.routes) != 1 or plan.micro_batches != 1:
        raise PlanError("asynchronous training takes one route, and every step is one micro-batch")
    hops = used[0].hops
    if len({hop.node for hop in hops}) < len(hops):
        raise PlanError("asynchronous training takes each node once: two hops would need two versions of its optimizer")
    windows, exact = [hop.window for hop in hops], list(range(len(hops), 0, -1))
    if windows != exact:
        raise PlanError(f"asynchronous training takes windows of {exact}, hop by hop, not {windows}: see stashing.py")
