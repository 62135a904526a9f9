"""Samples that another node can draw too."""

from __future__ import annotations

from dataclasses import replace

from edged.core.effects import CopyData, Log, SendMessage, SendRows, StopFeeder
from edged.core.events import (
    DataCopied,
    DataLost,
    DataNotCopied,
    HeldFound,
    JobSubmitted,
    LeaderChanged,
    MemberChanged,
    MessageReceived,
    ParcelLost,
    TimerFired,
)
from edged.core.job import Phase
from edged.core.messages import Committed, DataHeld, DataParcel, DataWanted, MemberState, PlanChosen, Start, TensorSpec
from edged.core.sharing import REPEAT_SECONDS, Sharing
from tests.core.job_sample import JOB, A, B, C, D, member, plan, spec, stamp


class Scene:
    """Node ``node``; A is the source, C leads."""

    def __init__(self, node=A):
        chosen = PlanChosen(plan(stamp(), (A, B)), spec())
        self.plans = {JOB: chosen}
        self.machine = Sharing(node, self.plans.get)
        self.now = 0.0
        self.handle(LeaderChanged(C, 1))
        if node == A:
            self.handle(JobSubmitted(spec()))

    def handle(self, event):
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return effects

    def start(self, data_holder):
        return self.handle(MessageReceived(C, Start(stamp(), 0, 4, (), data_holder)))

    def commit(self, data_holder):
        return self.handle(MessageReceived(C, Committed(stamp(), 0, 4, (), data_holder)))


def test_the_source_copies_once_to_whoever_is_named():
    scene = Scene()
    assert scene.start("") == []
    assert scene.start(B) == [CopyData(spec(), B)]
    assert scene.start(B) == []
    assert scene.start(D) == [CopyData(spec(), D)]


def test_the_holder_says_where_to_go_on():
    scene = Scene()
    scene.start(B)
    assert scene.handle(MessageReceived(B, DataWanted(JOB, Phase.TRAIN, 7, ""))) == [SendRows(B, JOB, Phase.TRAIN, 7)]
    assert scene.handle(MessageReceived(D, DataWanted(JOB, Phase.TRAIN, 7, ""))) == []
    (log,) = scene.handle(MessageReceived(B, DataWanted(JOB, Phase.TRAIN, 0, "no room")))
    assert isinstance(log, Log)
    assert log.text.endswith("are not copied: no room")


def test_why_samples_are_not_copied_is_told():
    (log,) = Scene().handle(DataNotCopied(JOB, "sample 17 of data differs when drawn again"))
    assert log.text == f"the samples of job {spec().name} are not copied: sample 17 of data differs when drawn again"


def test_a_node_that_another_took_the_job_over_from_draws_nothing_more():
    scene = Scene()
    here = PlanChosen(plan(stamp(), (A, B)), spec())
    there = replace(here, spec=replace(spec(), source=B))
    assert scene.handle(MessageReceived(C, here)) == []
    assert scene.handle(MessageReceived(C, there)) == [StopFeeder(JOB)]
    assert scene.handle(MessageReceived(C, there)) == []
    assert scene.handle(MessageReceived(C, here)) == []
    assert scene.handle(MessageReceived(C, there)) == [StopFeeder(JOB)]


def test_only_the_source_copies_and_never_to_itself():
    assert Scene(B).start(D) == []
    assert Scene(A).start(A) == []


def test_a_copy_that_was_lost_begins_again_with_the_leaders_next_word():
    scene = Scene()
    scene.start(B)
    scene.handle(ParcelLost(D, DataParcel(JOB, Phase.TRAIN, 0, 4, (), ())))
    assert scene.start(B) == []
    scene.handle(ParcelLost(B, DataParcel(JOB, Phase.TRAIN, 0, 4, (), ())))
    assert scene.start(B) == [CopyData(spec(), B)]


def test_a_holder_that_was_restarted_has_no_copy():
    scene = Scene()
    scene.handle(MemberChanged(member(B), None, ""))
    scene.start(B)
    scene.handle(MemberChanged(member(B, MemberState.SUSPECT), MemberState.ALIVE, ""))
    assert scene.start(B) == []
    scene.handle(MemberChanged(member(B, boot=2), MemberState.ALIVE, ""))
    assert scene.start(B) == [CopyData(spec(), B)]


def test_the_holder_tells_the_leader_until_it_names_one():
    scene = Scene(B)
    told = [SendMessage(C, DataHeld(JOB))]
    assert scene.handle(DataCopied(JOB)) == told
    scene.now = scene.machine.deadline()
    assert scene.now == REPEAT_SECONDS
    assert scene.handle(TimerFired()) == told
    scene.commit("")
    scene.commit(B)
    scene.now = scene.machine.deadline()
    assert scene.handle(TimerFired()) == []
    assert scene.machine.deadline() is None
    assert scene.commit(B) == []
    assert scene.commit("") == told
    assert scene.handle(LeaderChanged(D, 2)) == [SendMessage(D, DataHeld(JOB))]


def test_samples_are_expected_from_the_source_as_many_as_there_are_and_once():
    scene = Scene(B)
    parcel = DataParcel(JOB, Phase.TRAIN, 20, 4, (), ())
    assert scene.machine.expects(A, parcel)
    assert not scene.machine.expects(C, parcel)
    assert not scene.machine.expects(A, replace(parcel, rows=5))
    assert not scene.machine.expects(A, replace(parcel, phase=Phase.EVALUATE))
    assert scene.machine.expects(A, replace(parcel, phase=Phase.EVALUATE, first_row=0))
    scene.handle(DataCopied(JOB))
    assert not scene.machine.expects(A, parcel)
    assert not Scene(A).machine.expects(A, parcel)


def test_who_can_draw_the_samples():
    source, other = Scene(), Scene(B)
    assert source.machine.has(JOB)
    assert not other.machine.has(JOB)
    other.handle(HeldFound(JOB, (), program=False, data=True))
    assert other.machine.has(JOB)
    other.machine.drop(JOB)
    assert not other.machine.has(JOB)
    assert other.machine.jobs() == set()


def test_a_copy_that_is_damaged_does_not_count_and_is_taken_anew():
    holder = Scene(B)
    holder.handle(DataCopied(JOB))
    assert holder.handle(DataLost(JOB, "flipped")) == [Log("warning", "sharing", "flipped")]
    assert not holder.machine.has(JOB)
    tensors = (TensorSpec("batch", "float32", (2, 3), (3, 1), 24),)
    assert holder.machine.expects(A, DataParcel(JOB, Phase.TRAIN, 0, 2, tensors, ()))
    holder.handle(DataCopied(JOB))
    assert holder.machine.has(JOB)
