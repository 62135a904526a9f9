"""Changes of plan while the plan could go on: a node joins, a node leaves; nothing is rolled back."""

import pytest

from edged.core.course import (
    SNAPSHOT_SECONDS,
)
from edged.core.events import LeaderChanged, MemberChanged, PortProbed
from edged.core.jobs import JobBoard
from edged.core.messages import (
    Drain,
    Drained,
    Halt,
    Jobs,
    JobState,
    Learn,
    Learned,
    LeaveGranted,
    LeaveRequest,
    MemberState,
    PauseRequest,
    Prepare,
    Prepared,
    RecoveryReport,
    ResumeRequest,
    Start,
    Submit,
    Unwritten,
)
from edged.core.newcomers import SETTLED_SECONDS
from edged.core.phases import Stage
from edged.core.replanning import LOOK_SECONDS
from tests.core.council import Council, E, messages, receivers, replica, snapshot
from tests.core.job_sample import JOB, A, B, C, D, member, spec


@pytest.fixture
def council():
    return Council()


# --------------------------------------------------------------------------------------- planned changes


def test_a_newcomer_is_taken_in_between_two_steps(council):
    council.workers = [B, C, E]
    council.run()
    council.keep(0)
    council.now = 2.0
    council.join(E)
    assert council.plan.nodes() == (B, C)
    council.wait(SETTLED_SECONDS - 2.1)
    assert not council.told(Drain)
    council.wait(0.2)
    assert council.stage is Stage.DRAIN
    assert council.told(Drain)[-1][0] == A
    assert council.record.state is JobState.RUNNING
    assert council.record.reason == "pi-e joined; the step under way is finished first"
    council.step(9)
    council.keep(9)
    council.hear(A, Drained(council.stamp, 9))
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B, C, E)
    council.now += 0.4
    council.step(10)
    report = council.told(RecoveryReport)[0][1]
    assert (report.cause, report.nodes, report.rolled_back_to, report.lost_steps) == ("joined", (E,), 9, 0)
    assert report.text == "pi-e joined; it runs layers 2–3 after 0.4 s; no step lost"


def test_a_plan_does_not_stop_for_a_newcomer_before_that_has_the_program(council):
    council.workers = [B, C, E]
    council.slow = {E}
    council.run()
    council.wait(10.0)
    asked = len(council.asked)
    council.join(E)
    council.wait(2.5)
    assert [learn for to, learn in council.told(Learn) if to == E] == 3 * [Learn(JOB, A)]
    assert len(council.asked) == asked
    council.hear(E, Learned(JOB))
    assert council.stage is Stage.DRAIN
    told = len(council.told(Learn))
    council.wait(5.0)
    assert len(council.told(Learn)) == told


def test_members_that_run_no_layers_have_the_program_before_they_are_needed(council):
    council.run()
    assert {to for to, _ in council.told(Learn)} == {A, D}


def test_a_newcomer_that_the_planner_does_not_want_is_asked_about_once(council):
    council.run()
    council.wait(10.0)
    asked = len(council.asked)
    council.join(E)
    council.wait(2 * LOOK_SECONDS)  # it is taught, then it can take part
    assert len(council.asked) == asked + 1
    council.wait(300.0)
    assert [bool(ask.situation.sure) for ask in council.asked[asked:]] == [False, True], (
        "once more when speeds are sure"
    )
    assert council.stage is Stage.RUN


def test_nobody_is_taken_in_when_nothing_is_left_to_do(council):
    council.workers = [B, C, E]
    council.run(steps=3, step=3)
    council.join(E)
    council.wait(60.0)
    assert council.stage is Stage.RUN
    assert not council.told(Drain)


def test_at_a_planned_change_everyone_has_time_to_copy_what_is_live(council):
    council.run()
    council.keep(0)
    council.hear(B, LeaveRequest(B))
    council.keep(4)
    council.silent = {C}
    council.hear(A, Drained(council.stamp, 4))
    council.wait(SNAPSHOT_SECONDS - 2)
    assert council.stage is Stage.FENCE
    council.silent = set()
    council.wait(1.0)
    assert dict(council.told(Prepare))[C].version == 4


def test_a_node_that_asks_to_leave_loses_its_layers_first(council):
    council.run()
    council.keep(0)
    council.hear(C, LeaveRequest(C))
    assert council.record.reason == "pi-c leaves; the step under way is finished first"
    council.keep(7)
    council.hear(A, Drained(council.stamp, 7))
    council.now = 0.3
    council.step(8)
    assert council.plan.nodes() == (B,)
    report = council.told(RecoveryReport)[0][1]
    assert report.text == "pi-c leaves; its layers 2–3 went to pi-b in 0.3 s; no step lost"


def test_layers_do_not_leave_if_nobody_else_can_run_them(council):
    council.workers = [C]
    council.run()
    council.keep(0)
    council.hear(C, LeaveRequest(C))
    council.keep(7)
    council.hear(A, Drained(council.stamp, 7))
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (C,)
    council.step(8)
    council.hear(C, LeaveRequest(C))
    assert council.stage is Stage.RUN


def test_a_source_leaves_once_another_node_has_its_data(council):
    council.run()
    council.keep(0)
    council.hear(A, LeaveRequest(A))
    assert council.stage is Stage.RUN
    council.data.add(B)
    council.board.procedure.protection.inventory([B])
    council.programs.add(B)
    council.stands = 4
    council.keep(4)
    council.hear(A, LeaveRequest(A))
    assert council.record.source == B
    assert council.stage is Stage.RESUME


def test_drain_is_said_again_and_no_step_left_means_no_change(council):
    council.run(steps=3)
    council.keep(0)
    council.hear(B, LeaveRequest(B))
    assert receivers(council.wait(1.0), Drain) == {A}
    council.stands = 3
    council.hear(A, Drained(council.stamp, 3))
    assert council.stage is Stage.RUN
    council.hear(B, LeaveRequest(B))
    assert council.stage is Stage.RUN
    council.finish(3)
    assert council.record.state is JobState.FINISHED


def test_a_drain_that_never_ends_goes_to_the_fence_all_the_same(council):
    council.run()
    council.keep(0)
    council.hear(B, LeaveRequest(B))
    council.leaving = True
    for _ in range(7):
        council.wait(9.0)
        council.hear(B, LeaveRequest(B))
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (C,)


def test_a_drain_does_not_wait_for_weights_that_cannot_be_written(council):
    of = council.run()
    council.hear(B, PauseRequest(JOB))
    assert council.stage is Stage.DRAIN
    for _ in range(14):  # the source of a job that fails says so every 5 s, and never that it stands
        council.wait(5.0)
        council.hear(A, Unwritten(of, 5, "the disk is full"))
    assert council.stage is not Stage.DRAIN
    assert council.record.state is JobState.PAUSED


def test_a_death_while_draining_is_what_is_told(council):
    council.run()
    council.keep(0)
    council.hear(B, LeaveRequest(B))
    council.now = 5.0
    council.lose(C)
    council.now = 5.5
    council.hear(B, LeaveRequest(B))
    council.step(1)
    report = council.told(RecoveryReport)[0][1]
    assert (report.cause, report.nodes) == ("died", (C,))
    assert report.pause_seconds == pytest.approx(0.5)


# ------------------------------------------------------------------------------- leaving a job that stands


class Standing(Council):
    """A job that is paused at step 5, at which nobody holds more than its own layers.

    Whoever prepares copies what it begins with, as nodes do, and says that it is prepared if it is ``quick``.
    """

    def __init__(self):
        super().__init__()
        self.quick = True
        self.run()
        self.keep(0)
        self.hear(A, PauseRequest(JOB))
        self.hold(B, snapshot(0, 1, 5))
        self.hold(C, snapshot(2, 3, 5))
        self.hear(A, Drained(self.stamp, 5))
        assert self.stands_at(5)
        self.since = len(self.sent)

    def hold(self, node, *pieces):
        self.holdings[node] = (*self.holdings.get(node, ()), *pieces)

    def restart(self):
        """The leader's process is another one: it has the list, and of the job nothing else."""
        self.board = JobBoard(member(D), listed=(self.record,))
        for node in (A, B, C, D):
            self.handle(MemberChanged(member(node), None, ""))
        self.handle(LeaderChanged(D, 2))

    def stands_at(self, step):
        return (self.record.state, self.record.step, self.stage) == (JobState.PAUSED, step, None)

    def answers(self, to, message):
        if isinstance(message, Prepare):
            hops = [hop for *_, hop in message.plan.hops_of(to)]
            self.hold(to, *(snapshot(hop.first_layer, hop.last_layer, message.version) for hop in hops))
        return () if isinstance(message, Prepare) and not self.quick else super().answers(to, message)

    def asks(self, node):
        """This node wants to leave; returns whether it may."""
        return messages(self.hear(node, LeaveRequest(node)), LeaveGranted) == [(node, LeaveGranted(node))]


def test_what_only_a_leaving_node_holds_of_a_paused_job_goes_to_others_first():
    council = Standing()
    assert not council.asks(C)
    assert council.stands_at(5)
    prepared = dict(council.told(Prepare, council.since))[B]
    assert (prepared.plan.nodes(), prepared.version) == ((B,), 5)
    assert {(move.first_layer, move.holder) for move in prepared.transfers} == {(0, B), (2, C)}
    assert not council.told(Start, council.since)
    assert {each.state for _, told in council.told(Jobs, council.since) for each in told.jobs} <= {JobState.PAUSED}
    halts = len(council.told(Halt))
    assert council.asks(C)
    assert len(council.told(Halt)) == halts
    council.lose(C, MemberState.LEFT)
    council.hear(A, ResumeRequest(JOB))
    council.step(6)
    report = council.told(RecoveryReport)[0][1]
    assert (report.cause, report.rolled_back_to, report.lost_steps) == ("paused", 5, 0)


def test_a_node_that_holds_nothing_alone_leaves_a_paused_job_as_it_is():
    council = Standing()
    council.hold(B, replica(2, 3, 5))
    assert not council.asks(C)
    assert council.told(Halt, council.since)
    assert not council.told(Prepare, council.since)
    assert council.asks(C)
    assert council.stands_at(5)


def test_layers_of_a_paused_job_that_nobody_else_can_run_hold_nobody():
    council = Standing()
    council.workers = [C]
    assert not council.asks(C)
    assert council.stands_at(5)
    assert council.asks(C)


def test_layers_of_a_paused_job_move_without_its_source():
    council = Standing()
    council.programs |= {B, C}
    council.lose(A)
    assert not council.asks(C)
    ((to, prepared),) = council.told(Prepare, council.since)
    assert (to, prepared.plan.nodes(), prepared.version) == (B, (B,), 5)
    assert council.stands_at(5)
    assert council.asks(C)
    council.lose(C, MemberState.LEFT)
    council.hear(B, ResumeRequest(JOB))
    assert council.record.reason.startswith("node pi-a is gone, and nobody else has the job's data")
    council.join(A, boot=2)
    council.step(6)
    assert council.told(RecoveryReport)[0][1].rolled_back_to == 5


def test_a_job_that_is_to_go_on_while_layers_move_without_its_source_waits_for_it():
    council = Standing()
    council.programs |= {B, C}
    council.quick = False
    council.lose(A)
    council.asks(C)
    assert (council.stage, council.record.state) == (Stage.TRANSFER, JobState.PAUSED)
    council.hear(B, ResumeRequest(JOB))
    assert (council.stage, council.record.state) == (Stage.WAIT, JobState.WAITING)
    assert council.record.reason.startswith("node pi-a is gone, and nobody else has the job's data")


@pytest.mark.parametrize("node", [A, B])
def test_layers_of_a_job_that_stood_over_a_restart_move_as_soon_as_anybody_has_handed_it_in(node):
    council = Standing()
    council.restart()
    council.hear(node, Submit(spec(steps=100)))
    assert council.stands_at(5)
    assert not council.asks(C)
    prepared = dict(council.told(Prepare, council.since))[B]
    assert (prepared.plan.nodes(), prepared.version) == ((B,), 5)
    assert council.stands_at(5)
    assert council.asks(C)


def test_who_asks_while_another_is_relieved_is_relieved_as_well():
    council = Standing()
    council.workers = [B, C, D]
    council.quick = False
    council.asks(C)
    assert council.stage is Stage.TRANSFER
    council.asks(B)
    council.quick = True
    council.hear(B, Prepared(council.stamp, ""))
    council.hear(D, Prepared(council.stamp, ""))
    council.hear(A, Prepared(council.stamp, ""))
    assert council.stands_at(5)
    assert dict(council.told(Prepare, council.since))[D].plan.nodes() == (D,)
    assert council.asks(B)
    assert council.asks(C)


def test_a_paused_job_stands_again_where_the_leaving_node_dies_before_it_is_relieved():
    council = Standing()
    council.quick = False
    council.asks(C)
    assert council.stage is Stage.TRANSFER
    council.lose(C)
    council.wait(2.0)
    assert council.stands_at(5)


def test_a_job_that_is_to_go_on_while_layers_move_does_so():
    council = Standing()
    council.quick = False
    council.asks(C)
    assert (council.stage, council.record.state) == (Stage.TRANSFER, JobState.PAUSED)
    council.hear(A, ResumeRequest(JOB))
    assert (council.stage, council.record.state) == (Stage.TRANSFER, JobState.PREPARING)
    council.hear(A, Prepared(council.stamp, ""))
    council.hear(B, Prepared(council.stamp, ""))
    assert council.stage is Stage.RESUME
    council.step(6)
    assert council.told(RecoveryReport)[0][1].text.startswith("the job was resumed; ")


# ------------------------------------------------------------------------------------------ all leave


def test_where_all_leave_a_paused_job_stays_as_it_is():
    council = Standing()
    council.workers = []
    for node in (A, B, C, D):
        council.asks(node)
    assert all(council.asks(node) for node in (A, B, C, D))
    assert council.stands_at(5)


def test_where_all_leave_the_job_is_put_down_and_they_are_granted_it(council):
    council.run(step=5)
    council.keep(0)
    council.keep(5)
    for node in (A, B, C, D):
        council.hear(node, LeaveRequest(node))
    assert council.stage is Stage.DRAIN
    assert all(council.board.procedure.protection.holders(node) for node in (B, C)), "a commit without replicas"
    council.hear(A, Drained(council.stamp, 5))
    assert council.record.state is JobState.QUEUED
    assert council.record.reason == "all nodes leave; the job goes on when they are back"
    assert council.stage is None
    for node in (B, C, D, A):
        assert messages(council.hear(node, LeaveRequest(node)), LeaveGranted) == [(node, LeaveGranted(node))]
        assert council.stage is None


def test_a_newcomer_among_leavers_goes_on_with_the_job(council):
    council.run(step=5)
    council.keep(5)
    for node in (A, B, C, D):
        council.hear(node, LeaveRequest(node))
    council.hear(A, Drained(council.stamp, 5))
    assert council.stage is None
    council.join(E)
    assert council.stage is not None


def test_who_was_doubted_and_lives_is_asked_again_and_counts_as_soon_as_it_answers(council):
    """A port that refuses once, for want of room or behind a switch, is no death: membership never says a word."""
    council.run()
    council.join(E)
    council.wait(10.0)
    council.handle(PortProbed(E, refused=True))
    council.silent.add(E)
    asked = len(council.asked)
    council.wait(3.0)
    assert E in council.board.procedure._conduct.doubted
    council.silent.discard(E)
    council.wait(2.0)
    assert E not in council.board.procedure._conduct.doubted
    council.lose(C)
    assert E in {member.node for member in council.asked[-1].situation.members}
    assert len(council.asked) > asked
