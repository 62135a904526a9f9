"""Whose turn it is."""

from dataclasses import replace

import pytest

from edged.core.joblist import JobList
from edged.core.messages import JobRecord, JobState
from edged.core.queue import YIELD_SECONDS, Queue
from tests.core.job_sample import A, spec

JOBS = tuple(f"{n}" * 12 for n in range(3))


class Scene:
    def __init__(self, *states, unknown=()):
        self.jobs = JobList()
        self.jobs.lead(1)
        for job, state in zip(JOBS, states, strict=False):
            self.jobs.put(JobRecord(job, "net", A, state, 0, 3, ""))
        self.queue = Queue(self.jobs, lambda job: None if job in unknown else spec(job))

    def next(self):
        record = self.queue.next()
        return None if record is None else JOBS.index(record.job)

    def record(self, index):
        return self.jobs.records[JOBS[index]]


@pytest.mark.parametrize(
    ("states", "unknown", "turn"),
    [
        ((), (), None),
        ((JobState.QUEUED, JobState.QUEUED), (), 0),
        ((JobState.QUEUED, JobState.QUEUED), (JOBS[0],), 1),
        ((JobState.PAUSED, JobState.WAITING), (), 1),
        ((JobState.FINISHED, JobState.PAUSED), (), None),
        ((JobState.QUEUED, JobState.RUNNING), (JOBS[1],), 1),
    ],
)
def test_the_oldest_job_that_can_begin_is_next_unless_one_runs(states, unknown, turn):
    assert Scene(*states, unknown=unknown).next() == turn


def test_a_job_that_waits_makes_way_and_the_others_are_tried_in_turn():
    scene = Scene(JobState.WAITING, JobState.QUEUED, JobState.WAITING)
    turn, order, now = scene.next(), [], 0.0
    for _ in range(4):
        order.append(turn)
        scene.jobs.put(replace(scene.record(turn), state=JobState.WAITING))
        assert not scene.queue.yields(scene.record(turn), now)
        assert scene.queue.deadline() == now + YIELD_SECONDS
        now += YIELD_SECONDS
        assert scene.queue.yields(scene.record(turn), now)
        turn = scene.next()
    assert order == [0, 1, 2, 0]


def test_a_job_that_goes_on_or_is_alone_keeps_its_turn():
    scene = Scene(JobState.WAITING, JobState.QUEUED)
    scene.queue.yields(scene.record(0), 0.0)
    scene.jobs.put(replace(scene.record(0), state=JobState.RUNNING))
    assert not scene.queue.yields(scene.record(0), YIELD_SECONDS)
    assert scene.queue.deadline() is None
    alone = Scene(JobState.WAITING)
    assert not alone.queue.yields(alone.record(0), 0.0)
    assert alone.queue.deadline() is None
