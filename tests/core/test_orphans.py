"""Jobs that nobody has handed in to the leader: what they wait for, and from whom they are taken in the end."""

from dataclasses import replace

import pytest

from edged.core.messages import JobRecord, JobState, MemberState
from edged.core.orphans import SOURCE_SECONDS, TELL_SECONDS, Orphans
from tests.core.job_sample import JOB, A, member, spec

RECORD = JobRecord(JOB, "net", A, JobState.QUEUED, 0, 3, "")


class Scene:
    """One job of A on the list."""

    def __init__(self):
        self.members = {A: member(A)}
        self.specs = {}
        self.orphans = Orphans(self.members, self.specs.get)

    def look(self, now):
        return [(record.state, record.reason) for record in self.orphans.look([RECORD], now)]


@pytest.fixture
def scene():
    return Scene()


def test_a_job_whose_spec_is_on_its_way_at_the_very_start_is_not_said_to_wait(scene):
    assert scene.look(1000.0) == []
    assert scene.look(1000.0 + TELL_SECONDS - 0.1) == []
    scene.specs[JOB] = spec()
    assert scene.look(1000.0 + TELL_SECONDS) == []


def test_a_source_that_does_not_hand_its_job_in_is_named(scene):
    scene.look(0.0)
    reason = "node pi-a has the job's data; waiting for it to hand the job in"
    assert scene.look(TELL_SECONDS) == [(JobState.WAITING, reason)]
    scene.members.clear()
    assert f"node {A} has" in scene.look(TELL_SECONDS)[0][1]


def test_a_source_that_is_gone_is_named_at_once(scene):
    scene.members[A] = member(A, MemberState.DEAD)
    reason = "node pi-a died; it has the job's data; the job goes on when it is back"
    assert scene.look(0.0) == [(JobState.WAITING, reason)]


def test_others_are_heard_once_the_source_has_had_its_time(scene):
    assert not scene.orphans.takes(JOB, 0.0)
    scene.look(0.0)
    assert not scene.orphans.takes(JOB, SOURCE_SECONDS - 0.1)
    assert scene.orphans.takes(JOB, SOURCE_SECONDS)
    scene.specs[JOB] = spec()
    scene.look(SOURCE_SECONDS)
    assert not scene.orphans.takes(JOB, SOURCE_SECONDS)


def test_a_job_that_loses_its_spec_again_is_waited_for_anew(scene):
    scene.look(0.0)
    scene.orphans.look([], 5.0)
    scene.orphans.look([replace(RECORD, state=JobState.WAITING)], 10.0)
    assert not scene.orphans.takes(JOB, SOURCE_SECONDS)
