"""When a computation takes too long: measured by its own kind, and generously where nothing is known."""

import pytest

from edged.core.effects import Log, RunBackward, RunForward, RunUpdate, TakeNorms
from edged.core.job import Phase, Work
from edged.core.pace import FIRST_SECONDS, LEAST_SECONDS, TIMES_PREDICTED, TIMES_USUAL, Pace
from tests.core.miniature import STAMP

TRAIN, EVALUATE = Work(0, Phase.TRAIN, 0), Work(0, Phase.EVALUATE, 0)
FORWARD = RunForward(STAMP, 0, 0, TRAIN, 1.0)
OTHERS = [
    RunForward(STAMP, 0, 0, EVALUATE, 1.0),
    RunForward(STAMP, 0, 1, TRAIN, 1.0),
    RunForward(STAMP, 1, 0, TRAIN, 1.0),
    RunBackward(STAMP, 0, 0, TRAIN),
    TakeNorms(STAMP, 1),
    RunUpdate(STAMP, 1, None),
]


def practised(seconds, pace=None):
    """Forwards have taken ``seconds`` at most, and one begins at 0."""
    pace = pace or Pace(0.0)
    for taken in (seconds, 0.5 * seconds):
        pace.begin(FORWARD, 0.0)
        pace.end(taken)
    pace.begin(FORWARD, 0.0)
    return pace


@pytest.mark.parametrize(("usual", "limit"), [(0.01, LEAST_SECONDS), (100.0, TIMES_USUAL * 100.0)])
def test_a_computation_is_late_after_many_times_its_longest(usual, limit):
    pace = practised(usual)
    assert not pace.late(limit)
    assert pace.late(limit + 0.1)
    pace.end(limit + 0.1)
    assert not pace.late(1e9)


@pytest.mark.parametrize(("predicted", "limit"), [(0.0, FIRST_SECONDS), (100.0, TIMES_PREDICTED * 100.0)])
@pytest.mark.parametrize("other", OTHERS)
def test_the_first_of_a_kind_has_all_the_time_that_may_be_needed(other, predicted, limit):
    pace = practised(0.01, Pace(predicted))
    pace.end(0.01)
    pace.begin(other, 0.0)
    assert not pace.late(limit)
    assert pace.late(limit + 0.1)


def test_a_node_that_was_away_begins_to_count_anew():
    pace = practised(1.0)
    pace.forgive(1000.0)
    assert not pace.late(1000.0 + LEAST_SECONDS)
    assert pace.late(1000.1 + LEAST_SECONDS)


def test_people_are_told_once_for_each_computation():
    pace = practised(1.5)
    (log,) = pace.complain(40.0)
    assert isinstance(log, Log)
    assert "(forward) has been under way for 40 s, never more than 1.5 s before" in log.text
    assert pace.complain(40.5) == []
    pace.end(50.0)
    pace.begin(FORWARD, 50.0)
    assert len(pace.complain(2000.0)) == 1
