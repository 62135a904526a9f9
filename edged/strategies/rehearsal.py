"""What a plan will do, by letting it: the production schedules and the production feeding under a virtual clock.

A situation's figures stand for compute threads and network; everything else is what runs in earnest, so a prediction
cannot drift from the product. What happens at one moment happens in an order of its own (``Moment``), so that a
rehearsal is repeatable, and ``timing`` can do the same without the machines.

The machines themselves see a clock that stands still: nothing is lost here, so nothing need be said twice.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import IntEnum

from edged.core.dealing import VERSIONS_AHEAD
from edged.core.effects import (
    DrawSample,
    Effect,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendGradient,
    SendInputs,
    SendMessage,
    TakeNorms,
)
from edged.core.events import (
    BackwardDone,
    Event,
    ForwardDone,
    MessageReceived,
    NormsTaken,
    ParcelArrived,
    SampleDrawn,
    TimerFired,
    UpdateDone,
)
from edged.core.feeding import Feeding
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Work
from edged.core.messages import Activation, Gradient, Inputs, Parcel
from edged.core.pace import Computing
from edged.core.plan import Plan
from edged.core.schedule import Schedule
from edged.core.situation import Situation
from edged.errors import BrokenInvariantError
from edged.strategies.figures import Figures, Stretch
from edged.strategies.links import Traffic, Wire

STEPS = 3
"""So many are rehearsed: the last is like all that follow."""


FULL = 4
"""Of an asynchronous job, so many times the pipeline's length is rehearsed: to fill it, to run full, and to drain."""


class Moment(IntEnum):
    """What comes first of what happens at one moment; then the lower hop, the older work."""

    GRADIENT = 0
    ACTIVATION = 1
    INPUTS = 2
    WORD = 3
    ROAD = 4
    DONE = 5


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time: ``kind`` is forward, backward, update (norms included) or transfer.

    ``node`` and ``hop``: where it was computed, or who sent, to which hop; a flush has hop -1. ``micro_batch``: -1 at a
    flush. Seconds, from the beginning of the step.
    """

    node: NodeId
    hop: int
    kind: str
    micro_batch: int
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """A rehearsed plan: seconds of the first step, of any later one, and what that consists of, by start."""

    first_step_seconds: float
    step_seconds: float
    spans: tuple[Span, ...]


def rehearse(plan: Plan, situation: Situation, *, steps: int = STEPS) -> Rehearsal:
    """Run ``steps`` full steps of a plan, without evaluation: at least 2, at most as many as are fed ahead.

    A step lasts until those nodes have updated at which routes begin. An asynchronous job's step is a micro-batch:
    so many are run that the pipeline is full for a while, of which the mean is taken, and the spans, over as many
    micro-batches as there are hops. Raises ``BrokenInvariantError`` if the plan cannot be run (two nodes hold
    one layer), or comes to stand.
    """
    if not 2 <= steps <= VERSIONS_AHEAD:  # noqa: PLR2004 - the first step is like no other
        raise ValueError(f"2 to {VERSIONS_AHEAD} steps can be rehearsed, not {steps}")
    micro_batches = plan.micro_batches
    if situation.spec.asynchronous:
        steps = FULL * max(len(route.hops) for route in plan.routes)
    whole = replace(
        situation.spec, steps=steps, samples=steps * micro_batches, batch_size=micro_batches,
        micro_batches=micro_batches, drop_last=True, epochs=1, eval_samples=0,
    )  # fmt: skip
    return _Theatre(plan, whole, Figures(situation)).play()


class _Theatre:
    """Machines, clock and network of one rehearsal."""

    def __init__(self, plan: Plan, spec: JobSpec, figures: Figures) -> None:
        self._plan, self._spec, self._figures = plan, spec, figures
        self._now = 0.0
        self._upcoming: list[tuple[float, int, int, int, int, Callable[[], None]]] = []
        self._count = 0
        self._traffic = Traffic()
        self._schedules = {node: Schedule(plan, spec, node, 0) for node in plan.nodes()}
        self._feeding = Feeding(plan, spec, spec.source, 0, None, lambda: ())
        self._first = {route.hops[0].node for route in plan.routes}
        self._updated = dict.fromkeys(plan.nodes(), 0)
        self._ends: list[float] = []
        self._spans: list[Span] = []
        self._flush = {
            node: figures.flush(node, [*{(hop.first_layer, hop.last_layer): 0 for _, _, hop in plan.hops_of(node)}])
            for node in plan.nodes()
        }

    def play(self) -> Rehearsal:
        self._feed(TimerFired())
        while self._upcoming and len(self._ends) < self._spec.steps:
            self._now, _, _, _, _, happen = heapq.heappop(self._upcoming)
            happen()
        if len(self._ends) < self._spec.steps:
            said = "; ".join(f"{node}: {schedule.trace}" for node, schedule in self._schedules.items())
            raise BrokenInvariantError(f"the rehearsed plan comes to stand: {said}")
        begin, end, count = *self._ends[-2:], 1
        if self._spec.asynchronous:
            count = self._spec.steps // FULL
            begin, end = self._ends[2 * count - 1], self._ends[3 * count - 1]
        spans = [
            replace(span, start=span.start - begin, end=span.end - begin)
            for span in sorted(self._spans, key=lambda span: (span.start, span.end, span.hop))
            if begin <= span.start < end
        ]
        return Rehearsal(self._ends[0], (end - begin) / count, tuple(spans))

    # ------------------------------------------------------------------------------------------------- what happens

    def _at(self, moment: float, what: Moment, hop: int, number: int, happen: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._upcoming, (moment, what, hop, number, self._count, happen))

    def _give(self, node: NodeId, event: Event) -> None:
        for effect in self._schedules[node].handle(event, 0.0):
            self._perform(node, effect)

    def _feed(self, event: Event) -> None:
        """Samples are there as soon as they are wanted: who draws is ahead."""
        events: deque[Event] = deque([event])
        while events:
            for effect in self._feeding.handle(events.popleft(), 0.0):
                if isinstance(effect, DrawSample):
                    events.append(SampleDrawn(effect.job, effect.work))
                else:
                    self._perform(self._spec.source, effect)

    def _perform(self, node: NodeId, effect: Effect) -> None:
        match effect:
            case RunForward() | RunBackward() | TakeNorms() | RunUpdate():
                self._compute(node, effect)
            case SendActivation(to, stamp, route, hop, work):
                self._send(node, to, Activation(stamp, route, hop + 1, work, (), ()), self._crossing(route, hop + 1))
            case SendGradient(to, stamp, route, hop, work):
                self._send(node, to, Gradient(stamp, route, hop - 1, work, ()), self._crossing(route, hop))
            case SendInputs(to, stamp, route, hop, work, _):
                layers = self._plan.routes[route].hops[hop]
                size = self._figures.input_bytes(layers.first_layer, layers.last_layer) or 0
                self._send(node, to, Inputs(stamp, route, hop, work, ()), size)
            case SendMessage(to, message) if to in self._schedules or to == self._spec.source:
                moment = self._now + self._figures.word_seconds(node, to)
                self._at(moment, Moment.WORD, 0, 0, lambda: self._hear(to, MessageReceived(node, message)))
            case _:  # copies, logs, the feeder: nothing here waits for them
                pass

    def _hear(self, node: NodeId, event: MessageReceived) -> None:
        if node in self._schedules:
            self._give(node, event)
        if node == self._spec.source:
            self._feed(event)

    def _crossing(self, route: int, hop: int) -> int:
        return self._spec.layers[self._plan.routes[route].hops[hop].first_layer - 1].crossing_bytes

    # ---------------------------------------------------------------------------------------------------- computing

    def _compute(self, node: NodeId, effect: Computing) -> None:
        match effect:
            case RunForward(stamp, route, h, work, _):
                last = h + 1 == len(self._plan.routes[route].hops)
                seconds = self._pass(node, route, h).forward
                answer: Event = ForwardDone(stamp, route, h, work, seconds, 1.0 if last else None, ())
                self._run(node, "forward", h, work, seconds, answer)
            case RunBackward(stamp, route, h, work):
                seconds = self._pass(node, route, h).backward
                self._run(node, "backward", h, work, seconds, BackwardDone(stamp, route, h, work, seconds))
            case TakeNorms(stamp, version):
                self._run(node, "update", -1, None, self._flush[node].norms, NormsTaken(stamp, version, ()))
            case RunUpdate(stamp, version):
                seconds = self._flush[node].update
                self._run(node, "update", -1, None, seconds, UpdateDone(stamp, version, seconds, 0.1))

    def _pass(self, node: NodeId, route: int, h: int) -> Stretch:
        hop = self._plan.routes[route].hops[h]
        return self._figures.stretch(node, hop.first_layer, hop.last_layer)

    def _run(self, node: NodeId, kind: str, hop: int, work: Work | None, seconds: float, answer: Event) -> None:
        end = self._now + seconds
        self._spans.append(Span(node, hop, kind, -1 if work is None else work.micro_batch, self._now, end))
        place = hop if work is not None else self._plan.hops_of(node)[0][1]
        self._at(end, Moment.DONE, place, self._number(work), lambda: self._done(node, answer))

    def _done(self, node: NodeId, answer: Event) -> None:
        if isinstance(answer, UpdateDone):
            self._updated[node] = answer.version
            if min(self._updated[first] for first in self._first) > len(self._ends):
                self._ends.append(self._now)
        self._give(node, answer)

    def _number(self, work: Work | None) -> int:
        return -1 if work is None else work.version * self._plan.micro_batches + work.micro_batch

    # ------------------------------------------------------------------------------------------------------ network

    def _send(self, sender: NodeId, to: NodeId, parcel: Inputs | Activation | Gradient, size: int) -> None:
        wire = self._figures.wire(sender, to)
        begun = self._now
        if sender == to:
            self._arrive(wire, parcel, begun, begun)
            return
        start = self._traffic.leave(wire, size, begun)
        if start > begun:
            self._at(start, Moment.ROAD, 3 * parcel.hop + _kind(parcel), self._number(parcel.work),
                     lambda: self._reach(wire, parcel, size))  # fmt: skip
        else:
            self._reach(wire, parcel, size)

    def _reach(self, wire: Wire, parcel: Inputs | Activation | Gradient, size: int) -> None:
        self._arrive(wire, parcel, self._now, self._traffic.reach(wire, size, self._now))

    def _arrive(self, wire: Wire, parcel: Inputs | Activation | Gradient, begun: float, moment: float) -> None:
        if wire.sender != wire.receiver:
            self._spans.append(Span(wire.sender, parcel.hop, "transfer", parcel.work.micro_batch, begun, moment))
        arrived = ParcelArrived(wire.sender, parcel)
        self._at(
            moment, _kind(parcel), parcel.hop, self._number(parcel.work), lambda: self._give(wire.receiver, arrived)
        )


def _kind(parcel: Parcel) -> Moment:
    match parcel:
        case Gradient():
            return Moment.GRADIENT
        case Activation():
            return Moment.ACTIVATION
        case _:
            return Moment.INPUTS
