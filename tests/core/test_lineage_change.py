"""A whole node gives up a fork: what the fork planned is void, and the winner is obeyed though its terms were lower."""

from __future__ import annotations

from random import Random

from edged.core.effects import DropStages, Effect, Log, SendMessage, TellLineage
from edged.core.events import MessageReceived, TimerFired
from edged.core.lineage import fork
from edged.core.messages import (
    Electorate,
    Heartbeat,
    HeartbeatReply,
    JobRecord,
    Jobs,
    JobState,
    PlanChosen,
    Prepare,
    StepReport,
    Transfer,
)
from edged.core.node import Node, NodeOptions
from tests.core.job_sample import JOB, A, B, C, member, plan, spec, stamp

KEPT = Electorate("root", 3, 4, (A, B, C))
FORK_TERM = 7000
FORKED = fork(KEPT, "fork", FORK_TERM, (C,))


class Follower:
    """Node B, which follows C in a fork and has prepared a plan of it; A leads the lineage that C and B left."""

    def __init__(self) -> None:
        self.node = Node(member(B), NodeOptions(), Random(1), None, [member(A), member(C)])
        self.handle(TimerFired())
        self.hear(C, Heartbeat(FORK_TERM, 1, FORKED, 1, 5))
        self.hear(C, Jobs(FORK_TERM, 1, (JobRecord(JOB, "job", A, JobState.RUNNING, 9, 20, ""),)))
        chosen = plan(stamp(term=FORK_TERM, version=8), (A, B))
        self.hear(C, Prepare(chosen, spec(), 0, A, (Transfer(2, 3, 0, A),)))
        self.hear(C, PlanChosen(chosen, spec()))

    def handle(self, event) -> list[Effect]:
        effects = self.node.handle(event, 1.0)
        self.node.check()
        return effects

    def hear(self, sender, message) -> list[Effect]:
        return self.handle(MessageReceived(sender, message))


def test_the_plan_of_the_discarded_fork_runs_until_the_winner_is_followed_and_then_goes() -> None:
    follower = Follower()
    node = follower.node
    assert node.migration.preparation is not None
    effects = follower.hear(A, Heartbeat(4, 1, KEPT, 4, 3))
    (reply,) = [e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, HeartbeatReply)]
    assert (reply.accepted, reply.term, reply.lineage) == (False, FORK_TERM, "root")
    assert any(isinstance(e, Log) and "gives way to lineage root" in e.text for e in effects)
    assert node.migration.preparation is not None
    effects = follower.hear(A, Heartbeat(FORK_TERM + 1, 1, KEPT, 4, 3))
    assert TellLineage("root", "", "fork") in effects
    assert DropStages(stamp(term=FORK_TERM, version=8)) in effects
    assert node.migration.preparation is None
    assert node.board.plans == {}
    assert node.board.jobs.records[JOB].step == 9


def test_the_winners_plan_of_a_lower_term_is_heard_again() -> None:
    follower = Follower()
    follower.hear(A, Heartbeat(4, 1, KEPT, 4, 3))
    follower.hear(A, Heartbeat(FORK_TERM + 1, 1, KEPT, 4, 3))
    running = plan(stamp(term=3, version=2), (A, C))
    assert not any(isinstance(e, Log) for e in follower.hear(A, PlanChosen(running, spec())))
    assert follower.node.board.plans[JOB].plan == running
    assert not any(isinstance(e, Log) for e in follower.hear(A, StepReport(running.stamp, 4, 0, 1.0, 1.0, 0.1)))
    late = plan(stamp(term=FORK_TERM, version=9), (A, B))
    dropped = follower.hear(C, PlanChosen(late, spec()))
    assert any(isinstance(e, Log) and "dropped" in e.text for e in dropped)


def test_the_steps_of_all_jobs_stand_in_a_leaders_heartbeats() -> None:
    follower = Follower()
    assert follower.node.election._progress() == 9
