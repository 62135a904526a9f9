"""The source's account of a plan: which works were fed, taken, answered; which versions every hop has reached.

What it learns may come in any order, twice, or (a control message lost) only after it has been asked for again; what it
reports comes out in order, once: evaluation at v, step v + 1, evaluation at v + 1, ...
"""

from __future__ import annotations

from collections import deque

from edged.core.dealing import ROOM, Dealing
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Phase, Work, weighted_mean
from edged.core.messages import EvalReport, Result, StepReport, Taken, Updated
from edged.core.plan import Plan


class Progress:
    """``version`` is the oldest weight version whose works have not all been answered, or that a hop has not left.

    ``moves`` counts everything that was told for the first time.
    """

    def __init__(self, plan: Plan, spec: JobSpec, dealing: Dealing, version: int) -> None:
        """Nothing has been fed yet; every hop is at ``version``."""
        self.version = version
        self.loss = 0.0
        self._plan = plan
        self._spec = spec
        self._dealing = dealing
        self._results: dict[Work, Result] = {}
        self._open: tuple[deque[Work], ...] = tuple(deque() for _ in plan.routes)
        self._taken: list[Work] = [Work(version, Phase.EVALUATE, -1) for _ in plan.routes]
        self._reached = {(r, h): version for r, route in enumerate(plan.routes) for h in range(len(route.hops))}
        self._rates: dict[int, float] = {}
        self._answered = 0
        self._evaluated = False
        self._step_began: float | None = None
        self.moves = 0

    # --------------------------------------------------------------------------------------------------- feeding

    def has_room(self, work: Work) -> bool:
        """Whether this work may be fed now: few enough are on their way along its route, and the version is near."""
        route = self._dealing.route_of(work)
        few = len(self._open[route]) < self._plan.routes[route].hops[0].window + ROOM
        return few and work.version < self.version + self._dealing.ahead

    def feed(self, work: Work, now: float) -> None:
        """This work has been fed."""
        self._open[self._dealing.route_of(work)].append(work)
        if self._step_began is None:
            self._step_began = now

    # ------------------------------------------------------------------------------------------------ what comes in

    def take_taken(self, sender: NodeId, message: Taken) -> None:
        """The first hop of a route has done this forward, and so all before it."""
        route = self._route(message.work)
        if route is not None and sender == self._plan.routes[route].hops[0].node:
            self._close(route, message.work)

    def take_result(self, sender: NodeId, message: Result) -> None:
        """The last hop of a route has a loss."""
        route = self._route(message.work)
        if route is not None and sender == self._plan.routes[route].hops[-1].node:
            self.moves += message.work not in self._results
            self._results[message.work] = message
            self._close(route, message.work)

    def take_updated(self, sender: NodeId, message: Updated) -> None:
        """A hop has reached a version, and so all below it."""
        place = (message.route, message.hop)
        if place not in self._reached or sender != self._plan.routes[message.route].hops[message.hop].node:
            return
        if self.version < message.version <= min(self.version + self._dealing.ahead, self._spec.steps):
            self.moves += message.version > self._reached[place]
            self._reached[place] = max(self._reached[place], message.version)
            self._rates.setdefault(message.version, message.learning_rate)

    # ----------------------------------------------------------------------------------------------- what comes out

    @property
    def complete(self) -> bool:
        """Whether every step and the last evaluation are done."""
        return self.version == self._spec.steps and self._answered == len(self._dealing.works_at(self.version))

    @property
    def idle(self) -> bool:
        """Whether nothing that was fed is still on its way."""
        return not any(self._open)

    def first_missing(self) -> Work:
        """The oldest work whose result is not here."""
        works = self._dealing.works_at(self.version)
        return works[self._answered] if self._answered < len(works) else Work(self.version + 1, Phase.EVALUATE, 0)

    def reports(self, now: float) -> list[StepReport | EvalReport]:
        """What has become complete since the last call, in order; ``now`` dates them."""
        reports: list[StepReport | EvalReport] = []
        while True:
            works = self._dealing.works_at(self.version)
            while self._answered < len(works) and works[self._answered] in self._results:
                self._answered += 1
            evaluations = self._dealing.evaluations_at(self.version)
            if evaluations and not self._evaluated and self._answered >= evaluations:
                reports.append(self._evaluation(works[:evaluations]))
                self._step_began = now
            next_version = self.version + 1
            if (
                self.version >= self._spec.steps
                or self._answered < len(works)
                or min(self._reached.values()) < next_version
                or next_version not in self._rates
            ):
                return reports
            reports.append(self._step(works[evaluations:], now))

    def _evaluation(self, works: tuple[Work, ...]) -> EvalReport:
        self._evaluated = True
        metrics = [dict(self._results[work].metrics) for work in works]
        names = [name for name in metrics[0] if all(name in each for each in metrics)]
        return EvalReport(
            stamp=self._plan.stamp,
            step=self.version,
            epoch=self._spec.epoch_of(self.version - 1),
            loss=self._mean(works, [self._results[work].loss for work in works]),
            metrics=tuple((name, self._mean(works, [each[name] for each in metrics])) for name in names),
        )

    def _step(self, works: tuple[Work, ...], now: float) -> StepReport:
        self.loss = self._mean(works, [self._results[work].loss for work in works])
        seconds = now - self._step_began if self._step_began is not None else 0.0
        report = StepReport(
            stamp=self._plan.stamp,
            step=self.version + 1,
            epoch=self._spec.epoch_of(self.version),
            loss=self.loss,
            samples_per_second=self._dealing.samples(self.version) / seconds if seconds > 0.0 else 0.0,
            learning_rate=self._rates[self.version + 1],
        )
        self.version += 1
        self._answered = 0
        self._evaluated = False
        self._step_began = now
        self._results = {work: result for work, result in self._results.items() if work.version >= self.version}
        self._rates = {version: rate for version, rate in self._rates.items() if version > self.version}
        return report

    def _mean(self, works: tuple[Work, ...], values: list[float]) -> float:
        """Sum of n_i / N times value i, in ascending order."""
        return weighted_mean(map(self._dealing.weight, works), values)

    def _route(self, work: Work) -> int | None:
        near = self.version <= work.version < self.version + self._dealing.ahead
        return self._dealing.route_of(work) if near and self._dealing.exists(work) else None

    def _close(self, route: int, work: Work) -> None:
        """Works that a first hop has taken are on their way no more; an evaluation's are until answered.

        Nothing flows back from an evaluation, so its results are what holds the source back.
        """
        self.moves += work > self._taken[route]
        self._taken[route] = max(self._taken[route], work)
        waiting = self._open[route]
        while waiting and waiting[0] <= self._taken[route]:
            if waiting[0].phase is Phase.EVALUATE and waiting[0] not in self._results:
                return
            waiting.popleft()
