"""Whole jobs in miniature: real schedules and a real feeding, on a virtual clock, over a network that loses messages.

Parcels keep their order on every link and are never lost; control messages are delayed, overtake each other, and are
lost with probability ``loss``. Every computation is checked against what a node may compute at that moment.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from edged.core.dealing import Dealing, inputs_of
from edged.core.effects import (
    DrawSample,
    DropSample,
    Effect,
    Log,
    RunBackward,
    RunForward,
    RunUpdate,
    SendActivation,
    SendGradient,
    SendInputs,
    SendMessage,
    SendState,
    StartFeeder,
    TakeNorms,
    TakeSnapshot,
    WriteWeights,
)
from edged.core.events import (
    BackwardDone,
    Event,
    ExportAsked,
    FeederFailed,
    ForwardDone,
    MessageReceived,
    NormsTaken,
    ParcelArrived,
    SampleDrawn,
    TimerFired,
    UpdateDone,
    WeightsWritten,
)
from edged.core.feeding import Feeding
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, LayerProfile, Phase, Work
from edged.core.messages import (
    Activation,
    End,
    Gradient,
    Inputs,
    JobDone,
    JobState,
    Message,
    Parcel,
    Refused,
    StateParcel,
    WantSnapshot,
)
from edged.core.plan import Hop, Plan, Route, layers_in_words
from edged.core.schedule import Schedule

SOURCE = NodeId("source")
LEADER = NodeId("leader")
STAMP = Stamp(JobId("job"), 1, 1)


def node(index: int) -> NodeId:
    """Node number ``index``; number 0 is the source."""
    return SOURCE if index == 0 else NodeId(f"node{index}")


def make_spec(layers: int = 5, /, *, steps: int = 3, micro_batches: int = 4, **changes: object) -> JobSpec:
    """A job of ``steps`` full steps in one epoch, unless ``changes`` say otherwise; the last layer takes the labels."""
    profiles = tuple(
        LayerProfile(1.0, 2.0, 100, 100, 50, 10, ((0,) if l == 0 else ()) + ((1,) if l == layers - 1 else ()))
        for l in range(layers)
    )
    values: dict[str, object] = {
        "job": STAMP.job,
        "name": "miniature",
        "source": SOURCE,
        "strategy": "pipeline",
        "mode": "sync",
        "program": "",
        "layers": profiles,
        "parameters": layers,
        "inputs": 2,
        "samples": 2 * micro_batches * steps,
        "batch_size": 2 * micro_batches,
        "micro_batches": micro_batches,
        "drop_last": False,
        "epochs": 1,
        "steps": steps,
        "eval_samples": 0,
        "seed": 0,
        "clips": False,
        "optimizer_copies": 0,
        "keep_inputs_home": "no",
        "shuffle": False,
        "replicate_every": 0,
        "on_nan": "stop",
        "source_slowness": 1.0,
        "training": "{}",
    }
    return JobSpec(**(values | changes))  # type: ignore[arg-type]


def make_plan(*routes: tuple[tuple[int, int, int], ...], layers: int, micro_batches: int) -> Plan:
    """Routes of (node number, number of layers, window); micro-batches are dealt in turn."""
    built = []
    for r, hops in enumerate(routes):
        first, made = 0, []
        for number, count, window in hops:
            made.append(Hop(node(number), first, first + count - 1, window))
            first += count
        built.append(Route(tuple(made), tuple(range(r, micro_batches, len(routes)))))
    return Plan(STAMP, "pipeline", "a test", layers, micro_batches, tuple(built), 0.0)


def pipeline(hops: int, micro_batches: int) -> Plan:
    """One layer on each of ``hops`` nodes, windows of 1F1B."""
    return make_plan(tuple((h, 1, hops - h) for h in range(hops)), layers=hops, micro_batches=micro_batches)


@dataclass
class Computed:
    """One computation that a node has done."""

    began: float
    node: NodeId
    effect: RunForward | RunBackward | TakeNorms | RunUpdate


class Miniature:
    """One job on one plan, from weight version ``version`` to the leader's ``End``."""

    def __init__(
        self,
        plan: Plan,
        spec: JobSpec,
        *,
        version: int = 0,
        seconds: Callable[[Effect], float] = lambda effect: 0.0 if isinstance(effect, RunUpdate | TakeNorms) else 1.0,
        delay: Callable[[], float] = lambda: 0.0,
        loss: float = 0.0,
        seed: int = 0,
        every: int = 0,
    ) -> None:
        self.plan, self.spec, self.version = plan, spec, version
        self.now = 0.0
        self.computed: list[Computed] = []
        self.messages: list[tuple[NodeId, Message]] = []
        self.logs: list[Log] = []
        self.snapshots: list[tuple[NodeId, int, int, int]] = []
        self._silent: set[NodeId] = set()
        self.skipped: set[tuple[NodeId, int]] = set()
        self.collected: dict[int, set[tuple[int, int]]] = defaultdict(set)
        self.written: list[tuple[int, int]] = []
        self.losses: Callable[[Work], float] = lambda work: 1.0 + work.version + 0.125 * work.micro_batch
        self.feeder: Callable[[Work], str | None] = lambda _work: None
        self.drawn: list[Work] = []
        self.feeders = 0
        self.verdict: JobDone | None = None
        self.ended = False
        self._seconds, self._delay, self._loss = seconds, delay, loss
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._counter = itertools.count()
        self._links: dict[tuple[object, object], float] = defaultdict(float)
        self.schedules = {n: Schedule(plan, spec, n, version) for n in plan.nodes()}
        for schedule in self.schedules.values():
            schedule.snapshots.every = every
        self.feeding = Feeding(plan, spec, SOURCE, version, LEADER, lambda: (SOURCE, node(1)))
        self._computing: set[NodeId] = set()
        self._versions = dict.fromkeys(plan.nodes(), version)
        self._shelf: set[tuple[NodeId, type, int, int, Work]] = set()
        self._dealing = Dealing(plan, spec)
        self.flight: dict[tuple[int, int], int] = defaultdict(int)

    # ---------------------------------------------------------------------------------------------------- the clock

    def run_until(self, limit: float) -> None:
        """Run until this moment, or until the job has ended, or nothing happens any more."""
        self._give(self.feeding, SOURCE, TimerFired())
        while self._events and self.now < limit and not self.ended:
            self.now, _, happen = heapq.heappop(self._events)
            happen()

    def run(self) -> Miniature:
        """Run until the job has ended; fails if it does not."""
        self.run_until(100_000.0)
        assert self.verdict is not None, f"stalled at {self.now}: {self.trace()}"
        return self

    def export(self, token: int, at: float) -> None:
        """Ask for weights at this moment."""
        self._at(at, lambda: self._give(self.feeding, SOURCE, ExportAsked(STAMP.job, token)))

    def hear(self, message: Message, at: float) -> None:
        """The leader says something to the source at this moment."""
        self._at(at, lambda: self._give(self.feeding, SOURCE, MessageReceived(LEADER, message)))

    def silence(self, where: NodeId, at: float) -> None:
        """A node stops to hear and to say anything from this moment on."""
        self._at(at, lambda: self._silent.add(where))

    def trace(self) -> str:
        """What every node computed last, for failures."""
        return "; ".join(f"{name} v{schedule.version}: {schedule.trace}" for name, schedule in self.schedules.items())

    def _at(self, moment: float, happen: Callable[[], None]) -> None:
        heapq.heappush(self._events, (moment, next(self._counter), happen))

    def _in_order(self, link: tuple[object, object], happen: Callable[[], None]) -> None:
        moment = max(self.now + self._delay(), self._links[link])
        self._links[link] = moment
        self._at(moment, happen)

    def _give(self, machine: Schedule | Feeding, where: NodeId, event: Event) -> None:
        if where in self._silent:
            return
        effects = machine.handle(event, self.now)
        machine.check()
        for effect in effects:
            self._perform(machine, where, effect)
        moment = machine.deadline()
        if moment is not None:
            self._at(max(moment, self.now), lambda: self._wake(machine, where, moment))

    def _wake(self, machine: Schedule | Feeding, where: NodeId, moment: float) -> None:
        if machine.deadline() == moment:
            self._give(machine, where, TimerFired())

    # -------------------------------------------------------------------------------------------------- the effects

    def _perform(self, machine: Schedule | Feeding, where: NodeId, effect: Effect) -> None:
        match effect:
            case RunForward() | RunBackward() | TakeNorms() | RunUpdate():
                self._compute(where, effect)
            case SendActivation(to, stamp, route, hop, work):
                self._send_parcel(where, to, Activation(stamp, route, hop + 1, work, (), ()))
            case SendGradient(to, stamp, route, hop, work):
                self._send_parcel(where, to, Gradient(stamp, route, hop - 1, work, ()))
            case SendInputs(to, stamp, route, hop, work, inputs):
                assert inputs == inputs_of(self.spec, hop, self.plan.routes[route].hops[hop])
                self._send_parcel(where, to, Inputs(stamp, route, hop, work, ()))
            case TakeSnapshot(_, first, last, version):
                self._assert_untouched(where, version)
                assert (where, first, last, version) not in self.snapshots
                self.snapshots.append((where, first, last, version))
            case SendState(to, stamp, first, last, version):
                self._assert_untouched(where, version)
                self._send_parcel(where, to, StateParcel(stamp, first, last, version, (), b"", replica=False))
            case SendMessage(to, message):
                self.messages.append((to, message))
                if to == where or self._random.random() >= self._loss:
                    self._at(self.now + self._delay(), lambda: self._receive(where, to, message))
            case StartFeeder():
                self.feeders += 1
            case DrawSample(_, work):
                self._in_order(("feeder", self.feeders), lambda feeder=self.feeders: self._draw(work, feeder))
            case DropSample(_, work):
                assert work in self.drawn
            case WriteWeights(stamp, version, token):
                layers = sorted(l for first, last in self.collected[version] for l in range(first, last + 1))
                assert layers == list(range(self.plan.layers))
                self.written.append((version, token))
                self._at(self.now, lambda: self._give(machine, where, WeightsWritten(stamp, token, "out", "sha", "")))
            case Log():
                self.logs.append(effect)
            case _:
                raise AssertionError(effect)

    def _assert_untouched(self, where: NodeId, version: int) -> None:
        """A copy is made between two computations, at its version, before anything trains from that.

        Asynchronous, forwards run ahead, and a copy takes what the last update left: after no later backward.
        """
        assert where not in self._computing
        assert self._versions[where] == version
        if self.spec.asynchronous:
            backwards = [done for done in self.computed if done.node == where and isinstance(done.effect, RunBackward)]
            assert len(backwards) == version - self.version
            return
        assert not any(
            isinstance(done.effect, RunForward)
            and done.effect.work.phase is Phase.TRAIN
            and done.effect.work.version == version
            for done in self.computed
            if done.node == where
        )

    def _draw(self, work: Work, feeder: int) -> None:
        if feeder != self.feeders:
            return
        problem = self.feeder(work)
        if problem is None:
            self.drawn.append(work)
            self._give(self.feeding, SOURCE, SampleDrawn(STAMP.job, work))
        else:
            self._give(self.feeding, SOURCE, FeederFailed(STAMP.job, "it ended", problem))

    def _compute(self, where: NodeId, effect: RunForward | RunBackward | TakeNorms | RunUpdate) -> None:
        assert where not in self._computing, "one computation at a time"
        self._computing.add(where)
        self.computed.append(Computed(self.now, where, effect))
        answer = self._answer(where, effect)
        self._at(self.now + self._seconds(effect), lambda: self._finish(where, answer))

    def _answer(self, where: NodeId, effect: RunForward | RunBackward | TakeNorms | RunUpdate) -> Event:
        seconds = self._seconds(effect)
        match effect:
            case RunForward(stamp, route, h, work, weight):
                hops = self.plan.routes[route].hops
                delays = self.spec.asynchronous and work.phase is Phase.TRAIN
                assert self._versions[where] == work.version or delays, f"weights of another version: {self.trace()}"
                assert weight == self._dealing.weight(work)
                if inputs_of(self.spec, h, hops[h]) is not None:
                    self._shelf.remove((where, Inputs, route, h, work))
                if h > 0:
                    self._shelf.remove((where, Activation, route, h, work))
                if work.phase is Phase.TRAIN:
                    self.flight[route, h] += 1
                    assert self.flight[route, h] <= hops[h].window
                last = h + 1 == len(hops)
                loss = self.losses(work) if last else None
                metrics = (("accuracy", 0.5 * work.micro_batch),) if last and work.phase is Phase.EVALUATE else ()
                return ForwardDone(stamp, route, h, work, seconds, loss, metrics)
            case RunBackward(stamp, route, h, work):
                if h + 1 < len(self.plan.routes[route].hops):
                    self._shelf.remove((where, Gradient, route, h, work))
                self.flight[route, h] -= 1
                return BackwardDone(stamp, route, h, work, seconds)
            case TakeNorms(stamp, version):
                number = self.plan.nodes().index(where)
                return NormsTaken(stamp, version, ((10 + number, 1.0 * version), (number, 2.0 * version)))
            case RunUpdate(stamp, version, norms, skip):
                assert version == self._versions[where] + 1
                self.skipped |= {(where, version)} if skip else set()
                if self.spec.clips:
                    count = len(self.plan.nodes())
                    expected = [(i, 2.0 * version) for i in range(count)]
                    assert norms == tuple(expected + [(10 + i, 1.0 * version) for i in range(count)])
                return UpdateDone(stamp, version, seconds, 0.1 / version)

    def _finish(self, where: NodeId, answer: Event) -> None:
        self._computing.discard(where)
        if isinstance(answer, UpdateDone):
            self._versions[where] = answer.version
        self._give(self.schedules[where], where, answer)

    def _send_parcel(self, where: NodeId, to: NodeId, parcel: Parcel) -> None:
        self._in_order((where, to), lambda: self._arrive(where, to, parcel))

    def _arrive(self, sender: NodeId, to: NodeId, parcel: Parcel) -> None:
        if isinstance(parcel, StateParcel):
            self.collected[parcel.version].add((parcel.first_layer, parcel.last_layer))
            self._give(self.feeding, to, ParcelArrived(sender, parcel))
            return
        assert isinstance(parcel, Inputs | Activation | Gradient)
        place = (to, type(parcel), parcel.route, parcel.hop, parcel.work)
        assert place not in self._shelf, "sent twice"
        self._shelf.add(place)
        self._give(self.schedules[to], to, ParcelArrived(sender, parcel))

    def _serve(self, holder: NodeId, to: NodeId, want: WantSnapshot) -> None:
        first, last, version = want.first_layer, want.last_layer, want.version
        if (holder, first, last, version) in self.snapshots:
            self._send_parcel(holder, to, StateParcel(STAMP, first, last, version, (), b"", replica=False))
        else:
            refused = Refused(STAMP.job, f"{holder} does not hold {layers_in_words(first, last)}", version)
            self._perform(self.feeding, holder, SendMessage(to, refused))

    def _receive(self, sender: NodeId, to: NodeId, message: Message) -> None:
        if to == LEADER:
            if isinstance(message, JobDone):
                self.verdict = message
                state = JobState.FAILED if message.problem else JobState.FINISHED
                self._perform(self.feeding, LEADER, SendMessage(SOURCE, End(STAMP, state, message.problem)))
            return
        if isinstance(message, WantSnapshot):
            self._serve(to, sender, message)
        if to in self.schedules:
            self._give(self.schedules[to], to, MessageReceived(sender, message))
        if to == SOURCE:
            self.ended = self.ended or isinstance(message, End)
            self._give(self.feeding, to, MessageReceived(sender, message))


def passes(job: Miniature) -> dict[tuple[int, int], list[str]]:
    """What each hop computed, in order: ``v.F.m`` tokens by (route, hop)."""
    done: dict[tuple[int, int], list[str]] = defaultdict(list)
    for each in job.computed:
        match each.effect:
            case RunForward(_, route, h, work):
                done[route, h].append(f"{work.version}{'F' if work.phase is Phase.TRAIN else 'E'}{work.micro_batch}")
            case RunBackward(_, route, h, work):
                done[route, h].append(f"{work.version}B{work.micro_batch}")
            case _:
                pass
    return done


def assert_whole(job: Miniature, version: int = 0) -> None:
    """Every work once forward and, if it trains, once backward on each hop of its route, ascending."""
    done = passes(job)
    dealing = Dealing(job.plan, job.spec)
    for r, route in enumerate(job.plan.routes):
        works = [w for v in range(version, job.spec.steps + 1) for w in dealing.works_of(v, r)]
        forward = [f"{w.version}{'F' if w.phase is Phase.TRAIN else 'E'}{w.micro_batch}" for w in works]
        backward = [f"{w.version}B{w.micro_batch}" for w in works if w.phase is Phase.TRAIN]
        for h in range(len(route.hops)):
            assert [token for token in done[r, h] if "B" not in token] == forward
            assert [token for token in done[r, h] if "B" in token] == backward
    assert all(schedule.version == job.spec.steps for schedule in job.schedules.values())
    assert all(count == 0 for count in job.flight.values())
