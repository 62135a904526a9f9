"""A cluster whose devices take the time that their layers take, change their speed, and say what they measure.

``weigh`` stands for a planner: exact over subsets of few nodes, with a hysteresis of ten percent.
"""

from dataclasses import replace
from itertools import combinations

from edged.core.events import PlanMade, SelfMeasured
from edged.core.ids import JobId
from edged.core.job import LayerProfile
from edged.core.messages import NodeReport, RecoveryReport, StepReport
from edged.core.plan import Hop, Plan, Route
from edged.core.speed import Speed
from edged.strategies.partition import partition
from tests.core.job_sample import spec
from tests.simulation.device import Device
from tests.simulation.recovery_cluster import Cluster

LAYERS, MICRO_BATCHES = 12, 6
FORWARD_SECONDS, BACKWARD_SECONDS = 0.008, 0.016
REPORT_SECONDS = 1.0
CALIBRATE_SECONDS = 10.0
HYSTERESIS = 1.1


def job_of(steps=3000):
    """Twelve equal layers: a step of six micro-batches takes three equal nodes less than a second."""
    shape = spec(layers=LAYERS, steps=steps)
    layers = tuple(
        replace(each, forward_seconds=FORWARD_SECONDS, backward_seconds=BACKWARD_SECONDS) for each in shape.layers
    )
    batch = 2 * MICRO_BATCHES
    return replace(shape, layers=layers, micro_batches=MICRO_BATCHES, batch_size=batch, samples=steps * batch)


def reference_seconds(layers: tuple[LayerProfile, ...]):
    return sum(each.forward_seconds + each.backward_seconds for each in layers)


# ------------------------------------------------------------------------------------------- a planner


def step_seconds(plan, slowness, its):
    """Fill and drain, and the slowest stage in between."""
    hops = plan.routes[0].hops
    times = [slowness[hop.node] * reference_seconds(its.layers[hop.first_layer : hop.last_layer + 1]) for hop in hops]
    return sum(times) + (its.micro_batches - 1) * max(times)


def speeds(situation):
    measured, base = dict(situation.slowness), situation.spec.source_slowness
    return {each.node: measured.get(each.node, each.slowness / base) for each in situation.members}


def best_plan(situation, stamp):
    its, slowness = situation.spec, speeds(situation)
    plans = []
    for count in range(1, len(slowness) + 1):
        for nodes in combinations(sorted(slowness), count):

            def seconds(s, first, last, nodes=nodes):
                return slowness[nodes[s]] * reference_seconds(its.layers[first : last + 1])

            cuts = partition(len(its.layers), count, seconds, lambda _first: 0.0)
            if cuts is not None:
                ends = (*cuts[1:], len(its.layers))
                hops = tuple(
                    Hop(node, first, end - 1, 2 * (count - h) - 1)
                    for h, (node, first, end) in enumerate(zip(nodes, cuts, ends, strict=True))
                )
                route = Route(hops, tuple(range(its.micro_batches)))
                plans.append(Plan(stamp, its.strategy, "the best", len(its.layers), its.micro_batches, (route,), 0.0))
    return min(plans, key=lambda plan: step_seconds(plan, slowness, its))


def weigh(situation, stamp):
    plan = best_plan(situation, stamp)
    if situation.plan is None:
        return PlanMade(stamp, plan, "")
    slowness = speeds(situation)
    gain = step_seconds(situation.plan, slowness, situation.spec) / step_seconds(plan, slowness, situation.spec)
    if gain < HYSTERESIS:
        return PlanMade(stamp, None, "", f"kept: the best other plan gains {gain - 1:.0%}")
    return PlanMade(stamp, plan, "", f"changed: another plan gains {gain - 1:.0%}")


# ------------------------------------------------------------------------------------------- devices


class MeasuredDevice(Device):
    """``pace(now)`` is how slow it is, ``noise()`` what one computation takes more or less."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.speed = Speed()
        self.sequence = 0
        self._later(self.world.sim.now + self.world.random.random(), self.report)
        self._later(self.world.sim.now + CALIBRATE_SECONDS, self.calibrate)

    def seconds_of(self, effect):
        _, _, hop = next(each for each in self.stages[effect.stamp].plan.hops_of(self.node) if each[1] == effect.hop)
        layers = self.world.specs[effect.stamp.job].layers[hop.first_layer : hop.last_layer + 1]
        each = [layer.forward_seconds if type(effect).__name__ == "RunForward" else layer.backward_seconds
                for layer in layers]  # fmt: skip
        return sum(each) * self.world.pace(self.node) * self.world.noise()

    def report(self):
        running = self.world.nodes[self.node].running
        if running.gauge is not None and running.gauge.slowness:
            self.speed.worked(running.stamp.job, running.gauge.slowness)
        self.sequence += 1
        report = NodeReport(self.sequence, -1, -1, 0, 0.5, 0.1, 1, (), JobId(self.speed.job), self.speed.slowness)
        for other in sorted(self.world.alive):
            self.world.say(self.node, other, report)
        self._later(self.world.sim.now + REPORT_SECONDS, self.report)

    def calibrate(self):
        machine = self.world.nodes[self.node]
        for job, chosen in machine.board.plans.items():
            if self.node not in chosen.plan.nodes():
                pace = self.world.pace(self.node)
                self.speed.calibrated(job, pace)
                self.post(SelfMeasured(pace, 10**9, "cpu"))
        self._later(self.world.sim.now + CALIBRATE_SECONDS, self.calibrate)


class MeasuredCluster(Cluster):
    """``paces``: node -> slowness, changed at will; ``spread``: how far single computations lie from that."""

    device_class = MeasuredDevice

    def __init__(self, names, seed, paces=None, *, spread=0.0):
        self.paces = {letter * 16: pace for letter, pace in (paces or {}).items()}
        self.spread = spread
        self.steps, self.changes = {}, []
        super().__init__(names, seed)

    def prepare(self, node):
        super().prepare(node)
        self.records[node] = replace(self.records[node], slowness=self.pace(node))

    def pace(self, node):
        return self.paces.get(node, 1.0)

    def noise(self):
        return self.random.uniform(1.0 - self.spread, 1.0 + self.spread) if self.spread else 1.0

    @staticmethod
    def make_plan(situation, stamp):
        return weigh(situation, stamp)

    def look(self, node, message):
        super().look(node, message)
        if isinstance(message, StepReport):
            self.steps.setdefault(message.step, self.sim.now)
        if isinstance(message, RecoveryReport) and message.stamp not in {each.stamp for _, each in self.changes}:
            self.changes.append((self.sim.now, message))

    # ---------------------------------------------------------------------------------------- for the tests

    def begin(self, its):
        """Let the nodes meet, hand the job in, and wait until its plan is warm."""
        self.sim.run_for(4.0)
        self.submit(its)
        self.sim.run_for(20.0)
        assert self.steps, self.picture()

    def pace_of_steps(self, since, until):
        """Seconds of a step, between two moments."""
        moments = sorted(at for at in self.steps.values() if since <= at <= until)
        assert len(moments) > 2, self.picture()
        return (moments[-1] - moments[0]) / (len(moments) - 1)

    def nodes_at_work(self, job):
        return {node[0] for node in self.nodes[self.leader()].board.plans[job].plan.nodes()}
