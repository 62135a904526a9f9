"""The composed node: who hears what, the fence in front, the talk with itself."""

from dataclasses import replace
from random import Random

import pytest

from edged.core.effects import (
    BuildStages,
    Depart,
    DropHeld,
    DropJob,
    DropStages,
    Log,
    RunForward,
    SendFirstState,
    SendHeld,
    SendMessage,
    SendProgram,
    StartFeeder,
    TakeSnapshot,
    TellMember,
)
from edged.core.events import (
    ComputeFailed,
    ExportAsked,
    ForwardDone,
    JobSubmitted,
    LeaderChanged,
    LeaveAsked,
    MembersCame,
    MemoryRanOut,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    ParcelRefused,
    PeerMet,
    SnapshotTaken,
    StagesBuilt,
    TimerFired,
)
from edged.core.job import Phase, Work
from edged.core.leaving import PATIENCE_SECONDS
from edged.core.messages import (
    Activation,
    Committed,
    Drain,
    End,
    Gossip,
    Gradient,
    Halt,
    Held,
    Holding,
    HoldingKind,
    Inputs,
    Inventory,
    JobDone,
    JobRecord,
    Jobs,
    JobState,
    Learn,
    LeaveGranted,
    LeaveRequest,
    MemberState,
    PlanChosen,
    Prepare,
    Prepared,
    ProgramParcel,
    Start,
    StateParcel,
    Submit,
    TensorSpec,
    Transfer,
    WantProgram,
    WantSnapshot,
    WorkFailed,
)
from edged.core.node import MOST_EVENTS, Node, NodeOptions
from edged.core.running import BROKEN_SECONDS, REPEAT_SECONDS
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, member, plan, spec, stamp

WORK = Work(0, Phase.TRAIN, 0)


def start(of=None, every=0, holders=(), data_holder=""):
    return Start(of or stamp(), 0, every, holders, data_holder)


class Scene:
    """Node ``node`` of a job of A's over A and B; C leads."""

    def __init__(self, node=B):
        self.node = Node(member(node), NodeOptions(), Random(1), None, [member(n) for n in (A, B, C) if n != node])
        self.now = 0.0
        self.handle(TimerFired())
        self.handle(LeaderChanged(C, 1))

    def handle(self, event):
        effects = self.node.handle(event, self.now)
        self.node.check()
        return effects

    def hear(self, sender, message):
        return self.handle(MessageReceived(sender, message))

    def prepare(self, of=None):
        chosen = plan(of or stamp(), (A, B))
        hops = chosen.hops_of(self.node.node)
        return self.hear(
            C, Prepare(chosen, spec(), 0, A, tuple(Transfer(h.first_layer, h.last_layer, 0, A) for *_, h in hops))
        )

    def build(self, of=None):
        of = of or stamp()
        self.prepare(of)
        self.handle(ParcelArrived(A, ProgramParcel(JOB, 1)))
        ((first, last),) = [(h.first_layer, h.last_layer) for *_, h in plan(of, (A, B)).hops_of(self.node.node)]
        effects = self.handle(ParcelArrived(A, StateParcel(of, first, last, 0, (), b"", replica=False)))
        assert [type(e) for e in effects] == [BuildStages]
        return self.handle(StagesBuilt(of, ""))


@pytest.fixture
def scene():
    return Scene()


def test_members_are_told_to_the_board_and_to_the_outside(scene):
    newcomer = member("e" * 16)
    effects = scene.handle(PeerMet(newcomer))
    assert any(isinstance(e, TellMember) and e.record == newcomer for e in effects)
    assert "e" * 16 in scene.node.membership.members


def test_more_members_than_events_are_allowed_may_be_known_from_the_start():
    heard = []
    known = [member(f"{number:016x}") for number in range(MOST_EVENTS + 1)]
    node = Node(member(A), NodeOptions(), Random(1), None, known, heard.append)
    effects = node.handle(TimerFired(), 0.0)
    assert sum(isinstance(effect, TellMember) for effect in effects) == len(known) + 1
    (came,) = [event for event in heard if isinstance(event, MembersCame)]
    assert {record.node for record in came.records} == {A, *(record.node for record in known)}
    assert len(node.board._members) == len(node.election._members) == len(known) + 1
    node.check()


def test_a_message_to_itself_never_leaves():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    effects = scene.prepare()
    assert SendProgram(A, JOB) in effects
    assert not [e for e in effects if isinstance(e, SendMessage) and e.to == A]


def test_the_schedule_begins_with_the_stages_and_feeding_with_start():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    assert SendMessage(C, Prepared(stamp(), "")) in scene.build()
    assert scene.node.running.schedule is not None
    assert scene.node.running.feeding is None
    assert any(isinstance(e, StartFeeder) for e in scene.hear(C, start()))
    assert not any(isinstance(e, StartFeeder) for e in scene.hear(C, start()))


def test_a_node_of_the_plan_that_is_not_the_source_feeds_nothing(scene):
    scene.build()
    scene.hear(C, start())
    assert scene.node.running.feeding is None


def exported(node):
    return [token for tokens in node.running.feeding._collecting._tokens.values() for token in tokens]


def test_an_export_asked_for_too_early_waits_for_the_start():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.handle(ExportAsked(JOB, 7))
    scene.build()
    scene.hear(C, start())
    assert exported(scene.node) == [7]
    scene.handle(ExportAsked(JOB, 8))
    assert exported(scene.node) == [7, 8]


def test_an_export_of_a_job_that_ends_first_is_forgotten():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.handle(ExportAsked(JOB, 7))
    scene.hear(C, Jobs(1, 1, (JobRecord(JOB, "net", A, JobState.STOPPED, 0, 3, ""),)))
    assert scene.node.running._asked == []


def test_start_before_the_stages_is_only_heard_again_later(scene):
    scene.hear(C, start())
    assert scene.node.running.stamp is None


def test_the_end_leaves_nothing(scene):
    scene.hear(C, Jobs(1, 1, (JobRecord(JOB, "net", A, JobState.RUNNING, 0, 3, ""),)))
    scene.build()
    effects = scene.hear(C, End(stamp(), JobState.FINISHED, ""))
    assert [e for e in effects if isinstance(e, DropStages | DropJob)] == [DropStages(stamp()), DropJob(JOB)]
    assert scene.node.running.stamp is None
    assert scene.hear(C, End(stamp(), JobState.FINISHED, "")) == [
        Log("info", "fence", "End of a plan that is over or was replaced")
    ]


def test_a_list_that_says_over_is_as_good_as_an_end(scene):
    scene.build()
    effects = scene.hear(C, Jobs(1, 1, (JobRecord(JOB, "net", A, JobState.FAILED, 0, 3, "pi-a died"),)))
    assert DropJob(JOB) in effects
    assert scene.node.running.schedule is None


def test_a_newer_plan_ends_the_older(scene):
    scene.build()
    later = stamp(version=2)
    effects = scene.prepare(later)
    assert DropStages(stamp()) in effects
    assert scene.node.running.stamp is None
    assert scene.handle(StagesBuilt(stamp(), "")) == []
    assert scene.prepare() == [Log("info", "fence", "Prepare of a plan that is over or was replaced")]


def test_traffic_below_the_fence_reaches_no_machine_and_is_told_once(scene):
    scene.build(stamp(version=2))
    before = scene.node.running.schedule.trace
    parcel = ParcelArrived(A, Inputs(stamp(), 0, 1, WORK, ()))
    (log,) = scene.handle(parcel)
    assert "replaced" in log.text
    assert scene.handle(parcel) == []
    assert scene.node.running.schedule.trace == before


def test_an_answer_for_an_older_plan_reaches_no_machine(scene):
    scene.build(stamp(version=2))
    assert scene.handle(ForwardDone(stamp(), 0, 1, WORK, 1.0, 1.0, ())) == []


def test_first_weights_are_handed_out_even_while_the_source_runs():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.build()
    assert scene.hear(B, WantSnapshot(stamp(), 2, 3, 0)) == [SendFirstState(B, stamp(), 2, 3)]


def test_a_node_that_was_restarted_says_so_when_a_plan_counts_on_it(scene):
    effects = scene.hear(C, PlanChosen(plan(stamp(), (A, B)), spec()))
    ((to, failed),) = [(e.to, e.message) for e in effects if isinstance(e, SendMessage)]
    assert to == C
    assert failed == WorkFailed(
        stamp(), "node pi-b was restarted; what it held of the job is lost", final=False, peer=B
    )


def test_a_bystander_only_remembers_the_plan():
    scene = Scene("e" * 16)
    assert scene.hear(C, PlanChosen(plan(stamp(), (A, B)), spec())) == []
    assert scene.node.board.plans[JOB].plan.stamp == stamp()


def test_it_asks_again_when_woken(scene):
    effects = scene.prepare()
    asked = [e for e in effects if isinstance(e, SendMessage) and isinstance(e.message, WantProgram)]
    assert asked
    again = []
    while not again:
        scene.now = scene.node.deadline()
        again = [e for e in scene.handle(TimerFired()) if isinstance(e, SendMessage) and e in asked]
    assert scene.now >= 1.0


# ------------------------------------------------------------------------------------------ what it waits for


PROGRAM = ProgramParcel(JOB, 1)


def state_of(first, last, version=0, of=None):
    return StateParcel(of or stamp(), first, last, version, (), b"", replica=False)


def test_nothing_is_expected_before_it_was_asked_for(scene):
    assert not scene.node.expects(A, PROGRAM)
    assert not scene.node.expects(A, state_of(2, 3))
    assert not scene.node.expects(A, Inputs(stamp(), 0, 1, WORK, ()))


def test_program_and_state_are_expected_once_from_whom_they_were_asked(scene):
    scene.prepare()
    ((first, last),) = [(h.first_layer, h.last_layer) for *_, h in plan(stamp(), (A, B)).hops_of(B)]
    state = state_of(first, last)
    for parcel in (PROGRAM, state):
        assert scene.node.expects(A, parcel)
        assert not scene.node.expects(C, parcel)
        scene.handle(ParcelArrived(A, parcel))
        assert not scene.node.expects(A, parcel)


def test_only_the_layers_and_the_version_that_were_asked_for_are_expected(scene):
    scene.prepare()
    ((first, last),) = [(h.first_layer, h.last_layer) for *_, h in plan(stamp(), (A, B)).hops_of(B)]
    assert not scene.node.expects(A, ProgramParcel("f" * 12, 1))
    for wrong in (
        state_of(first, last, version=1),
        state_of(first, last - 1),
        state_of(first, last, of=stamp(version=2)),
        state_of(first, last, of=replace(stamp(), job="f" * 12)),
    ):
        assert not scene.node.expects(A, wrong)


def test_a_job_of_before_a_restart_that_is_known_to_be_over_is_dropped():
    """What the disk did not let go when the job ended (see ``Spool.clear``) gets another chance."""
    over = JobRecord(JOB, "net", A, JobState.FINISHED, 3, 3, "")
    node = Node(member(A), NodeOptions(), Random(1), listed=[over])
    assert DropJob(JOB) in node.handle(JobSubmitted(spec()), 0.0)
    node.check()


def test_a_program_that_comes_after_its_plan_was_replaced_is_still_the_jobs(scene):
    scene.hear(C, Jobs(1, 1, (JobRecord(JOB, "net", A, JobState.RUNNING, 0, 3, ""),)))
    scene.prepare()
    other = replace(spec(), job="f" * 12)
    scene.hear(C, Prepare(plan(replace(stamp(), job="f" * 12), (A, C)), other, 0, A, ()))
    assert scene.node.expects(A, PROGRAM)
    scene.handle(ParcelArrived(A, PROGRAM))
    effects = scene.hear(C, Jobs(1, 2, (JobRecord(JOB, "net", A, JobState.STOPPED, 0, 3, ""),)))
    assert DropJob(JOB) in effects


def test_data_is_expected_of_the_neighbours_in_the_plan_that_is_in_force(scene):
    scene.build()
    inputs, activation = Inputs(stamp(), 0, 1, WORK, ()), Activation(stamp(), 0, 1, WORK, (), ())
    assert scene.node.expects(A, inputs)
    assert scene.node.expects(A, activation)
    for wrong in (
        replace(activation, stamp=stamp(version=2)),
        replace(activation, hop=0),
        replace(activation, route=1),
        replace(activation, work=Work(5, Phase.TRAIN, 0)),
        Gradient(stamp(), 0, 1, WORK, ()),
    ):
        assert not scene.node.expects(A, wrong)
    assert not scene.node.expects(C, inputs)
    assert not scene.node.expects(C, activation)
    scene.handle(ParcelArrived(A, activation))
    assert not scene.node.expects(A, activation)
    scene.hear(C, End(stamp(), JobState.STOPPED, "enough"))
    assert not scene.node.expects(A, inputs)


def test_state_for_an_export_is_expected_from_the_hops_that_were_asked():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.build()
    scene.hear(C, start())
    scene.handle(ExportAsked(JOB, 7))
    (version,) = scene.node.running.feeding._collecting._missing
    hop = plan(stamp(), (A, B)).routes[0].hops[1]
    wanted = state_of(hop.first_layer, hop.last_layer, version)
    assert scene.node.expects(B, wanted)
    assert not scene.node.expects(C, wanted)
    assert not scene.node.expects(B, replace(wanted, version=version + 1))
    scene.handle(ParcelArrived(C, wanted))
    assert scene.node.expects(B, wanted)
    scene.handle(ParcelArrived(B, wanted))
    assert not scene.node.expects(B, wanted)


def failures(effects):
    return {e.message.reason for e in effects if isinstance(e, SendMessage) and isinstance(e.message, WorkFailed)}


def test_inputs_that_do_not_fit_end_the_job_with_what_they_were():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.build()
    scene.hear(C, start())
    wide = Inputs(stamp(), 0, 0, WORK, (TensorSpec("batch[1]", "int64", (2, 5), (5, 1), 80),))
    problem = "the inputs of step 1, micro-batch 0 (batch[1] int64 [2, 5]) from pi-a cannot be taken"
    assert SendMessage(C, JobDone(stamp(), 0, problem)) in scene.handle(ParcelRefused(A, wide))


def test_a_refused_parcel_that_nobody_waits_for_ends_nothing(scene):
    scene.build()
    stale = Activation(stamp(), 0, 1, Work(0, Phase.TRAIN, 0), (), ())
    for sender, parcel in ((C, stale), (A, Activation(stamp(), 0, 7, WORK, (), ()))):
        assert failures(scene.handle(ParcelRefused(sender, parcel))) == set()
    scene.hear(C, End(stamp(), JobState.FINISHED, ""))
    assert failures(scene.handle(ParcelRefused(A, stale))) == set()


def test_state_that_cannot_be_taken_is_a_problem_of_preparing(scene):
    scene.prepare()
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 1)))
    effects = scene.handle(ParcelRefused(A, StateParcel(stamp(), 2, 3, 0, (), b"", replica=False)))
    (told,) = [e.message for e in effects if isinstance(e, SendMessage)]
    assert isinstance(told, Prepared)
    assert told.problem.startswith("the state of layers 2–3 is not")


def lose_activation(scene):
    scene.build()
    scene.handle(ParcelLost(A, Activation(stamp(), 0, 1, WORK, (), ())))
    return scene.now


def test_a_broken_connection_between_two_living_nodes_is_told_until_the_plan_is_halted(scene):
    began, told = lose_activation(scene), []
    scene.node.running._record = member
    failed = SendMessage(C, WorkFailed(stamp(), "the connection between pi-b and pi-a broke", final=False, peer=A))
    while scene.now < began + 2 * BROKEN_SECONDS:
        scene.now = scene.node.deadline()
        told += [scene.now for e in scene.handle(TimerFired()) if e == failed]
    assert told == [began + BROKEN_SECONDS, began + 2 * BROKEN_SECONDS]
    scene.hear(C, Halt(stamp(version=2)))
    scene.now += 10 * BROKEN_SECONDS
    assert failures(scene.handle(TimerFired())) == set()


def test_a_death_has_the_better_sentence_than_the_connection_that_broke_with_it(scene):
    lose_activation(scene)
    scene.node.running._record = lambda _node: member(A, MemberState.SUSPECT)
    scene.now += BROKEN_SECONDS
    assert failures(scene.handle(TimerFired())) == set()
    scene.hear(C, Halt(stamp(version=2)))
    scene.now += 10 * BROKEN_SECONDS
    assert failures(scene.handle(TimerFired())) == set()


def test_first_weights_that_were_lost_are_handed_out_again_and_the_leader_hears_of_the_link():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.build()
    want = WantSnapshot(stamp(), 2, 3, 0)
    scene.hear(B, want)
    assert scene.hear(B, want) == []
    scene.handle(ParcelLost(B, state_of(2, 3)))
    again, told = scene.hear(B, want)
    assert again == SendFirstState(B, stamp(), 2, 3)
    assert told.to == C
    assert told.message.peer == B
    assert not told.message.final
    assert scene.node.running._broken_at is None


@pytest.mark.parametrize("stranger", [A, "e" * 16])
def test_the_leaders_words_are_believed_of_the_leader_alone(scene, stranger):
    scene.build()
    later = plan(stamp(version=2), (A, B))
    words = [
        Prepare(later, spec(), 0, A, ()),
        start(stamp(version=2)),
        PlanChosen(later, spec()),
        End(stamp(), JobState.FAILED, "so I say"),
        Halt(stamp(version=2)),
        Drain(stamp()),
        Committed(stamp(), 0, 16, (), ""),
        LeaveGranted(B),
        Learn(JOB, stranger),
    ]
    for word in words:
        effects = scene.hear(stranger, word)
        assert [e for e in effects if not isinstance(e, Log)] == []
    assert scene.node.running.stamp == stamp()
    scene.handle(LeaderChanged("e" * 16, 2))
    scene.hear(C, End(stamp(), JobState.FAILED, "says the one who led before"))
    assert scene.node.running.stamp == stamp()


def test_without_a_known_leader_the_term_decides(scene):
    scene.build()
    scene.handle(LeaderChanged(None, 2))
    scene.hear(C, End(stamp(), JobState.FAILED, "of an older term"))
    assert scene.node.running.stamp == stamp()
    scene.prepare(stamp(term=2))
    assert scene.node.running.stamp is None


@pytest.mark.parametrize("leader", [C, None])
def test_a_lineage_to_which_this_node_has_not_changed_over_raises_no_fence(scene, leader):
    scene.build()
    scene.handle(LeaderChanged(leader, 1))
    scene.hear(C, Halt(stamp(term=912_000)))
    assert scene.node.running.stamp == stamp()
    scene.handle(LeaderChanged(A, 477_000))
    assert scene.hear(A, Halt(stamp(term=477_000)))
    assert scene.node.running.stamp is None


@pytest.mark.parametrize("term", [1, 5, 6, 912_000])
def test_no_plan_that_a_leader_is_told_raises_its_fence_above_its_own_term(term):
    scene = Scene(B)
    scene.handle(LeaderChanged(B, 5))
    scene.hear(A, Submit(spec()))
    scene.hear(A, PlanChosen(plan(stamp(term=term), (A,)), spec()))
    assert scene.node.fence.learn(stamp(term=5, version=99))


def test_who_has_followed_nobody_yet_believes_nobody():
    node = Node(member(B), NodeOptions(), Random(1), None, [member(A), member(C)])
    node.handle(TimerFired(), 0.0)
    halt = MessageReceived(C, Halt(stamp(version=3)))
    assert [type(e) for e in node.handle(halt, 0.0)] == [Log]
    node.handle(LeaderChanged(A, 1), 0.0)  # of another lineage, which counts the same terms
    first = node.handle(MessageReceived(A, Halt(stamp(version=1))), 0.0)
    assert [e.message.stamp.version for e in first if isinstance(e, SendMessage)] == [1]


# ------------------------------------------------------------------------------------------------ nothing is lost


def taken(version=0, of=None, layers=(2, 3), problem=""):
    return SnapshotTaken(of or stamp(), *layers, version, 0.1, 100, problem)


def inventories(effects):
    return [e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Inventory)]


SNAPSHOT = Holding(2, 3, 0, HoldingKind.SNAPSHOT)


def test_what_a_plan_begins_with_is_copied_at_once_and_sent_when_start_names_holders(scene):
    assert TakeSnapshot(stamp(), 2, 3, 0) in scene.build()
    assert SendMessage(C, Held(stamp(), 2, 3, 0, 0.1, 100, boot=1)) in scene.handle(taken())
    copy = SendHeld(C, stamp(), 2, 3, 0, replica=True)
    assert copy in scene.hear(C, start(every=4, holders=(C,)))
    assert scene.node.running.schedule.snapshots.every == 4
    assert copy not in scene.hear(C, start(every=8, holders=(C,)))
    assert scene.node.running.schedule.snapshots.every == 8
    assert SendHeld(A, stamp(), 2, 3, 0, replica=True) in scene.hear(C, start(every=8, holders=(C, A)))


def test_a_halt_copies_what_stands_still_before_it_drops_it_and_answers_afterwards(scene):
    scene.build()
    later = stamp(version=2)
    effects = scene.hear(C, Halt(later))
    assert [e for e in effects if isinstance(e, TakeSnapshot | DropStages)] == [
        TakeSnapshot(stamp(), 2, 3, 0),
        DropStages(stamp()),
    ]
    assert inventories(effects) == []
    assert scene.node.running.stamp is None
    assert inventories(scene.hear(C, Halt(later))) == []
    (answer,) = inventories(scene.handle(taken()))
    assert answer == Inventory(later, (SNAPSHOT,), program=True, data=False)
    assert inventories(scene.hear(C, Halt(later))) == [answer]


def test_a_halt_while_something_trains_is_answered_at_once_with_what_there_is(scene):
    scene.build()
    scene.handle(taken())
    scene.handle(ParcelArrived(A, Inputs(stamp(), 0, 1, WORK, ())))
    scene.handle(ParcelArrived(A, Activation(stamp(), 0, 1, WORK, (), ())))
    effects = scene.hear(C, Halt(stamp(version=2)))
    assert not [e for e in effects if isinstance(e, TakeSnapshot)]
    assert [answer.holdings for answer in inventories(effects)] == [(SNAPSHOT,)]
    assert scene.handle(ForwardDone(stamp(), 0, 1, WORK, 1.0, 1.0, ())) == []


def test_a_halt_that_comes_late_does_not_touch_the_plan_that_followed_it(scene):
    scene.build()
    effects = scene.hear(C, Halt(stamp()))
    assert not [e for e in effects if isinstance(e, TakeSnapshot | DropStages)]
    assert scene.node.running.stamp == stamp()
    assert len(inventories(effects)) == 1


def test_a_plan_that_is_prepared_before_the_halt_is_answered_needs_no_answer(scene):
    scene.build()
    scene.hear(C, Halt(stamp(version=2)))
    scene.prepare(stamp(version=2))
    assert inventories(scene.handle(taken())) == []
    assert SNAPSHOT in scene.node.keeping.holdings(JOB)


def test_a_replica_is_expected_from_the_node_whose_layers_it_holds(scene):
    scene.build()
    replica = StateParcel(stamp(), 0, 1, 0, (TensorSpec("w", "float32", (2,), (1,), 8),), b"{}", replica=True)
    assert scene.node.expects(A, replica)
    assert not scene.node.expects(C, replica)
    assert not scene.node.expects(A, replace(replica, last_layer=2))
    effects = scene.handle(ParcelArrived(A, replica))
    assert SendMessage(C, Held(stamp(), 0, 1, 0, 0.0, 10, boot=1)) in effects
    assert not scene.node.expects(A, replica)
    assert not scene.node.expects(A, replace(replica, stamp=stamp(version=2)))


def test_nothing_is_held_of_a_job_that_is_over(scene):
    scene.build()
    scene.handle(taken())
    effects = scene.hear(C, Jobs(1, 1, (JobRecord(JOB, "net", A, JobState.STOPPED, 0, 3, ""),)))
    assert [e for e in effects if isinstance(e, DropHeld | DropJob)] == [DropHeld(JOB, (0,)), DropJob(JOB)]
    assert scene.handle(taken()) == [DropHeld(JOB, (0,))]
    assert scene.node.keeping.jobs() == set()


def test_exports_that_are_owed_are_brought_by_the_next_plan():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.build()
    scene.hear(C, start())
    scene.handle(ExportAsked(JOB, 7))
    scene.hear(C, Halt(stamp(version=2)))
    scene.handle(taken(layers=(0, 1)))
    scene.prepare(stamp(version=2))
    scene.handle(ParcelArrived(A, state_of(0, 1, of=stamp(version=2))))
    scene.handle(StagesBuilt(stamp(version=2), ""))
    scene.hear(C, start(stamp(version=2)))
    assert exported(scene.node) == [7]


def test_a_node_leaves_once_the_leader_has_granted_it(scene):
    scene.hear(C, Jobs(1, 1, (JobRecord(JOB, "net", A, JobState.RUNNING, 0, 3, ""),)))
    assert SendMessage(C, LeaveRequest(B)) in scene.handle(LeaveAsked())
    assert scene.node.membership.own.state is MemberState.ALIVE
    scene.hear(C, LeaveGranted(B))
    assert scene.node.membership.own.state is MemberState.LEFT
    departed = []
    while not departed:
        scene.now = scene.node.deadline()
        departed = [e for e in scene.handle(TimerFired()) if isinstance(e, Depart)]


@pytest.mark.parametrize(
    ("states", "goes"),
    [
        ([JobState.RUNNING], True),
        ([JobState.PREPARING], False),
        ([JobState.PAUSED], False),
        ([JobState.PAUSED, JobState.RUNNING], True),
        ([JobState.PAUSED, JobState.PAUSED], False),
        ([JobState.PAUSED, JobState.FINISHED], False),
    ],
)
def test_a_node_goes_at_last_but_not_while_its_layers_move(scene, states, goes):
    scene.hear(C, PlanChosen(plan(stamp(), (A, B)), spec()))
    jobs = zip((JOB, OTHER_JOB), states, strict=False)
    scene.hear(C, Jobs(1, 1, tuple(JobRecord(job, "net", A, state, 0, 3, "") for job, state in jobs)))
    scene.handle(LeaveAsked())
    for moment in (PATIENCE_SECONDS - 1.0, PATIENCE_SECONDS):
        scene.node.leaving.handle(TimerFired(), moment)
    assert scene.node.leaving.goes is goes


def test_a_node_without_jobs_leaves_at_once(scene):
    scene.handle(LeaveAsked())
    assert scene.node.membership.own.state is MemberState.LEFT


def test_a_node_without_memory_stands_still_and_tells_the_leader_until_it_is_halted(scene):
    scene.build()
    scene.hear(C, start())
    failed = SendMessage(C, WorkFailed(stamp(), "memory ran out", final=False, peer=B))
    effects = scene.handle(MemoryRanOut(7, "memory ran out"))
    budget, *_ = [e for e in effects if isinstance(e, SendMessage) and e.to == C and isinstance(e.message, Gossip)]
    assert budget.message.gossip[0].memory_bytes == 7
    assert effects.index(budget) < effects.index(failed)  # the plan that follows must know of it
    assert scene.handle(ComputeFailed(stamp(), "memory ran out")) == []  # which would end the job otherwise
    activation = Activation(stamp(), 0, 1, WORK, (), ())
    assert not scene.node.expects(A, activation)
    assert not [e for e in scene.handle(ParcelArrived(A, activation)) if isinstance(e, RunForward)]
    scene.now += REPEAT_SECONDS
    assert failed in scene.handle(TimerFired())
    effects = scene.hear(C, Halt(stamp(version=2)))
    assert not any(isinstance(e, TakeSnapshot) for e in effects)
    assert any(isinstance(e, DropStages) for e in effects)
    scene.now += REPEAT_SECONDS
    assert failed not in scene.handle(TimerFired())
    scene.build(stamp(version=2))
    scene.hear(C, start(stamp(version=2)))
    assert [e for e in scene.hear(C, Halt(stamp(version=3))) if isinstance(e, TakeSnapshot)]


def test_an_export_asked_for_while_there_is_no_memory_waits_for_the_next_plan():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.build()
    scene.hear(C, start())
    scene.handle(MemoryRanOut(7, "memory ran out"))
    scene.handle(ExportAsked(JOB, 5))
    scene.build(stamp(version=2))
    scene.hear(C, start(stamp(version=2)))
    assert exported(scene.node) == [5]
