"""A node is killed at each named point of the procedure, before it and after it: every one is reached, in a fixed run.

The run meets all of them: the job begins, a connection breaks, the leader dies, a node leaves, the job ends.
"""

from dataclasses import replace

import pytest

from edged.core.events import LeaveAsked
from edged.core.messages import Activation, Gradient, JobState
from edged.core.node import NodeOptions
from tests.core.job_sample import JOB, spec
from tests.simulation.faults import POINTS, Trigger
from tests.simulation.recovery_cluster import Cluster

A, B, C, D = (letter * 16 for letter in "abcd")
LIMIT_SECONDS = 300.0
AWAY_SECONDS = 1.0
LOOK_SECONDS = 0.02
STEPS = 40

AT_THE_BEGINNING = frozenset({"first weights are handed out", "the program is handed out"})
"""Points that are only reached while a job begins; at all others the job has run for some steps."""


class Course:
    """Four nodes, a job of 40 steps that clips, handed in on B, which does not lead, and what happens to it."""

    def __init__(self, point, *, early):
        self.cluster = Cluster("abcd", 1, layer_seconds=0.01, options=NodeOptions(interval=lambda _cost, _step: 2))
        self.killed = []
        self.trigger = Trigger(point, 1, "itself", self.kill, early)
        self.go_on(4.0)
        if point in AT_THE_BEGINNING:
            self.cluster.triggers.append(self.trigger)
        shape = spec(source=B, layers=4, steps=STEPS, clips=True)
        self.cluster.submit(replace(shape, samples=8 * STEPS, micro_batches=4, replicate_every=2))
        self.until(lambda: self.step >= 4)
        if point not in AT_THE_BEGINNING:
            self.cluster.triggers.append(self.trigger)

    def kill(self, cluster, node):
        """SIGKILL; it is started again a moment later."""
        self.killed.append(node)
        cluster.kill(node)
        cluster.sim.at(cluster.sim.now + AWAY_SECONDS, lambda: cluster.restart(node))

    def disturb(self):
        """A connection breaks, a node leaves and comes back, the leader dies and comes back."""
        cluster = self.cluster
        self.until(lambda: self.over or any(self.carried()))
        cluster.break_link(*next(self.carried(), (A, B)))
        self.later()
        leaver = next(node for node in (D, C) if node in cluster.alive and node != cluster.leader())
        cluster.sim.post(leaver, LeaveAsked())
        self.until(lambda: leaver not in cluster.alive or self.over)
        cluster.restart(leaver)
        self.later()
        leader = cluster.leader()
        cluster.kill(leader)
        self.go_on(AWAY_SECONDS)
        cluster.restart(leader)

    def carried(self):
        """Connections on which something is under way that a computation waits for."""
        under_way = sorted(self.cluster.under_way.items())
        return (link for link, entries in under_way if any(isinstance(e[0], Activation | Gradient) for e in entries))

    def later(self):
        """Some steps more, by a plan that runs."""
        step = self.step
        self.until(lambda: self.step >= step + 3 or self.over)

    @property
    def step(self):
        return max((r.step for r in self.cluster.records_of(JOB).values() if r is not None), default=0)

    @property
    def over(self):
        return self.cluster.ended(JOB)

    def go_on(self, seconds):
        self.cluster.sim.run_for(seconds)

    def until(self, condition):
        limit = self.cluster.sim.now + LIMIT_SECONDS
        while not condition() and self.cluster.sim.now < limit:
            self.go_on(LOOK_SECONDS)
        assert condition(), self.cluster.picture()


IN_TURN = [
    pytest.param(
        point,
        early,
        id=f"{'before' if early else 'after'} {point}",
        marks=[pytest.mark.proof] * (early != (number % 2 == 0)),
    )
    for number, point in enumerate(POINTS)
    for early in (True, False)
]
"""In the default run, before one point and after the next."""


@pytest.mark.slow
@pytest.mark.parametrize(("point", "early"), IN_TURN)
def test_a_node_may_be_killed_at_every_named_point(point, early):
    course = Course(point, early=early)
    course.disturb()
    course.until(lambda: course.killed)
    course.go_on(2 * AWAY_SECONDS)
    cluster = course.cluster
    course.until(lambda: course.over)
    assert {r.state for r in cluster.records_of(JOB).values() if r is not None} == {JobState.FINISHED}, (
        cluster.picture()
    )
    assert JOB in cluster.written
    course.until(lambda: cluster.is_clean(JOB))
