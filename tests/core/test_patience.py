"""When a node's silence is called stuck."""

from __future__ import annotations

from edged.core.patience import LEAST_SECONDS, STEPS_OF_SILENCE, Patience
from tests.core.job_sample import A, B, C


def test_only_who_was_silent_while_nothing_moved_is_stuck():
    patience = Patience((A, B), 0.0)
    for second in range(1, 4):
        patience.hear(A, float(second))
    assert patience.stuck(LEAST_SECONDS) == []
    assert patience.stuck(3.0) == [B]


def test_a_pipeline_that_moves_proves_that_all_live():
    patience = Patience((A, B), 0.0)
    patience.hear(A, 9.0)
    patience.move(9.0)
    assert patience.stuck(10.0) == []


def test_long_steps_make_patient():
    patience = Patience((A, B), 0.0)
    patience.step(0.0)
    patience.step(5.0)
    assert patience.stuck(STEPS_OF_SILENCE * 5.0) == []
    assert patience.stuck(STEPS_OF_SILENCE * 5.0 + 0.1) == [A, B]


def test_a_node_that_was_away_itself_accuses_nobody():
    patience = Patience((A, B), 0.0)
    patience.forgive(100.0)
    assert patience.stuck(101.0) == []
    assert patience.stuck(103.0) == [A, B]


def test_strangers_do_not_count():
    patience = Patience((A,), 0.0)
    patience.hear(C, 1.0)
    assert patience.stuck(10.0) == [A]
