"""Requests of this node's user: repeated to whoever leads, until the list shows them."""

from dataclasses import replace

import pytest

from edged.core.effects import SendMessage
from edged.core.joblist import JobList
from edged.core.messages import JobRecord, JobState, StopRequest, Submit
from edged.core.submissions import REPEAT_SECONDS, Submissions
from tests.core.job_sample import JOB, A, B, C, spec

QUEUED = JobRecord(JOB, "net", A, JobState.QUEUED, 0, 3, "")


@pytest.fixture
def jobs():
    return JobList()


@pytest.fixture
def submissions(jobs):
    return Submissions(jobs)


def test_nothing_is_sent_without_a_leader(submissions):
    submissions.submit(spec())
    assert submissions.remind(None, 0.0) == []
    assert submissions.deadline() is None


def test_a_request_is_sent_at_once_and_then_at_its_pace(submissions):
    submissions.submit(spec())
    assert submissions.remind(B, 0.0) == [SendMessage(B, Submit(spec()))]
    assert submissions.remind(B, 0.5) == []
    assert submissions.deadline() == REPEAT_SECONDS
    assert submissions.remind(B, REPEAT_SECONDS) == [SendMessage(B, Submit(spec()))]


def test_a_new_leader_hears_at_once(submissions):
    submissions.submit(spec())
    submissions.remind(B, 0.0)
    submissions.hasten()
    assert submissions.remind(C, 0.1) == [SendMessage(C, Submit(spec()))]


def test_a_job_that_runs_is_not_handed_in_again(submissions, jobs):
    submissions.submit(spec())
    jobs.put(QUEUED)
    assert submissions.remind(B, 0.0)
    jobs.put(replace(QUEUED, state=JobState.RUNNING))
    assert submissions.remind(B, 9.0) == []
    jobs.records[JOB] = QUEUED
    assert submissions.remind(B, 18.0) == [SendMessage(B, Submit(spec()))]


def test_a_stop_is_asked_for_until_the_job_has_ended(submissions, jobs):
    jobs.put(QUEUED)
    submissions.stop(JOB, "enough")
    assert submissions.remind(B, 0.0) == [SendMessage(B, StopRequest(JOB, "enough"))]
    jobs.put(replace(QUEUED, state=JobState.STOPPED))
    assert submissions.remind(B, 9.0) == []
    assert submissions.deadline() is None


def test_a_stop_of_a_job_that_nobody_lists_is_not_asked_for(submissions):
    submissions.stop(JOB, "enough")
    assert submissions.remind(B, 0.0) == []


@pytest.mark.parametrize("state", [JobState.WAITING, JobState.PAUSED])
def test_a_job_that_waits_or_stands_is_handed_in_again(submissions, jobs, state):
    submissions.submit(spec())
    jobs.put(replace(QUEUED, state=state))
    assert submissions.remind(B, 0.0) == [SendMessage(B, Submit(spec()))]
