"""A node's side of getting ready, and the source's side of handing out."""

from itertools import pairwise

import pytest

from edged.core.effects import BuildStages, DropStages, SendFirstState, SendMessage, SendProgram
from edged.core.events import (
    JobSubmitted,
    LinkLost,
    MemberChanged,
    MessageReceived,
    ParcelArrived,
    StagesBuilt,
    TimerFired,
)
from edged.core.messages import (
    MemberState,
    Prepare,
    Prepared,
    ProgramParcel,
    Refused,
    StateParcel,
    Transfer,
    WantProgram,
    WantState,
)
from edged.core.migration import SLOWEST_SECONDS, Migration
from tests.core.job_sample import JOB, A, B, C, member, plan, spec, stamp

WANT = WantState(stamp(), 2, 3, 0)


def prepare(of=None, nodes=(A, B), to=B):
    chosen = plan(of or stamp(), nodes)
    transfers = tuple(Transfer(h.first_layer, h.last_layer, 0, A) for _, _, h in chosen.hops_of(to))
    return Prepare(chosen, spec(), transfers)


def state(sender=A, of=None, first=2, last=3):
    return ParcelArrived(sender, StateParcel(of or stamp(), first, last, 0, (), b""))


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
    assert scene.hear(C, prepare(later)) == [DropStages(stamp()), SendMessage(A, WantState(later, 2, 3, 0))]
    assert scene.handle(state()) == []
    assert scene.handle(StagesBuilt(stamp(), "")) == []
    assert scene.handle(state(of=later)) == [BuildStages(plan(later, (A, B)), spec(), 0)]


def test_parcels_from_others_than_the_holder_do_not_count(scene):
    scene.hear(C, prepare())
    scene.handle(ParcelArrived(C, ProgramParcel(JOB, 10)))
    scene.handle(state(sender=C))
    scene.handle(state(first=0))
    assert scene.wake() == [SendMessage(A, WantProgram(JOB)), SendMessage(A, WANT)]


def test_a_refusal_is_the_verdict(scene):
    scene.hear(C, prepare())
    assert scene.hear(C, Refused(JOB, "no")) == []
    assert scene.hear(A, Refused(JOB, "gone")) == [SendMessage(C, Prepared(stamp(), "gone"))]
    assert scene.machine.deadline() is None


def test_a_node_that_only_feeds_is_ready_at_once():
    scene = Scene(A)
    assert scene.hear(C, prepare(nodes=(B,), to=A)) == [SendMessage(C, Prepared(stamp(), ""))]


def test_the_source_serves_each_question_once_per_session():
    scene = Scene(A)
    scene.handle(JobSubmitted(spec()))
    assert scene.hear(B, WantProgram(JOB)) == [SendProgram(B, JOB)]
    assert scene.hear(B, WANT) == [SendFirstState(B, stamp(), 2, 3)]
    assert scene.hear(B, WantProgram(JOB)) == []
    assert scene.hear(C, WantProgram(JOB)) == [SendProgram(C, JOB)]
    scene.handle(LinkLost(B))
    assert scene.hear(B, WANT) == [SendFirstState(B, stamp(), 2, 3)]
    scene.handle(MemberChanged(member(B, MemberState.DEAD), MemberState.ALIVE, ""))
    assert scene.hear(B, WANT) == [SendFirstState(B, stamp(), 2, 3)]


def test_who_is_not_the_source_refuses(scene):
    (effect,) = scene.hear(C, WantProgram(JOB))
    assert effect.to == C
    assert isinstance(effect.message, Refused)


def test_a_state_of_a_running_version_is_not_for_migration(scene):
    assert scene.hear(C, WantState(stamp(), 2, 3, 5)) == []


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
