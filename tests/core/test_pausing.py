"""Wishes about jobs, repeated until the list shows them."""

from __future__ import annotations

import pytest

from edged.core.effects import SendMessage
from edged.core.events import LeaderChanged, PauseAsked, ResumeAsked, TimerFired
from edged.core.joblist import JobList
from edged.core.messages import JobRecord, JobState, PauseRequest, ResumeRequest
from edged.core.pausing import PATIENCE_SECONDS, Pausing
from tests.core.job_sample import JOB, A, C, D

PAUSE, RESUME = SendMessage(C, PauseRequest(JOB)), SendMessage(C, ResumeRequest(JOB))


class Scene:
    """One running job; C leads."""

    def __init__(self):
        self.jobs = JobList()
        self.machine = Pausing(self.jobs)
        self.now = 0.0
        self.stand(JobState.RUNNING)
        self.handle(LeaderChanged(C, 1))

    def stand(self, state):
        self.jobs.records[JOB] = JobRecord(JOB, "net", A, state, 0, 3, "")

    def handle(self, event):
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return effects

    def wake(self):
        self.now = self.machine.deadline()
        return self.handle(TimerFired())


@pytest.fixture
def scene():
    return Scene()


def test_a_job_is_asked_to_stand_until_it_does(scene):
    assert scene.handle(PauseAsked(JOB)) == [PAUSE]
    assert scene.wake() == [PAUSE]
    scene.stand(JobState.PAUSED)
    assert scene.wake() == []
    assert scene.machine.deadline() is None


def test_a_wish_that_came_true_is_over_though_somebody_undoes_it_before_it_would_be_repeated(scene):
    scene.handle(PauseAsked(JOB))
    scene.stand(JobState.PAUSED)
    scene.handle(TimerFired())
    scene.stand(JobState.RUNNING)
    assert scene.wake() == []
    assert scene.machine.deadline() is None


def test_the_newest_wish_counts(scene):
    scene.handle(PauseAsked(JOB))
    scene.stand(JobState.PAUSED)
    assert scene.handle(ResumeAsked(JOB)) == [RESUME]
    assert scene.wake() == [RESUME]
    scene.stand(JobState.QUEUED)
    assert scene.wake() == []


def test_a_resume_takes_back_a_pause_that_is_on_its_way(scene):
    scene.handle(PauseAsked(JOB))
    assert scene.handle(ResumeAsked(JOB)) == [RESUME]
    assert scene.wake() == []


def test_a_resume_that_no_leader_has_heard_is_kept_for_the_next(scene):
    scene.handle(LeaderChanged(None, 2))
    scene.handle(ResumeAsked(JOB))
    assert scene.handle(LeaderChanged(C, 3)) == [RESUME]
    assert scene.wake() == []


@pytest.mark.parametrize("event", [PauseAsked("f" * 12), ResumeAsked("f" * 12), PauseAsked(JOB)])
def test_what_is_so_already_or_of_an_unknown_job_is_not_asked(scene, event):
    scene.stand(JobState.PAUSED)
    assert scene.handle(event) == []
    assert scene.machine.deadline() is None


def test_a_job_that_ends_needs_no_pause(scene):
    scene.handle(PauseAsked(JOB))
    scene.stand(JobState.FINISHED)
    assert scene.wake() == []


def test_a_new_leader_is_asked_at_once_and_none_is_waited_for(scene):
    assert scene.handle(LeaderChanged(None, 2)) == []
    assert scene.handle(PauseAsked(JOB)) == []
    assert scene.handle(LeaderChanged(D, 3)) == [SendMessage(D, PauseRequest(JOB))]


def test_a_wish_is_given_up_in_the_end(scene):
    scene.handle(PauseAsked(JOB))
    while scene.machine.deadline() is not None:
        scene.wake()
    assert scene.now == PATIENCE_SECONDS
