"""All devices lose their power at once: the job goes on from what lay on the disks, and that never becomes less.

Disks are unequally fast. The run is not disturbed before the power fails, so what has been complete on the disks once
must be, or something newer, whenever it fails.
"""

from dataclasses import replace

import pytest

from edged.core.events import LeaveAsked
from edged.core.messages import JobState, Prepare
from edged.core.node import NodeOptions
from tests.core.job_sample import JOB, spec
from tests.simulation.recovery_cluster import Cluster

NODES = tuple(letter * 16 for letter in "abc")
STEPS = 60
LOOK_SECONDS = 0.05
LIMIT_SECONDS = 300.0

EQUAL = (0.02, 0.02, 0.02)
UNEQUAL = (0.005, 0.4, 1.5)
"""Seconds for one version: the slowest needs longer than several versions take to be committed."""

SLOW_LEADER = (3.0, 0.2, 0.8)
"""The leader, who holds all layers, lags far behind the two who have them together."""

MOMENTS = (5.5, 7.0, 8.5)
"""Seconds after the job was handed in."""


class Blackout:
    """Three nodes with these disks, a job that copies every second step, and a loss of all power."""

    def __init__(self, disks):
        options = NodeOptions(interval=lambda _cost, _step: 2)
        self.cluster = cluster = Cluster("abc", 1, options=options, layer_seconds=0.01)
        for node, seconds in zip(NODES, disks, strict=True):
            cluster.troubles[node].disk_seconds = seconds
        self.stored = -1
        self.begun_at = []
        look = cluster.look

        def watch(node, message):
            look(node, message)
            if isinstance(message, Prepare):
                self.begun_at.append(message.version)

        cluster.look = watch
        cluster.sim.run_for(4.0)
        shape = spec(layers=6, steps=STEPS)
        cluster.submit(replace(shape, samples=8 * STEPS, micro_batches=4, eval_samples=0, replicate_every=2))

    def on_disks(self):
        """The newest version of which all layers lie on disks; -1 if there is none."""
        pieces = {piece for home in self.cluster.homes.values() for job, piece in home.held if job == JOB}
        layers = set(range(6))
        whole = (
            version
            for version in sorted({version for _, _, version in pieces}, reverse=True)
            if {each for first, last, at in pieces if at == version for each in range(first, last + 1)} >= layers
        )
        return next(whole, -1)

    def run_for(self, seconds):
        """Let time pass; what lies on the disks may only become newer."""
        until = self.cluster.sim.now + seconds
        while self.cluster.sim.now < until:
            self.cluster.sim.run_for(LOOK_SECONDS)
            newest = self.on_disks()
            told = f"version {self.stored} lay on the disks, now only {newest} does"
            self.cluster.expect(newest >= self.stored or self.cluster.ended(JOB), told)
            self.stored = max(self.stored, newest)

    def fail(self):
        """Power is off, and on again."""
        for node in NODES:
            self.cluster.kill(node, loudly=False)
        self.cluster.sim.run_for(1.0)
        self.begun_at.clear()
        for node in NODES:
            self.cluster.restart(node)

    def finish(self):
        limit = self.cluster.sim.now + LIMIT_SECONDS
        while not self.cluster.ended(JOB) and self.cluster.sim.now < limit:
            self.cluster.sim.run_for(1.0)
        states = {record.state for record in self.cluster.records_of(JOB).values() if record is not None}
        assert states == {JobState.FINISHED}, self.cluster.picture()
        assert JOB in self.cluster.written


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize(
    "disks",
    [
        pytest.param(EQUAL, id="equal"),
        pytest.param(UNEQUAL, id="unequal"),
        pytest.param(SLOW_LEADER, id="slow-leader"),
    ],
)
def test_it_goes_on_from_what_lay_on_all_disks(disks, moment):
    blackout = Blackout(disks)
    blackout.run_for(moment)
    assert not blackout.cluster.ended(JOB), "the job was too short"
    assert blackout.stored > 0, blackout.cluster.picture()
    blackout.fail()
    blackout.finish()
    assert blackout.begun_at[0] >= blackout.stored, blackout.cluster.picture()


def test_it_goes_on_from_what_is_older_where_the_newest_cannot_be_read():
    blackout = Blackout(EQUAL)
    blackout.run_for(MOMENTS[1])
    newest = blackout.on_disks()
    assert newest > 0, blackout.cluster.picture()
    for node in NODES:
        blackout.cluster.troubles[node].unreadable.add(newest)
    blackout.fail()
    blackout.cluster.sim.run_for(10.0)
    for node in NODES:
        blackout.cluster.troubles[node].unreadable.clear()
    blackout.finish()
    assert newest in blackout.begun_at, "nobody has tried it"
    assert 0 <= min(blackout.begun_at) < newest, blackout.cluster.picture()


@pytest.mark.parametrize("disks", [pytest.param(EQUAL, id="equal"), pytest.param(UNEQUAL, id="unequal")])
def test_all_leave_and_what_each_holds_is_on_its_disk(disks):
    blackout = Blackout(disks)
    blackout.run_for(MOMENTS[1])
    for node in NODES:
        blackout.cluster.sim.post(node, LeaveAsked())
    held, limit = -1, blackout.cluster.sim.now + 30.0
    while blackout.cluster.alive and blackout.cluster.sim.now < limit:
        held = max(held, blackout.cluster.newest(JOB, NODES))
        blackout.cluster.sim.run_for(LOOK_SECONDS)
    assert not blackout.cluster.alive, blackout.cluster.picture()
    assert blackout.on_disks() == held, blackout.cluster.picture()
    blackout.begun_at.clear()
    for node in NODES:
        blackout.cluster.restart(node)
    blackout.finish()
    assert blackout.begun_at[0] == held
