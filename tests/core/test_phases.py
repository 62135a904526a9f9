"""The table of the procedure: complete, and the only way to go."""

import pytest

from edged.core.course import STANDING
from edged.core.phases import IN_FORCE, TABLE, Stage, Turn
from edged.core.procedure import Procedure
from edged.errors import BrokenInvariantError
from tests.core.council import Council

DRAWN = """
    fence    GATHERED  plan
    fence    LACKING   wait
    fence    SHELVED   over
    plan     PLANNED   transfer
    plan     UNPLANNED wait
    wait     RETRY     fence
    wait     SHELVED   over
    adopt    TOLD      resume
    adopt    SHELVED   over
    transfer PREPARED  resume
    transfer DRAINED   fence
    resume   PROGRESS  run
    run      PROGRESS  run
    run      CHANGE    drain
    drain    PROGRESS  drain
    drain    DRAINED   fence
    drain    LAST      run
"""
TROUBLED = {"plan", "adopt", "transfer", "resume", "run", "drain"}


def test_the_table_is_what_is_drawn():
    drawn = {tuple(line.split()) for line in DRAWN.strip().splitlines()}
    drawn |= {(stage.value, "ENDED", "over") for stage in Stage if stage is not Stage.OVER}
    drawn |= {(stage, "TROUBLE", "fence") for stage in TROUBLED}
    assert {(s.value, turn.name, to.value) for s, turns in TABLE.items() for turn, to in turns.items()} == drawn


def test_every_stage_can_be_reached_and_left():
    assert set(TABLE) == set(Stage)
    reached = {after for turns in TABLE.values() for after in turns.values()}
    assert reached | {Stage.ADOPT} == set(Stage)
    assert set(STANDING) == set(Stage) - {Stage.OVER}


def test_nodes_work_by_a_plan_only_where_it_can_lead_to_trouble():
    assert all(Turn.TROUBLE in TABLE[stage] for stage in IN_FORCE)


@pytest.mark.parametrize(("stage", "turn"), [(s, t) for s in Stage for t in Turn if t not in TABLE[s]])
def test_an_unlisted_turn_is_an_error(stage, turn):
    council = Council(auto=False)
    council.submit()
    procedure = council.board.procedure
    assert isinstance(procedure, Procedure)
    procedure.stage = stage
    with pytest.raises(BrokenInvariantError, match="cannot happen"):
        procedure._turn(turn, 0.0)
