"""How old a committed version is."""

from __future__ import annotations

from edged.core.ids import NodeId, Stamp
from edged.core.messages import Committed, Lying, StepReport
from edged.roles.safekeeping import Safekeeping
from tests.roles.conftest import spec_of

JOB = spec_of().job
STAMP = Stamp(JOB, 1, 1)


def word(version: int, stamp: Stamp = STAMP) -> Committed:
    return Committed(stamp, version, 8, (), "")


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def step(number: int, stamp: Stamp = STAMP) -> StepReport:
    return StepReport(stamp, number, 0, 1.0, 10.0, 0.1)


def test_a_version_is_as_old_as_the_step_that_made_it() -> None:
    clock = Clock()
    kept = Safekeeping(clock)
    assert kept.age(JOB) is None
    for clock.now, number in ((1.0, 7), (2.0, 8), (3.0, 9)):
        kept.step(step(number))
    kept.commit(word(8))
    clock.now = 5.0
    assert kept.age(JOB) == 3.0


def test_a_version_whose_step_was_not_heard_is_as_old_as_its_first_word() -> None:
    clock = Clock()
    kept = Safekeeping(clock)
    for clock.now in (1.0, 6.0):
        kept.commit(word(8))
    assert kept.age(JOB) == 5.0
    kept.commit(word(16))
    assert kept.age(JOB) == 0.0


def test_a_step_that_is_done_again_does_not_make_its_version_younger_than_its_word() -> None:
    clock = Clock()
    kept = Safekeeping(clock)
    clock.now = 1.0
    kept.step(step(8))
    kept.commit(word(8))
    clock.now = 4.0
    kept.step(step(8, Stamp(JOB, 1, 2)))
    assert kept.age(JOB) == 3.0


def test_what_lay_on_a_node_whose_process_has_ended_is_held_by_the_others_only() -> None:
    one, other = NodeId("a" * 16), NodeId("b" * 16)
    kept = Safekeeping(Clock())
    kept.commit(Committed(STAMP, 8, 8, (Lying(0, 0, (one, other)), Lying(1, 1, (other,))), other))
    kept.commit(Committed(Stamp(JOB, 1, 2), -1, 8, (), other))
    kept.lose(other)
    assert kept.committed(JOB) == Committed(STAMP, 8, 8, (Lying(0, 0, (one,)),), "")
    assert kept.age(JOB) == 0.0
    kept.commit(Committed(Stamp(JOB, 1, 2), 9, 8, (Lying(0, 1, (one, other)),), other))
    assert kept.committed(JOB).layers == (Lying(0, 1, (one, other)),), "the leader's newest word counts"


def test_jobs_that_are_not_listed_are_forgotten() -> None:
    kept = Safekeeping(Clock())
    kept.commit(word(8))
    kept.step(step(9))
    assert kept.protects(JOB)
    kept.forget(())
    assert not kept.protects(JOB)
    assert kept.committed(JOB) is None
