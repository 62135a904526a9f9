"""What a node holds, whom it tells, what it answers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edged.core.effects import (
    DropHeld,
    KeepArrived,
    Log,
    SendFirstState,
    SendHeld,
    SendMessage,
    StoreHeld,
    TakeSnapshot,
)
from edged.core.events import (
    HeldFound,
    HeldLost,
    HeldStored,
    JobSubmitted,
    LeaderChanged,
    LinkLost,
    MemberChanged,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    SnapshotTaken,
    TimerFired,
)
from edged.core.keeping import REPEAT_SECONDS, Keeping
from edged.core.kept import AGAIN_SECONDS
from edged.core.messages import (
    Committed,
    Halt,
    Held,
    Holding,
    HoldingKind,
    Inventory,
    Lying,
    MemberState,
    PlanChosen,
    Refused,
    Start,
    StateParcel,
    Stored,
    WantSnapshot,
    WorkFailed,
)
from edged.core.sending import RESEND_SECONDS
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, D, member, plan, spec, stamp

LAYERS = {A: (0, 1), B: (2, 3)}


LOST = ((), b"", False)


class Scene:
    """Node ``node`` of a plan over A and B; C leads; what stands is set by the test."""

    def __init__(self, node=B, of=None):
        self.standing = ()
        self.plans = {}
        self.node = node
        self.machine = Keeping(node, self.plans.get, [lambda _stamp: self.standing], lambda _: True, lambda _: False, 0)
        self.now = 0.0
        self.handle(LeaderChanged(C, 1))
        self.choose(of or stamp())

    def handle(self, event):
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return effects

    def hear(self, message, sender=C):
        return self.handle(MessageReceived(sender, message))

    def choose(self, of):
        self.plans[JOB] = PlanChosen(plan(of, (A, B)), spec(steps=100))
        return self.hear(self.plans[JOB])

    def start(self, *holders, of=None, version=0):
        return self.hear(Start(of or stamp(), version, 4, holders, ""))

    def taken(self, version=0, of=None, problem=""):
        return self.handle(SnapshotTaken(of or stamp(), *LAYERS[self.node], version, 0.1, 100, problem))

    def replica(self, version=0, of=None, sender=A):
        parcel = StateParcel(of or stamp(), *LAYERS[sender], version, (), b"{}", replica=True)
        return self.handle(ParcelArrived(sender, parcel))

    def commit(self, version, *holders, of=None, storing=-1, stored=-1):
        lying = tuple(Lying(*LAYERS[owner], (owner, *holders)) for owner in (A, B))
        return self.hear(Committed(of or stamp(), version, 4, lying, "", storing, stored))

    def wake(self):
        self.now = self.machine.deadline()
        return self.handle(TimerFired())

    def halt(self, of=None, sender=C):
        return self.hear(Halt(of or stamp(version=2)), sender)


@pytest.fixture
def scene():
    return Scene()


def copy(to, version=0, of=None):
    return SendHeld(to, of or stamp(), 2, 3, version, replica=True)


def held(version=0, of=None, to=C, seconds=0.1):
    return SendMessage(to, Held(of or stamp(), 2, 3, version, seconds, 100))


def snapshot(version, first=2, last=3):
    return Holding(first, last, version, HoldingKind.SNAPSHOT)


def on_disk(version):
    return Holding(2, 3, version, HoldingKind.DISK)


def written(effects):
    return [each.version for each in effects if isinstance(each, StoreHeld) and each.down]


def inventories(effects):
    return [e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Inventory)]


# ------------------------------------------------------------------------------------------ copies and telling


def test_a_snapshot_goes_to_every_holder_and_is_told_to_the_leader(scene):
    scene.start(A, C)
    assert scene.taken() == [copy(A), copy(C), held()]


def test_the_start_of_an_older_plan_than_one_has_heard_of_sends_nothing(scene):
    scene.halt(stamp(version=3))
    scene.taken()
    assert not [each for each in scene.start(A, of=stamp(version=2)) if isinstance(each, SendHeld)]
    assert inventories(scene.halt(stamp(version=3)))  # it still answers the newer one


def test_a_snapshot_that_was_taken_before_start_goes_when_the_holders_are_known(scene):
    assert scene.taken() == [held()]
    assert copy(A) in scene.start(A)


def test_a_snapshot_that_could_not_be_taken_is_told_to_people_and_to_nobody_else(scene):
    scene.start(A)
    (log,) = scene.taken(problem="out of memory")
    assert isinstance(log, Log)
    assert scene.machine.holdings(JOB) == ()


def test_what_is_held_is_told_again_until_it_is_committed_and_counted_here(scene):
    scene.taken()
    assert scene.wake() == [held()]
    assert scene.now == REPEAT_SECONDS
    assert scene.commit(0) == []
    scene.wake()
    assert scene.machine.deadline() is None


def test_a_holder_that_is_named_after_the_commit_says_so_until_it_is_counted():
    scene = Scene(A)
    scene.hear(Committed(stamp(), 0, 4, (Lying(2, 3, (B,)),), ""))
    told = SendMessage(C, Held(stamp(), 2, 3, 0, 0.0, 2, 0))
    assert scene.replica(sender=B)[-1] == told
    assert scene.wake() == [told]
    scene.commit(0, A)
    scene.wake()
    assert scene.machine.deadline() is None


def test_what_is_held_is_said_with_what_was_heard_to_be_committed_by_this_leader(scene):
    scene.taken()
    scene.commit(0)
    (told,) = [e for e in scene.taken(4) if isinstance(e, SendMessage)]
    assert told.message == Held(stamp(), 2, 3, 4, 0.1, 100, committed=0)
    assert held(4, to=D) in scene.handle(LeaderChanged(D, 2)), "which has said nothing yet"


def test_a_new_leader_is_told_everything_again(scene):
    scene.taken()
    scene.commit(0)
    scene.taken(4)
    assert scene.handle(LeaderChanged(D, 2)) == [held(0, to=D), held(4, to=D)]


def test_without_a_leader_nothing_is_told_and_nothing_wakes(scene):
    scene.handle(LeaderChanged(None, 2))
    assert scene.taken() == []
    assert scene.machine.deadline() is None


def test_a_replaced_plan_has_nothing_to_tell_and_sends_nothing(scene):
    scene.start(A)
    scene.taken()
    scene.halt()
    assert scene.taken(4) == [
        SendMessage(C, Inventory(stamp(version=2), (snapshot(0), snapshot(4)), program=True, data=False))
    ]
    scene.wake()
    assert scene.machine.deadline() is None


def test_what_a_plan_begins_with_counts_though_it_was_held_before(scene):
    scene.taken(4)
    later = stamp(version=2)
    scene.choose(later)
    assert held(4, later, seconds=0.0) not in scene.choose(later)
    assert held(4, later, seconds=0.0) in scene.start(A, of=later, version=4)
    assert not [e for e in scene.start(A, of=later, version=4) if isinstance(e, SendHeld)], "it has to be taken anew"


def test_a_replica_that_is_not_expected_changes_nothing(scene):
    assert scene.replica(sender=B) == []
    assert scene.replica(of=stamp(version=2)) == []
    assert scene.machine.holdings(JOB) == ()


def test_a_replica_is_taken_once_and_only_as_long_as_it_is_wanted(scene):
    parcel = StateParcel(stamp(), 0, 1, 4, (), b"", replica=True)
    assert scene.machine.expects(A, parcel)
    assert not scene.machine.expects(A, replace(parcel, replica=False))
    assert not scene.machine.expects(A, replace(parcel, version=101)), "the job has 100 steps"
    assert not scene.machine.expects(C, parcel)
    scene.replica(4)
    assert not scene.machine.expects(A, parcel)
    scene.commit(8)
    scene.commit(12)
    assert not scene.machine.expects(A, replace(parcel, version=7))
    scene.plans.clear()
    assert not scene.machine.expects(A, replace(parcel, version=12))


def test_a_lost_replica_is_sent_again(scene):
    scene.start(A)
    scene.taken()
    scene.handle(ParcelLost(A, StateParcel(stamp(), 2, 3, 0, (), b"", replica=True)))
    effects = []
    while scene.now < RESEND_SECONDS:
        effects += scene.wake()
    assert copy(A) in effects


def test_a_holder_that_is_restarted_gets_everything_again(scene):
    scene.handle(MemberChanged(member(A), None, ""))
    scene.start(A)
    scene.taken()
    assert copy(A) in scene.handle(MemberChanged(member(A, boot=2), MemberState.ALIVE, ""))
    assert copy(A) not in scene.handle(MemberChanged(member(A, MemberState.DEAD, boot=2), MemberState.ALIVE, ""))
    assert copy(A, 4) not in scene.taken(4)
    assert copy(A, 4) in scene.handle(MemberChanged(member(A, boot=3), MemberState.DEAD, ""))


# --------------------------------------------------------------------------------------------- commits and disk


def test_what_is_older_than_the_newest_but_one_committed_goes(scene):
    for version in (0, 4, 8):
        scene.taken(version)
    assert scene.commit(4) == []
    assert scene.commit(8) == [DropHeld(JOB, (0,))]
    assert scene.commit(8) == []


def test_what_all_are_to_write_is_written_and_told_until_it_is_seen_and_what_all_have_stays(scene):
    for version in (0, 4, 8):
        scene.taken(version)
    assert StoreHeld(spec(steps=100), 4) in scene.commit(4, storing=4)
    assert scene.commit(8, storing=4) == [DropHeld(JOB, (0,))], "once"
    stored = SendMessage(C, Stored(stamp(), 4, ""))
    assert stored in scene.handle(HeldStored(JOB, 4, ""))
    assert stored in scene.wake()
    effects = scene.commit(8, storing=8, stored=4)
    assert StoreHeld(spec(steps=100), 8, (4,)) in effects
    assert stored not in effects
    assert SendMessage(C, Stored(stamp(), 8, "full")) in scene.handle(HeldStored(JOB, 8, "full"))
    assert scene.machine.holdings(JOB) == (snapshot(4), snapshot(8))


def test_a_version_is_not_told_to_be_stored_while_what_came_of_it_later_is_not(scene):
    """The disk was slow, and copies of the same version came."""
    scene.taken(4)
    write = StoreHeld(spec(steps=100), 4)
    assert write in scene.commit(4, storing=4)
    scene.replica(4)
    assert write not in scene.commit(4, storing=4), "one write of a version at a time"
    stored = SendMessage(C, Stored(stamp(), 4, ""))
    effects = scene.handle(HeldStored(JOB, 4, ""))
    assert write in effects
    assert stored not in effects
    assert stored in scene.handle(HeldStored(JOB, 4, ""))


def test_what_is_to_be_written_is_written_before_memory_lets_it_go(scene):
    for version in (0, 4, 8):
        scene.taken(version)
    scene.commit(4)
    assert scene.commit(8, storing=0) == [StoreHeld(spec(steps=100), 0), DropHeld(JOB, (0,))]


def test_without_a_committed_version_nothing_goes(scene):
    scene.taken()
    assert scene.hear(Committed(stamp(), -1, 4, (), "")) == []


def test_a_node_that_holds_nothing_of_a_version_stores_nothing(scene):
    assert scene.commit(4) == []


def test_snapshots_without_commits_stay_within_their_bound(scene):
    dropped = [e for v in range(0, 40, 4) for e in scene.taken(v) if isinstance(e, DropHeld)]
    assert dropped == [DropHeld(JOB, (v,)) for v in range(12, 40, 4)], "the leader was told of the first three"
    scene.hear(Committed(stamp(), -1, 8, (), ""))
    assert DropHeld(JOB, (4,)) in scene.taken(40), "the leader does not count on that any more"


def test_a_node_that_leaves_writes_the_newest_that_it_holds(scene):
    scene.taken(4)
    scene.taken(6)
    assert scene.machine.part() == [StoreHeld(spec(steps=100), 6, down=True)]
    assert scene.machine.part() == []


def test_what_a_paused_job_stands_at_goes_to_disk_once(scene):
    scene.taken(4)
    scene.taken(6)
    assert scene.machine.stand(JOB, 6) == [StoreHeld(spec(steps=100), 6, down=True)]
    assert scene.machine.stand(JOB, 6) == []
    assert scene.machine.stand(OTHER_JOB, 6) == []


def test_what_a_paused_job_stands_at_is_tried_again_after_a_while_and_when_the_node_goes(scene):
    scene.taken(6)
    scene.commit(6)
    assert written(scene.machine.stand(JOB, 6)) == [6]
    for _ in range(3):
        scene.handle(HeldStored(JOB, 6, "the disk is full"))
        failed_at = scene.now
        assert scene.machine.stand(JOB, 6) == []
        while scene.now < failed_at + AGAIN_SECONDS:
            scene.wake()
        assert scene.now == failed_at + AGAIN_SECONDS
        assert written(scene.machine.stand(JOB, 6)) == [6]
    scene.handle(HeldStored(JOB, 6, "the disk is full"))
    assert written(scene.machine.part()) == [6]
    scene.handle(HeldStored(JOB, 6, ""))
    assert scene.machine.stand(JOB, 6) == scene.machine.part() == []


def test_what_cannot_be_read_from_disk_is_not_named_any_more_and_what_is_older_is():
    scene = Scene()
    scene.handle(HeldFound(JOB, tuple(on_disk(v) for v in (8, 16)), program=True, data=False, spec=spec(steps=100)))
    (log,) = scene.handle(HeldLost(JOB, Holding(3, 3, 16, HoldingKind.DISK), "Input/output error"))
    assert log == Log("warning", "keeping", "version 16 of layer 3 cannot be read from disk: Input/output error")
    (answer,) = inventories(scene.halt())
    assert answer.holdings == (on_disk(8),)
    (refused,) = scene.hear(WantSnapshot(stamp(version=2), 2, 3, 16), A)
    assert isinstance(refused.message, Refused)


def test_first_weights_that_cannot_be_read_are_not_named_any_more(scene):
    scene.handle(JobSubmitted(spec(steps=100)))
    assert [each.kind for each in scene.machine.holdings(JOB)] == [HoldingKind.FIRST]
    (log,) = scene.handle(HeldLost(JOB, Holding(0, 1, 0, HoldingKind.FIRST), "no such file"))
    assert log.text == "the first weights of layers 0–1 cannot be read from disk: no such file"
    assert scene.machine.holdings(JOB) == ()


# ------------------------------------------------------------------------------------------------------ halts


def test_a_halt_copies_what_stands_and_answers_when_all_of_it_is_copied(scene):
    scene.standing = [TakeSnapshot(stamp(), 0, 1, 7), TakeSnapshot(stamp(), 2, 3, 7)]
    assert scene.halt() == [TakeSnapshot(stamp(), 0, 1, 7), TakeSnapshot(stamp(), 2, 3, 7)]
    scene.standing = ()
    assert scene.halt() == []
    assert scene.taken(7) == []
    done = scene.handle(SnapshotTaken(stamp(), 0, 1, 7, 0.1, 10, ""))
    (answer,) = inventories(done)
    assert answer == Inventory(stamp(version=2), (snapshot(7, 0, 1), snapshot(7)), program=True, data=False)
    assert inventories(scene.halt()) == [answer]


def test_what_came_for_a_plan_that_was_never_built_is_held_before_the_answer(scene):
    came = KeepArrived(stamp(), 2, 2, 7)
    scene.standing = [came]
    assert scene.halt() == [came]
    scene.standing = ()
    (answer,) = inventories(scene.handle(SnapshotTaken(stamp(), 2, 2, 7, 0.0, 10, "")))
    assert answer.holdings == (snapshot(7, 2, 2),)


def test_a_copy_that_fails_is_answered_without_it(scene):
    scene.standing = [TakeSnapshot(stamp(), 2, 3, 7)]
    scene.halt()
    assert [answer.holdings for answer in inventories(scene.taken(7, problem="out of memory"))] == [()]


def test_what_has_been_copied_already_is_not_copied_again(scene):
    scene.taken(4)
    scene.standing = [TakeSnapshot(stamp(), 2, 3, 4)]
    (answer,) = inventories(scene.halt())
    assert answer.holdings == (snapshot(4),)


def test_a_newer_halt_while_a_copy_is_made_gets_the_only_answer(scene):
    scene.standing = [TakeSnapshot(stamp(), 2, 3, 7)]
    scene.halt()
    scene.standing = ()
    newest = stamp(term=2)
    assert scene.halt(newest, sender=D) == []
    (effect,) = [e for e in scene.taken(7) if isinstance(e, SendMessage)]
    assert effect == SendMessage(D, Inventory(newest, (snapshot(7),), program=True, data=False))


def test_a_new_leader_hears_of_a_halt_that_no_plan_has_followed(scene):
    scene.halt()
    scene.handle(LeaderChanged(None, 1))
    (told,) = [each for each in scene.handle(LeaderChanged(A, 2)) if isinstance(each, SendMessage)]
    assert told == SendMessage(A, Inventory(stamp(version=2), (), program=True, data=False))
    scene.choose(stamp(version=2))
    assert not inventories(scene.handle(LeaderChanged(C, 3)))


def test_a_snapshot_that_was_under_way_at_the_halt_is_told_afterwards(scene):
    assert [answer.holdings for answer in inventories(scene.halt())] == [()]
    assert [answer.holdings for answer in inventories(scene.taken(4))] == [(snapshot(4),)]


def test_nothing_is_answered_once_a_plan_has_followed(scene):
    scene.standing = [TakeSnapshot(stamp(), 2, 3, 7)]
    scene.halt()
    scene.choose(stamp(version=2))
    assert inventories(scene.taken(7)) == []


def test_the_node_that_has_the_first_weights_says_so():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    (answer,) = inventories(scene.halt())
    assert answer.holdings == (Holding(0, 3, 0, HoldingKind.FIRST),)


def test_what_was_found_on_disk_is_told(scene):
    on_disk = (Holding(0, 1, 4, HoldingKind.DISK), Holding(0, 1, 8, HoldingKind.DISK))
    assert scene.handle(HeldFound(JOB, on_disk, program=True, data=False)) == []
    (answer,) = inventories(scene.halt())
    assert answer.holdings == on_disk


# -------------------------------------------------------------------------------------------- handing out, ends


def test_any_part_of_what_is_held_is_handed_out_once_per_session(scene):
    scene.taken(4)
    want = WantSnapshot(stamp(version=2), 3, 3, 4)
    part = SendHeld(A, stamp(version=2), 3, 3, 4, replica=False)
    assert scene.hear(want, A) == [part]
    assert scene.hear(want, A) == []
    scene.handle(LinkLost(A))
    assert scene.hear(want, A) == [part]


def test_who_asks_again_for_what_was_lost_on_the_way_lives_and_the_leader_hears_of_the_connection(scene):
    scene.taken(4)
    want, lost = (cls(stamp(version=2), 3, 3, 4, *rest) for cls, rest in ((WantSnapshot, ()), (StateParcel, LOST)))
    part = SendHeld(A, stamp(version=2), 3, 3, 4, replica=False)
    scene.hear(want, A)
    assert scene.handle(ParcelLost(A, lost)) == []
    again, told = scene.hear(want, A)
    assert again == part
    reason = "the connection broke while layers went over it"
    assert told == SendMessage(C, WorkFailed(stamp(version=2), reason, False, A))
    assert scene.hear(want, A) == []


def test_what_is_not_held_is_refused_by_name(scene):
    (refused,) = scene.hear(WantSnapshot(stamp(), 2, 3, 4), A)
    assert refused == SendMessage(A, Refused(JOB, f"node {B} does not hold layers 2–3 at version 4", 4))
    assert scene.hear(WantSnapshot(stamp(), 2, 3, 0), A) != []


def test_first_weights_come_from_where_the_job_was_handed_in_unless_they_are_held():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    assert scene.hear(WantSnapshot(stamp(), 0, 1, 0), B) == [SendFirstState(B, stamp(), 0, 1)]
    scene.taken()
    assert scene.hear(WantSnapshot(stamp(), 0, 1, 0), D) == [SendHeld(D, stamp(), 0, 1, 0, replica=False)]
    assert isinstance(scene.hear(WantSnapshot(stamp(), 0, 1, 1), B)[0].message, Refused)


def test_nothing_is_left_of_a_job_that_is_over(scene):
    scene.taken(4)
    assert scene.machine.drop(JOB) == [DropHeld(JOB, (4,))]
    assert scene.machine.drop(JOB) == []
    assert scene.machine.jobs() == set()
    assert scene.taken(8) == [DropHeld(JOB, (8,))]
    assert scene.taken(8, problem="the stages are gone") == []
