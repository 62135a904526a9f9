"""Everything is switched off and on again: what was to be done goes on, what stood stands, what was over is over."""

from dataclasses import replace

import pytest

from edged.core.events import LeaveAsked, PauseAsked, ResumeAsked
from edged.core.messages import Committed, JobState, Prepare
from tests.core.job_sample import JOB, spec
from tests.proofs import first_of
from tests.simulation.recovery_cluster import Cluster

A, B, C = (letter * 16 for letter in "abc")
LIMIT_SECONDS = 300.0


class Story:
    """Three nodes and one job of 40 steps, handed in on A, that can be copied."""

    def __init__(self, seed=1, replicate_every=4, steps=40, **fields):
        self.cluster = Cluster("abc", seed, layer_seconds=0.01)
        self.versions = {}
        self.stored = -1
        self.cluster.sim.run_for(4.0)
        shape = replace(
            spec(layers=6, steps=steps), samples=8 * steps, epochs=1, batch_size=8, micro_batches=4, eval_samples=0
        )
        self.cluster.submit(replace(shape, replicate_every=replicate_every, **fields))
        look = self.cluster.look

        def watch(node, message):
            look(node, message)
            if isinstance(message, Prepare):
                self.versions[message.plan.stamp] = message.version
            if isinstance(message, Committed):
                self.stored = max(self.stored, message.stored)

        self.cluster.look = watch

    def until(self, condition):
        limit = self.cluster.sim.now + LIMIT_SECONDS
        while not condition() and self.cluster.sim.now < limit:
            self.cluster.sim.run_for(0.1)
        assert condition(), self.cluster.picture()

    def states(self):
        return {None if r is None else r.state for r in self.cluster.records_of(JOB).values()}

    def steps(self):
        return max((r.step for r in self.cluster.records_of(JOB).values() if r is not None), default=0)

    def is_copied(self):
        return any(JOB in self.cluster.homes[node].samples for node in (B, C))

    def switch_off(self, *nodes):
        for node in nodes or (A, B, C):
            self.cluster.kill(node, loudly=False)

    def switch_on(self, *nodes):
        for node in nodes or (A, B, C):
            self.cluster.restart(node)

    def finish(self):
        self.until(lambda: self.cluster.ended(JOB))
        assert self.states() == {JobState.FINISHED}
        assert JOB in self.cluster.written


@pytest.fixture
def story():
    return Story()


def test_a_job_goes_on_without_its_source_if_its_samples_are_copied(story):
    story.until(lambda: story.is_copied() and story.steps() >= 20)
    story.switch_off()
    story.switch_on(B, C)
    story.finish()
    assert list(story.versions.values())[-1] > 0, "it began anew"


def test_a_job_waits_for_its_source_if_they_are_not_and_says_so():
    story = Story(keep_inputs_home="crop")
    story.until(lambda: story.steps() >= 20)
    story.switch_off()
    story.switch_on(B, C)
    story.until(lambda: story.states() == {JobState.WAITING})
    story.cluster.sim.run_for(60.0)
    records = list(story.cluster.records_of(JOB).values())
    assert {record.state for record in records} == {JobState.WAITING}
    assert {record.reason for record in records} == {
        f"node {A} is gone, and nobody else has the job's data; the job goes on when it is back"
    }
    story.switch_on(A)
    story.finish()
    assert list(story.versions.values())[-1] > 0, "it began anew"


def test_a_node_that_had_taken_over_as_source_hands_the_job_in_when_it_alone_is_back(story):
    story.until(lambda: story.is_copied() and story.steps() >= 8)
    story.switch_off(A)
    story.until(lambda: story.steps() >= 20 and story.cluster.source(JOB) != A)
    source = story.cluster.source(JOB)
    story.switch_off(B, C)
    story.switch_on(source)
    story.finish()


def paused(story):
    """Pause the job after some steps; the step at which it stands."""
    story.until(lambda: story.steps() >= 10)
    story.cluster.sim.post(B, PauseAsked(JOB))
    story.until(lambda: story.states() == {JobState.PAUSED})
    story.cluster.sim.run_for(0.5)
    (step,) = {record.step for record in story.cluster.records_of(JOB).values()}
    return step


def test_a_paused_job_stands_after_a_restart_of_everything_and_goes_on_from_the_very_step():
    story = Story(replicate_every=64)
    step = paused(story)
    story.switch_off()
    story.versions.clear()
    story.switch_on()
    story.cluster.sim.run_for(60.0)
    assert story.states() == {JobState.PAUSED}
    assert not story.versions
    story.cluster.sim.post(C, ResumeAsked(JOB))
    story.finish()
    assert next(iter(story.versions.values())) == step


@pytest.mark.parametrize("seed", first_of(range(3), 1))
def test_what_a_node_that_leaves_after_a_restart_holds_of_a_paused_job_is_handed_on(seed):
    story = Story(seed, replicate_every=64)
    step = paused(story)
    story.switch_off()
    story.switch_on()
    story.cluster.sim.run_for(20.0)
    story.cluster.sim.post(C, LeaveAsked())
    story.until(lambda: C not in story.cluster.alive)
    assert story.states() == {JobState.PAUSED}
    story.versions.clear()
    story.cluster.sim.post(B, ResumeAsked(JOB))
    story.finish()
    assert set(story.versions.values()) == {step}


@pytest.mark.parametrize("seed", first_of(range(4), 1))
@pytest.mark.parametrize("seconds", [(0.005, 0.3, 2.0), (0.7, 0.02, 0.02), (1.5, 1.5, 0.1)])
def test_when_power_fails_everywhere_the_job_goes_on_from_what_was_told_to_be_on_all_disks(seed, seconds):
    """However late one disk is, there is always a version that all have in common."""
    story = Story(seed, replicate_every=2, steps=400)
    for node, each in zip((A, B, C), seconds, strict=True):
        story.cluster.troubles[node].disk_seconds = each
    for reached in (60, 120, 130):
        story.until(lambda reached=reached: story.steps() >= reached)
        stored = story.stored
        assert stored >= reached - 50, "the disks have fallen behind"
        story.switch_off()
        story.versions.clear()
        story.switch_on()
        story.until(lambda: bool(story.versions))
        assert next(iter(story.versions.values())) >= stored


def test_a_full_disk_keeps_no_version_of_the_others_back():
    story = Story(replicate_every=2, steps=400)
    story.cluster.troubles[B].disk_full = True
    story.until(lambda: story.steps() >= 100)
    assert story.stored >= 80
    stored = story.stored
    story.switch_off()
    story.versions.clear()
    story.switch_on()
    story.until(lambda: bool(story.versions))
    assert next(iter(story.versions.values())) >= stored


def test_a_job_whose_end_only_its_source_knew_is_not_run_again(story):
    def last(node, effect):
        if node == A and type(effect).__name__ == "DropJob":
            story.switch_off()

    before = story.cluster.sim._before
    story.cluster.sim._before = lambda node, effect: (before(node, effect), last(node, effect))
    story.until(lambda: not story.cluster.alive)
    story.cluster.sim._before = before
    story.versions.clear()
    story.switch_on()
    story.until(lambda: story.states() == {JobState.FINISHED})
    story.until(lambda: story.cluster.is_clean(JOB))
    assert not story.versions


def test_all_nodes_leave_at_once_and_go_on_from_the_very_step():
    story = Story(replicate_every=64, steps=400)
    story.until(lambda: story.steps() >= 10)
    for node in (A, B, C):
        story.cluster.sim.post(node, LeaveAsked())
    asked = story.cluster.sim.now
    story.until(lambda: not story.cluster.alive)
    assert story.cluster.sim.now < asked + 30.0, "they need not wait for one another"
    assert JOB not in story.cluster.written
    story.versions.clear()
    story.switch_on()
    story.until(lambda: bool(story.versions))
    assert next(iter(story.versions.values())) >= 10
