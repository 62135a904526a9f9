"""A node's side of getting ready, and the source's side of handing out."""

from dataclasses import replace
from itertools import pairwise

import pytest

from edged.core.effects import BuildStages, DropStages, KeepArrived, SendMessage, SendProgram
from edged.core.events import (
    HeldFound,
    JobSubmitted,
    LinkLost,
    MemberChanged,
    MemoryRanOut,
    MessageReceived,
    ParcelArrived,
    ParcelRefused,
    ProgramLoaded,
    StagesBuilt,
    TimerFired,
)
from edged.core.messages import (
    Learn,
    Learned,
    MemberState,
    Prepare,
    Prepared,
    ProgramParcel,
    Refused,
    StateParcel,
    Transfer,
    WantProgram,
    WantSnapshot,
    WorkFailed,
)
from edged.core.migration import SLOWEST_SECONDS, Migration
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, member, plan, spec, stamp

WANT = WantSnapshot(stamp(), 2, 3, 0)


def prepare(of=None, nodes=(A, B), to=B, version=0, holder=A, program_holder=A):
    chosen = plan(of or stamp(), nodes)
    transfers = tuple(Transfer(h.first_layer, h.last_layer, version, holder) for _, _, h in chosen.hops_of(to))
    return Prepare(chosen, spec(), version, program_holder, transfers)


def state(sender=A, of=None, first=2, last=3, version=0, replica=False):
    return ParcelArrived(sender, StateParcel(of or stamp(), first, last, version, (), b"", replica=replica))


class Scene:
    """One migration machine on node B; C leads, A is the source."""

    def __init__(self, node=B):
        self.machine = Migration(node)
        self.now = 0.0

    def handle(self, event):
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return effects

    def hear(self, sender, message):
        return self.handle(MessageReceived(sender, message))

    def wake(self):
        self.now = self.machine.deadline()
        return self.handle(TimerFired())


@pytest.fixture
def scene():
    return Scene()


def test_program_and_state_are_asked_for_at_once(scene):
    assert scene.hear(C, prepare()) == [SendMessage(A, WantProgram(JOB)), SendMessage(A, WANT)]


def test_stages_are_built_when_everything_has_come(scene):
    scene.hear(C, prepare())
    assert scene.handle(state()) == []
    assert scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10))) == [BuildStages(prepare().plan, spec(), 0)]
    assert scene.handle(StagesBuilt(stamp(), "")) == [SendMessage(C, Prepared(stamp(), ""))]
    assert scene.machine.deadline() is None


def test_only_what_is_missing_is_asked_again_ever_more_slowly(scene):
    scene.hear(C, prepare())
    scene.handle(state())
    moments = []
    for _ in range(8):
        assert scene.wake() == [SendMessage(A, WantProgram(JOB))]
        moments.append(scene.now)
    pauses = [later - earlier for earlier, later in pairwise(moments)]
    assert pauses == sorted(pauses)
    assert pauses[-1] == SLOWEST_SECONDS


def test_a_program_is_learned_before_a_plan_needs_it(scene):
    assert scene.hear(C, Learn(JOB, A)) == [SendMessage(A, WantProgram(JOB))]
    assert scene.hear(C, Learn(JOB, A)) == [SendMessage(A, WantProgram(JOB))]
    assert scene.handle(ParcelArrived(C, ProgramParcel(JOB, 10))) == []
    assert JOB in scene.machine.jobs()
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.hear(C, Learn(JOB, A)) == [SendMessage(C, Learned(JOB))]
    assert scene.hear(C, prepare()) == [SendMessage(A, WANT)]


def test_a_program_is_learned_from_another_when_its_holder_is_gone(scene):
    scene.hear(C, Learn(JOB, A))
    assert scene.hear(C, Learn(JOB, C)) == [SendMessage(C, WantProgram(JOB))]
    scene.handle(ParcelArrived(C, ProgramParcel(JOB, 10)))
    assert scene.hear(C, Learn(JOB, C)) == [SendMessage(C, Learned(JOB))]


def test_learning_does_not_change_whom_a_plan_has_asked(scene):
    scene.hear(C, prepare())
    assert scene.hear(C, Learn(JOB, C)) == []
    assert scene.machine.expects(A, ProgramParcel(JOB, 10))


def test_a_program_too_large_to_learn_is_no_trouble_of_another_jobs_plan(scene):
    scene.hear(C, prepare())
    scene.hear(C, Learn(OTHER_JOB, A))
    assert scene.handle(ParcelRefused(A, ProgramParcel(OTHER_JOB, 2**40))) == []
    assert scene.machine.deadline() is not None


def test_a_repeated_prepare_repeats_the_answer_and_nothing_else(scene):
    scene.hear(C, prepare())
    assert scene.hear(C, prepare()) == []
    scene.handle(state())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.hear(C, prepare()) == []
    scene.handle(StagesBuilt(stamp(), "out of memory"))
    assert scene.hear(C, prepare()) == [SendMessage(C, Prepared(stamp(), "out of memory"))]


def test_a_newer_plan_replaces_the_older_and_keeps_the_program(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    later = stamp(version=2)
    assert scene.hear(C, prepare(later)) == [DropStages(stamp()), SendMessage(A, WantSnapshot(later, 2, 3, 0))]
    assert scene.handle(state()) == []
    assert scene.handle(StagesBuilt(stamp(), "")) == []
    assert scene.handle(state(of=later)) == [BuildStages(plan(later, (A, B)), spec(), 0)]


def test_parcels_from_others_than_the_holder_do_not_count(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(C, ProgramParcel(JOB, 10)))
    scene.handle(state(sender=C))
    scene.handle(state(first=0))
    assert scene.wake() == [SendMessage(A, WantProgram(JOB)), SendMessage(A, WANT)]


def test_a_refusal_blames_the_holder_and_not_this_node(scene):
    scene.hear(C, prepare())
    assert scene.hear(C, Refused(JOB, "no")) == []
    verdict = SendMessage(C, WorkFailed(stamp(), "gone", final=False, peer=A))
    assert scene.hear(A, Refused(JOB, "gone")) == [verdict]
    assert scene.machine.deadline() is None
    assert scene.hear(C, prepare()) == [verdict]


def test_a_plan_goes_on_from_any_version_with_layers_and_program_from_whoever_has_them(scene):
    assert scene.hear(C, prepare(version=7, holder=C, program_holder=B)) == [
        SendMessage(B, WantProgram(JOB)),
        SendMessage(C, WantSnapshot(stamp(), 2, 3, 7)),
    ]
    scene.handle(state(C, version=7))
    assert scene.handle(ParcelArrived(B, ProgramParcel(JOB, 10))) == [BuildStages(plan(stamp(), (A, B)), spec(), 7)]


def test_a_replica_is_not_what_was_asked_for(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.handle(state(replica=True)) == []


def test_a_halt_ends_older_plans_of_its_job_and_keeps_the_program(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.machine.halt(stamp()) == []
    assert scene.machine.halt(stamp(version=2, job=OTHER_JOB)) == []
    assert scene.machine.halt(stamp(version=2)) == [DropStages(stamp())]
    assert scene.machine.halt(stamp(version=2)) == []
    assert scene.machine.preparation is None
    assert scene.machine.has_program(JOB)


def test_what_came_before_a_halt_and_was_not_built_is_kept_for_the_next_plan(scene):
    halves = (Transfer(0, 1, 5, A), Transfer(2, 2, 5, C), Transfer(3, 3, 5, B))
    asked = replace(prepare(version=5), transfers=halves)
    scene.hear(C, asked)
    scene.handle(state(sender=C, first=2, last=2, version=5))
    later = stamp(version=2)
    assert scene.machine.arrived(later) == [KeepArrived(stamp(), 2, 2, 5)]
    assert scene.machine.arrived(stamp()) == scene.machine.arrived(replace(later, job=OTHER_JOB)) == []
    scene.handle(state(sender=A, first=0, last=1, version=5))
    scene.handle(state(sender=B, first=3, last=3, version=5))  # its own, which it holds already
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.machine.arrived(later) == [KeepArrived(stamp(), 0, 1, 5), KeepArrived(stamp(), 2, 2, 5)]
    scene.handle(StagesBuilt(stamp(), ""))
    assert scene.machine.arrived(later) == []
    scene.machine.halt(later)
    assert scene.machine.arrived(stamp(version=3)) == []


def test_what_could_not_be_built_is_not_kept_for_the_next_plan(scene):
    scene.hear(C, prepare())
    scene.handle(state())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    scene.handle(StagesBuilt(stamp(), "out of memory"))
    assert scene.machine.arrived(stamp(version=2)) == []


def test_what_came_before_another_holder_refused_is_kept_for_the_next_plan(scene):
    scene.hear(C, replace(prepare(version=5), transfers=(Transfer(2, 2, 5, A), Transfer(3, 3, 5, C))))
    scene.handle(state(first=2, last=2, version=5))
    assert scene.hear(C, Refused(JOB, "of an older plan", 4)) == scene.hear(C, Refused(JOB, "its program")) == []
    assert scene.hear(C, Refused(JOB, "it is gone", 5)) != []
    assert scene.machine.arrived(stamp(version=2)) == [KeepArrived(stamp(), 2, 2, 5)]


def test_a_program_found_on_disk_is_handed_out_and_not_asked_for(scene):
    assert not scene.machine.has_program(JOB)
    scene.handle(HeldFound(JOB, (), program=True, data=False))
    assert scene.machine.has_program(JOB)
    assert scene.hear(C, WantProgram(JOB)) == [SendProgram(C, JOB)]
    assert scene.hear(C, prepare()) == [SendMessage(A, WANT)]


def test_a_plan_is_not_changed_for_a_node_before_the_program_that_it_found_is_checked(scene):
    scene.handle(HeldFound(JOB, (), program=True, data=False))
    assert scene.hear(C, Learn(JOB, A)) == []
    assert scene.handle(ProgramLoaded(OTHER_JOB)) == scene.hear(C, Learn(JOB, A)) == []
    assert scene.handle(ProgramLoaded(JOB)) == []
    assert scene.hear(C, Learn(JOB, A)) == [SendMessage(C, Learned(JOB))]


def test_a_node_that_only_feeds_is_ready_at_once():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    assert scene.hear(C, prepare(nodes=(B,), to=A)) == [SendMessage(C, Prepared(stamp(), ""))]


def test_a_source_that_took_the_job_over_needs_its_program_to_write_the_result():
    scene = Scene(A)
    assert scene.hear(C, prepare(nodes=(B,), to=A, program_holder=B)) == [SendMessage(B, WantProgram(JOB))]
    assert scene.handle(ParcelArrived(B, ProgramParcel(JOB, 10))) == [SendMessage(C, Prepared(stamp(), ""))]


def test_a_program_is_handed_out_once_per_session():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    assert scene.hear(B, WantProgram(JOB)) == [SendProgram(B, JOB)]
    assert scene.hear(B, WantProgram(JOB)) == []
    assert scene.hear(C, WantProgram(JOB)) == [SendProgram(C, JOB)]
    scene.handle(LinkLost(B))
    assert scene.hear(B, WantProgram(JOB)) == [SendProgram(B, JOB)]
    scene.handle(MemberChanged(member(B, MemberState.DEAD), MemberState.ALIVE, ""))
    assert scene.hear(B, WantProgram(JOB)) == [SendProgram(B, JOB)]


def test_a_node_that_got_the_program_hands_it_out_too(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.hear(C, WantProgram(JOB)) == [SendProgram(C, JOB)]


def test_who_has_no_program_refuses(scene):
    (effect,) = scene.hear(C, WantProgram(JOB))
    assert effect.to == C
    assert isinstance(effect.message, Refused)


def test_drop_forgets_the_job():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    scene.hear(C, prepare(to=A))
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 10)))
    assert scene.machine.jobs() == {JOB}
    assert scene.machine.drop(JOB) == [DropStages(stamp())]
    assert scene.machine.jobs() == set()
    assert scene.machine.deadline() is None
    scene.machine.check()


@pytest.mark.parametrize("building", [False, True])
def test_a_plan_for_which_there_is_no_memory_is_given_back_to_the_leader(scene, building):
    scene.hear(C, prepare())
    if building:
        scene.handle(ParcelArrived(A, ProgramParcel(JOB, 1)))
        assert [type(effect) for effect in scene.handle(state())] == [BuildStages]
    verdict = SendMessage(C, WorkFailed(stamp(), "memory ran out", final=False, peer=B))
    assert scene.handle(MemoryRanOut(7, "memory ran out")) == [verdict]
    assert scene.handle(StagesBuilt(stamp(), "memory ran out")) == []
    assert scene.hear(C, prepare()) == [verdict]
    assert not scene.machine.expects(A, state().parcel)


def test_memory_that_runs_out_behind_the_preparation_is_told_by_who_runs_the_plan(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(A, ProgramParcel(JOB, 1)))
    scene.handle(state())
    scene.handle(StagesBuilt(stamp(), ""))
    assert scene.handle(MemoryRanOut(7, "memory ran out")) == []
