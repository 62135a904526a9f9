"""The table of the procedure: complete, and the only way to go."""

import pytest

from edged.core.messages import JobRecord, JobState
from edged.core.procedure import STANDING, TABLE, Procedure, Stage, Turn
from edged.errors import BrokenInvariantError
from tests.core.job_sample import JOB, A, B, member, spec

DRAWN = """
    fence    FENCED    plan
    fence    EARLY     wait
    plan     PLANNED   transfer
    plan     STALE     fence
    plan     UNPLANNED wait
    wait     RETRY     fence
    adopt    TOLD      resume
    transfer PREPARED  resume
    resume   PROGRESS  run
    run      PROGRESS  run
"""


def test_the_table_is_what_is_drawn():
    drawn = {tuple(line.split()) for line in DRAWN.strip().splitlines()}
    drawn |= {(stage.value, "ENDED", "over") for stage in Stage if stage is not Stage.OVER}
    assert {(s.value, turn.name, to.value) for s, turns in TABLE.items() for turn, to in turns.items()} == drawn


def test_every_stage_can_be_reached_and_left():
    assert set(TABLE) == set(Stage)
    reached = {after for turns in TABLE.values() for after in turns.values()}
    assert reached | {Stage.ADOPT} == set(Stage)
    assert set(STANDING) == set(Stage) - {Stage.OVER}


@pytest.mark.parametrize(("stage", "turn"), [(s, t) for s in Stage for t in Turn if t not in TABLE[s]])
def test_an_unlisted_turn_is_an_error(stage, turn):
    procedure = Procedure(JobRecord(JOB, "net", A, JobState.QUEUED, 0, 3, ""), 1, 0, {A: member(A), B: member(B)})
    procedure.begin(spec(), 0.0)
    procedure.stage = stage
    with pytest.raises(BrokenInvariantError, match="cannot happen"):
        procedure._turn(turn, 0.0)
