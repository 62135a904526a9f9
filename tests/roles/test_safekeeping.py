"""How old a committed version is."""

from __future__ import annotations

from edged.core.ids import Stamp
from edged.core.messages import Committed, StepReport
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


def test_jobs_that_are_not_listed_are_forgotten() -> None:
    kept = Safekeeping(Clock())
    kept.commit(word(8))
    kept.step(step(9))
    assert kept.protects(JOB)
    kept.forget(())
    assert not kept.protects(JOB)
    assert kept.committed(JOB) is None
