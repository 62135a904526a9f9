"""One node's side of running a plan: what it computes next, and whom it tells.

The order is a rule, not a list. Whenever nothing is computing, the first answer wins:

1. *copy* the state for those who want this version, and for a snapshot if one is due, while it is untouched;
2. *backward* of the oldest micro-batch whose gradient is here;
3. *forward* of the oldest micro-batch whose inputs are here, if the hop's window is open;
4. when all micro-batches of the step are done on all hops of this node: *norms* (if the job clips, or if updates may
   be skipped), then *update*.

An asynchronous job updates after every backward, and backwards wait for forwards: see ``stashing.py``.

What has been computed prints as ``0F0 0F1 0B0`` (hop, pass, micro-batch; ``E`` is a forward for evaluation). The
grid of three hops and four micro-batches, a column for each hop, forwards as long as backwards::

    0F0
    0F1 1F0
    0F2 1F1 2F0
    ... ... 2B0
    ... 1B0 2F1
    0B0 1F2 2B1
    0F3 1B1 2F2
    0B1 1F3 2B2
    ... 1B2 2F3
    0B2 ... 2B3
    ... 1B3 ...
    0B3 ... ...
"""

from __future__ import annotations

import math
from collections import deque

from edged.core.account import Account
from edged.core.copying import Copying, Snapshots
from edged.core.dealing import Dealing
from edged.core.effects import (
    Effect,
    Log,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendGradient,
    SendMessage,
    TakeNorms,
    TakeSnapshot,
)
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    Event,
    ForwardDone,
    LoopWasLate,
    MessageReceived,
    NormsTaken,
    ParcelArrived,
    ParcelLost,
    UpdateDone,
)
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import (
    Activation,
    Boundary,
    Gradient,
    GradientNorms,
    Inputs,
    Message,
    Parcel,
    Refused,
    StateParcel,
    Updated,
    WantProgress,
    WantState,
    WorkFailed,
)
from edged.core.norms import NormExchange, Verdict
from edged.core.pace import Computing, Pace
from edged.core.plan import Plan, layers_in_words
from edged.core.stage import Stage
from edged.core.stashing import StashingStage, check_plan
from edged.errors import BrokenInvariantError

REPEAT_SECONDS = 0.5
_TRACE = 64


class Schedule:
    """Runs all hops that ``node`` has in ``plan``, from weight version ``version`` on.

    Build it when ``StagesBuilt`` came without problem, *before* this node's own ``Start``: work may arrive earlier
    than ``Start``, and nothing happens before the source feeds. Drop it on ``End`` or a newer plan. It reads (all
    others are ignored): ``ParcelArrived`` with ``Inputs``, ``Activation``, ``Gradient``; ``MessageReceived`` with
    ``WantProgress``, ``Boundary``, ``GradientNorms``, ``WantState``; ``ParcelLost`` with a ``StateParcel``;
    ``ForwardDone``, ``BackwardDone``, ``NormsTaken``, ``UpdateDone``, ``ComputeFailed``; ``LoopWasLate``;
    ``TimerFired``.

    It takes a snapshot of what it begins with, and of every version that ``snapshots.every`` divides (0: of no other).

    Raises ``BrokenInvariantError`` if two nodes hold one layer: their gradients would have to be summed; ``PlanError``
    if the job is asynchronous, and the plan nothing for it.
    """

    def __init__(self, plan: Plan, spec: JobSpec, node: NodeId, version: int) -> None:
        """``version``: what the stages were built at."""
        _refuse_shared_layers(plan)
        if spec.asynchronous:
            check_plan(plan)
        self.snapshots = Snapshots(plan.stamp, version)
        self._stamp = plan.stamp
        self._spec = spec
        self._node = node
        self._dealing = Dealing(plan, spec)
        kind = StashingStage if spec.asynchronous else Stage
        self._stages = tuple(kind(plan, spec, self._dealing, r, h) for r, h, _ in plan.hops_of(node))
        self._account = Account(plan.stamp, spec.source, self._dealing.ahead)
        self._norms = NormExchange(plan.stamp, node, plan.nodes())
        self._copying = Copying()
        self._computing: Computing | None = None
        self._pace = Pace(plan.predicted_step_seconds)
        self._joining = False
        self._skips = False
        self._compute_seconds = 0.0
        self._problem = ""
        self._repeat_at = 0.0
        self._trace: deque[str] = deque(maxlen=_TRACE)
        self._version = version
        for stage in self._stages:
            stage.begin(version)

    @property
    def version(self) -> int:
        """Steps applied on this node."""
        return self._version

    @property
    def trace(self) -> str:
        """The latest computations in order, such as ``0F0 0F1 0B0``."""
        return " ".join(self._trace)

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take one fact in, give the decisions out."""
        effects: list[Effect] = []
        match event:
            case ParcelArrived(sender=sender, parcel=parcel):
                effects = self._take_parcel(sender, parcel)
            case MessageReceived(sender=sender, message=message):
                effects = self._take_message(sender, message, now)
            case ForwardDone() | BackwardDone() | NormsTaken() | UpdateDone() if event.stamp == self._stamp:
                effects = self._take_answer(event, now)
            case ComputeFailed(stamp=stamp, reason=reason) if stamp == self._stamp:
                effects = self.fail(reason, now)  # of a parcel or of a copy as well: what computes goes on
            case ParcelLost(node=node, parcel=StateParcel(replica=False)):
                self._copying.lost(node)
            case LoopWasLate():
                self._pace.forgive(now)
            case _:
                pass
        return [*self._go_on(now), *effects, *self._repeat(now)]  # what computes next must not wait for what is sent

    def expects(self, sender: NodeId, parcel: Inputs | Activation | Gradient) -> bool:
        """Whether a hop of this plan waits for this parcel from this sender. Changes nothing."""
        return parcel.stamp == self._stamp and not self._problem and not self._refusal(sender, parcel)

    def fail(self, reason: str, now: float) -> list[Effect]:
        """Something that this node cannot work without has broken; the first reason stands."""
        return [] if self._problem else [*self._fail(reason, now), *self._repeat(now)]

    def standing(self) -> list[TakeSnapshot]:
        """What may be copied as it is; nothing between the first training forward of a step and its update.

        An evaluation that is being computed changes nothing, and a copy waits for its end.
        """
        if any(stage.trains for stage in self._stages):
            return []
        return [TakeSnapshot(self._stamp, first, last, self._version) for first, last in self._layers()]

    def deadline(self) -> float | None:
        """When to send a ``TimerFired``; ``None``: nothing is waited for."""
        return self._repeat_at if self._problem else self._norms.deadline()

    def check(self) -> None:
        """Raise ``BrokenInvariantError``, with the trace, if an invariant does not hold."""
        for stage in self._stages:
            try:
                stage.check()
            except BrokenInvariantError as broken:
                raise BrokenInvariantError(f"{broken}; computed so far: {self.trace} <-- here") from None

    # ------------------------------------------------------------------------------------------- what comes in

    def _take_parcel(self, sender: NodeId, parcel: Parcel) -> list[Effect]:
        if not isinstance(parcel, Inputs | Activation | Gradient) or parcel.stamp != self._stamp:
            return []
        refusal = self._refusal(sender, parcel)
        if not refusal:
            self._own_stage(parcel.route, parcel.hop).accept(parcel)
            return []
        what = f"{type(parcel).__name__} of {parcel.work.in_words()} from {sender} dropped: {refusal}"
        return [Log("warning", "schedule", what)]

    def _refusal(self, sender: NodeId, parcel: Inputs | Activation | Gradient) -> str:
        stage = self._stage(parcel.route, parcel.hop)
        return "this node has no such hop" if stage is None else stage.refusal(sender, self._spec.source, parcel)

    def _take_message(self, sender: NodeId, message: Message, now: float) -> list[Effect]:
        match message:
            case WantProgress(stamp=stamp) if stamp == self._stamp and sender == self._spec.source:
                late = self._pace.late(now)
                return self._pace.complain(now) if late else self._account.again(message) or self._sign_of_life()
            case Boundary(stamp=stamp) if stamp == self._stamp and sender == self._spec.source:
                for stage in self._stages:
                    stage.bound(message.version)
                return []
            case GradientNorms(stamp=stamp) if stamp == self._stamp:
                return self._norms.receive(sender, message, self._version + 1)
            case WantState() if message.stamp.job == self._stamp.job:
                if self._holds(message.first_layer, message.last_layer):
                    self._copying.ask(sender, message)
                    return []
                reason = f"{layers_in_words(message.first_layer, message.last_layer)} are not on this node"
                return [SendMessage(sender, Refused(self._stamp.job, reason, message.version))]
            case _:
                return []

    def _sign_of_life(self) -> list[Effect]:
        """Nothing is new here, but whoever says nothing at all is taken for stuck (and is, if it computes for ever)."""
        stage = self._stages[0]
        return [self._account.say(Updated(self._stamp, stage.route, stage.index, self._version, 0.0, 0.0))]

    def _take_answer(self, event: ForwardDone | BackwardDone | NormsTaken | UpdateDone, now: float) -> list[Effect]:
        if self._problem:  # nothing goes on from here
            return []
        asked, self._computing = self._computing, None
        self._pace.end(now)
        match asked, event:
            case RunForward(), ForwardDone() if (asked.route, asked.hop, asked.work) == (
                event.route,
                event.hop,
                event.work,
            ):
                return self._forward_done(event, now)
            case RunBackward(), BackwardDone() if (asked.route, asked.hop, asked.work) == (
                event.route,
                event.hop,
                event.work,
            ):
                return self._backward_done(event)
            case TakeNorms(), NormsTaken() if asked.version == event.version:
                return self._join(event.norms, now)
            case RunUpdate(), UpdateDone() if asked.version == event.version:
                return self._update_done(event)
            case _:
                raise BrokenInvariantError(f"{event} answers nothing, asked was {asked}; computed so far: {self.trace}")

    def _forward_done(self, done: ForwardDone, now: float) -> list[Effect]:
        stage = self._own_stage(done.route, done.hop)
        self._compute_seconds += done.seconds
        effects: list[Effect] = []
        if stage.index == 0:
            effects.append(self._account.taken(stage.route, done.work))
        if stage.next is not None:
            effects.append(SendActivation(stage.next, self._stamp, stage.route, stage.index, done.work))
        elif done.loss is None or self._is_fatal(done.work, done.loss):
            effects += self._fail(f"the loss of {done.work.in_words()} is {done.loss}", now)
        else:
            effects.append(self._account.result(done.work, done.loss, done.metrics))
        return effects

    def _is_fatal(self, work: Work, loss: float) -> bool:
        """Whether the job ends with this loss; if its step is only left out, that is noted."""
        if work.phase is not Phase.TRAIN or math.isfinite(loss):
            return False
        self._skips = self._may_skip
        return not self._may_skip

    def _backward_done(self, done: BackwardDone) -> list[Effect]:
        stage = self._own_stage(done.route, done.hop)
        self._compute_seconds += done.seconds
        stage.finish_backward(done.work)
        if stage.previous is None:
            return []
        return [SendGradient(stage.previous, self._stamp, stage.route, stage.index, done.work)]

    def _update_done(self, done: UpdateDone) -> list[Effect]:
        seconds, self._compute_seconds = self._compute_seconds + done.seconds, 0.0
        self._version, self._skips = done.version, False
        for stage in self._stages:
            stage.reach(done.version)
        return [
            self._account.updated(
                Updated(self._stamp, stage.route, stage.index, done.version, seconds, done.learning_rate)
            )
            for stage in self._stages
        ]

    # ---------------------------------------------------------------------------------------------- what goes out

    def _go_on(self, now: float) -> list[Effect]:
        """The next computation, if nothing is computing."""
        if self._computing is not None or self._problem:
            return []
        trains = any(stage.trains for stage in self._stages)
        copies = [] if trains else self.snapshots.serve(self._version, self._layers())
        copies += self._copying.serve(self._version, trains=trains)
        self._computing = self._next()
        if self._computing is None and self._may_skip and not self._spec.clips and not self._joining and self._flushes:
            copies += self._join((), now)
            self._computing = self._next_flush()
        if self._computing is None:
            return copies
        self._pace.begin(self._computing, now)
        return [*copies, self._computing]

    def _next(self) -> Computing | None:
        return self._next_flush() or self._next_backward() or self._next_forward()

    def _next_backward(self) -> RunBackward | None:
        """The oldest work first; where one work could run at two hops, the deeper one."""
        ready = [(work, -s.index, s) for s in self._stages if (work := s.next_backward()) is not None]
        if not ready:
            return None
        work, _, stage = min(ready, key=lambda entry: entry[:2])
        self._trace.append(f"{stage.index}B{work.micro_batch}")
        return RunBackward(self._stamp, stage.route, stage.index, work)

    def _next_forward(self) -> RunForward | None:
        """The oldest work first; where one work could run at two hops, the deeper one."""
        ready = [(work, -s.index, s) for s in self._stages if (work := s.next_forward()) is not None]
        if not ready:
            return None
        work, _, stage = min(ready, key=lambda entry: entry[:2])
        stage.start_forward(work)
        self._trace.append(f"{stage.index}{'F' if work.phase is Phase.TRAIN else 'E'}{work.micro_batch}")
        return RunForward(self._stamp, stage.route, stage.index, work, self._dealing.weight(work))

    def _next_flush(self) -> TakeNorms | RunUpdate | None:
        """The barrier at which weights change together, once everything of the step is done here."""
        if not self._flushes:
            return None
        if not self._spec.clips and not self._may_skip:
            return RunUpdate(self._stamp, self._version + 1, None)
        if not self._joining:
            return TakeNorms(self._stamp, self._version + 1) if self._spec.clips else None
        joined = self._norms.joined()
        if joined is None:
            return None
        self._joining = False
        return RunUpdate(self._stamp, self._version + 1, joined.norms if self._spec.clips else None, joined.skip)

    def _join(self, norms: tuple[tuple[int, float], ...], now: float) -> list[Effect]:
        """Tell the others, and wait for them."""
        self._joining = True
        return self._norms.tell(self._version + 1, Verdict(norms, self._skips), now)

    def _fail(self, reason: str, now: float) -> list[Effect]:
        """Stop working; tell the source, who ends the job, until there is another plan or none."""
        self._problem = reason
        self._repeat_at = now
        return [Log("error", "schedule", f"{reason}; computed so far: {self.trace}")]

    def _repeat(self, now: float) -> list[Effect]:
        if not self._problem:
            return self._norms.remind(now)
        if now < self._repeat_at:
            return []
        self._repeat_at = now + REPEAT_SECONDS
        return [SendMessage(self._spec.source, WorkFailed(self._stamp, self._problem, final=True, peer=self._node))]

    # ------------------------------------------------------------------------------------------------ small things

    @property
    def _flushes(self) -> bool:
        return self._version < self._spec.steps and all(stage.due for stage in self._stages)

    @property
    def _may_skip(self) -> bool:
        return self._spec.on_nan == "skip"

    def _layers(self) -> tuple[tuple[int, int], ...]:
        """The layers of each hop, once, though several routes may share them."""
        return tuple(dict.fromkeys((stage.hop.first_layer, stage.hop.last_layer) for stage in self._stages))

    def _stage(self, route: int, hop: int) -> Stage | None:
        return next((stage for stage in self._stages if (stage.route, stage.index) == (route, hop)), None)

    def _own_stage(self, route: int, hop: int) -> Stage:
        stage = self._stage(route, hop)
        if stage is None:
            raise BrokenInvariantError(f"computed for hop {hop} of route {route}, which is not here")
        return stage

    def _holds(self, first: int, last: int) -> bool:
        return any(s.hop.first_layer <= first <= last <= s.hop.last_layer for s in self._stages)


def _refuse_shared_layers(plan: Plan) -> None:
    holder: dict[int, NodeId] = {}
    for route in plan.routes:
        for hop in route.hops:
            for layer in range(hop.first_layer, hop.last_layer + 1):
                if holder.setdefault(layer, hop.node) != hop.node:
                    raise BrokenInvariantError(f"layer {layer} is on {holder[layer]} and on {hop.node}: nobody sums up")
