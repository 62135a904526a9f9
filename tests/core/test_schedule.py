"""The order of a node's computations, as grids and in words."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from edged.core.effects import RunBackward, RunForward, RunUpdate, SendMessage, SendState, TakeSnapshot
from edged.core.events import (
    BackwardDone,
    ComputeFailed,
    ForwardDone,
    LeaderChanged,
    MessageReceived,
    ParcelArrived,
    ParcelLost,
    TimerFired,
    UpdateDone,
)
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import (
    Activation,
    EvalReport,
    Inputs,
    Refused,
    Result,
    StateParcel,
    Taken,
    Updated,
    WantProgress,
    WantState,
    WorkFailed,
)
from edged.core.schedule import Schedule
from edged.errors import BrokenInvariantError
from tests.core.miniature import SOURCE, STAMP, Miniature, make_plan, make_spec, node, passes, pipeline

GOLDEN = Path(__file__).parents[1] / "golden" / "one_forward_one_backward.txt"


def grid(job: Miniature) -> str:
    """A row for each unit of time, a column for each hop."""
    rows: dict[float, dict[int, str]] = {}
    hops = len(job.plan.routes[0].hops)
    for each in job.computed:
        if isinstance(each.effect, RunForward | RunBackward):
            letter = "F" if isinstance(each.effect, RunForward) else "B"
            h = each.effect.hop
            rows.setdefault(each.began, {})[h] = f"{h}{letter}{each.effect.work.micro_batch}"
    lines = [" ".join(row.get(h, "...") for h in range(hops)) for _, row in sorted(rows.items())]
    return "\n".join(lines) + "\n"


def golden() -> dict[tuple[int, int], str]:
    """The grids of the file, by number of hops and of micro-batches."""
    sections = GOLDEN.read_text(encoding="utf-8").split("# ")[2:]
    grids = {}
    for section in sections:
        title, _, body = section.partition("\n")
        hops, micro_batches = (int(word) for word in title.split() if word.isdigit())
        grids[hops, micro_batches] = body.strip("\n") + "\n"
    return grids


@pytest.mark.parametrize("hops", range(1, 5))
@pytest.mark.parametrize("micro_batches", range(1, 9))
def test_a_step_fills_the_grid_of_one_forward_one_backward(hops, micro_batches):
    spec = make_spec(hops, steps=1, micro_batches=micro_batches)
    job = Miniature(pipeline(hops, micro_batches), spec).run()
    assert grid(job) == golden()[hops, micro_batches]


@pytest.mark.parametrize("hops", range(1, 5))
@pytest.mark.parametrize("micro_batches", range(1, 9))
def test_each_hop_follows_the_published_order_whatever_the_times(hops, micro_batches):
    spec = make_spec(hops, steps=1, micro_batches=micro_batches)
    job = Miniature(
        pipeline(hops, micro_batches),
        spec,
        seconds=lambda effect: {RunForward: 1.0, RunBackward: 2.5}.get(type(effect), 0.1),
        delay=lambda: 0.7,
    ).run()
    for h in range(hops):
        warm = min(hops - h, micro_batches)
        expected = [f"0F{m}" for m in range(warm)]
        for m in range(micro_batches):
            expected.append(f"0B{m}")
            expected += [f"0F{m + warm}"] if m + warm < micro_batches else []
        assert passes(job)[0, h] == expected


def test_wider_windows_are_filled():
    plan = make_plan(((0, 1, 3), (1, 1, 1)), layers=2, micro_batches=6)
    job = Miniature(plan, make_spec(2, steps=1, micro_batches=6), delay=lambda: 1.0).run()
    assert passes(job)[0, 0][:4] == ["0F0", "0F1", "0F2", "0B0"]


def test_a_node_that_a_route_visits_twice_prefers_what_is_deeper():
    plan = make_plan(((0, 1, 3), (1, 1, 2), (0, 1, 1)), layers=3, micro_batches=3)
    job = Miniature(plan, make_spec(3, steps=1, micro_batches=3)).run()
    assert job.schedules[SOURCE].trace == "0F0 0F1 0F2 2F0 2B0 2F1 2B1 0B0 2F2 0B1 2B2 0B2"
    assert job.schedules[node(1)].trace == "1F0 1F1 1B0 1F2 1B1 1B2"


# ------------------------------------------------------------------------------------------------------ by hand


def alone(**changes) -> Schedule:
    spec = make_spec(1, **{"micro_batches": 2, "steps": 2, **changes})
    schedule = Schedule(pipeline(1, 2), spec, SOURCE, 0)
    assert schedule.handle(TimerFired(), 0.0) == [TakeSnapshot(STAMP, 0, 0, 0)]
    return schedule


def inputs(m: int, version: int = 0) -> ParcelArrived:
    return ParcelArrived(SOURCE, Inputs(STAMP, 0, 0, Work(version, Phase.TRAIN, m), ()))


def done(effect: object, loss: float = 1.0) -> object:
    match effect:
        case RunForward(stamp, r, h, work):
            return ForwardDone(stamp, r, h, work, 0.5, loss, ())
        case RunBackward(stamp, r, h, work):
            return BackwardDone(stamp, r, h, work, 1.0)
        case RunUpdate(stamp, version):
            return UpdateDone(stamp, version, 0.25, 0.1)
    raise AssertionError(effect)


def through(schedule: Schedule, event: object, now: float = 0.0) -> list:
    """Answer every computation at once until nothing computes; all effects."""
    effects: list = []
    waiting = schedule.handle(event, now)
    while waiting:
        effects += waiting
        computing = [e for e in waiting if isinstance(e, RunForward | RunBackward | RunUpdate)]
        waiting = schedule.handle(done(computing[0]), now) if computing else []
    return effects


def test_the_updated_message_sums_up_the_step():
    schedule = alone()
    effects = through(schedule, inputs(0)) + through(schedule, inputs(1))
    updated = [e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Updated)]
    assert updated == [Updated(STAMP, 0, 0, 1, 3.25, 0.1)]
    assert schedule.version == 1
    assert schedule.trace == "0F0 0B0 0F1 0B1"


def test_what_the_source_missed_is_said_again_until_it_is_known():
    schedule = alone()
    through(schedule, inputs(0))
    through(schedule, inputs(1))
    first, second = Work(0, Phase.TRAIN, 0), Work(0, Phase.TRAIN, 1)

    def again(version: int, missing: Work) -> list:
        want = MessageReceived(SOURCE, WantProgress(STAMP, version, missing))
        return [effect.message for effect in schedule.handle(want, 1.0)]

    updated = Updated(STAMP, 0, 0, 1, 3.25, 0.1)
    assert again(0, first) == [
        Taken(STAMP, second),
        Result(STAMP, first, 1.0, ()),
        Result(STAMP, second, 1.0, ()),
        updated,
    ]
    assert again(0, second) == [Taken(STAMP, second), Result(STAMP, second, 1.0, ()), updated]
    assert again(1, Work(1, Phase.TRAIN, 0)) == [Taken(STAMP, second)]


def test_only_the_source_is_told_again():
    schedule = alone()
    through(schedule, inputs(0))
    want = WantProgress(STAMP, 0, Work(0, Phase.TRAIN, 0))
    assert schedule.handle(MessageReceived(node(7), want), 1.0) == []


@pytest.mark.parametrize("loss", [float("nan"), float("inf"), -float("inf")])
def test_a_loss_that_is_not_finite_stops_the_node_and_is_repeated(loss):
    schedule = alone()
    (run,) = schedule.handle(inputs(0), 0.0)
    effects = schedule.handle(done(run, loss), 0.0)
    failed = WorkFailed(STAMP, f"the loss of step 1, micro-batch 0 is {loss}", final=True, peer=SOURCE)
    assert [e for e in effects if isinstance(e, SendMessage) and isinstance(e.message, WorkFailed)] == [
        SendMessage(SOURCE, failed)
    ]
    assert schedule.handle(inputs(1), 0.1) == []
    assert schedule.deadline() == 0.5
    assert schedule.handle(LeaderChanged(node(3), 2), 0.2) == []
    assert schedule.handle(TimerFired(), 0.5) == [SendMessage(SOURCE, failed)]
    schedule.check()


def test_an_evaluation_that_is_not_a_number_is_a_result_like_any_other():
    spec = make_spec(1, steps=1, samples=8, batch_size=8, micro_batches=4, eval_samples=4)
    job = Miniature(pipeline(1, 4), spec)
    job.losses = lambda work: float("nan") if work.phase is Phase.EVALUATE else 1.0
    verdict = job.run().verdict
    assert verdict is not None
    assert verdict.problem == ""
    (report,) = [m for to, m in job.messages if to == SOURCE and isinstance(m, EvalReport)]
    assert math.isnan(report.loss)


def test_a_failed_computation_ends_the_job_with_its_reason():
    schedule = alone()
    schedule.handle(inputs(0), 0.0)
    effects = schedule.handle(ComputeFailed(STAMP, "out of memory"), 0.0)
    assert SendMessage(SOURCE, WorkFailed(STAMP, "out of memory", final=True, peer=SOURCE)) in effects


@pytest.mark.parametrize("answer", [ForwardDone(STAMP, 0, 0, Work(0, Phase.TRAIN, 0), 1.0, 1.0, ()), "out of memory"])
def test_what_was_computing_when_a_parcel_failed_may_still_answer(answer):
    schedule = alone()
    assert any(isinstance(effect, RunForward) for effect in schedule.handle(inputs(0), 0.0))
    schedule.handle(ComputeFailed(STAMP, "a parcel does not fit"), 0.1)
    late = ComputeFailed(STAMP, answer) if isinstance(answer, str) else answer
    assert schedule.handle(late, 0.2) == []
    failed = WorkFailed(STAMP, "a parcel does not fit", final=True, peer=SOURCE)
    assert SendMessage(SOURCE, failed) in schedule.handle(TimerFired(), 0.7)
    schedule.check()


def test_state_is_copied_before_anything_trains_from_it():
    schedule = alone()
    want = WantState(STAMP, 0, 0, 1)
    assert schedule.handle(MessageReceived(node(2), want), 0.0) == []
    through(schedule, inputs(0))
    schedule.handle(inputs(0, version=1), 0.0)
    effects = through(schedule, inputs(1))
    copy = effects.index(SendState(node(2), STAMP, 0, 0, 1))
    first = next(i for i, e in enumerate(effects) if isinstance(e, RunForward) and e.work.version == 1)
    assert copy == first - 1
    assert schedule.handle(MessageReceived(node(2), want), 0.0) == []
    (refused,) = schedule.handle(MessageReceived(node(4), want), 0.0)
    assert refused == SendMessage(node(4), Refused(STAMP.job, "version 1 of layer 0 has been trained on", 1))


def test_a_copy_waits_until_nothing_computes():
    schedule = alone(samples=4, batch_size=4, epochs=2, eval_samples=4)
    through(schedule, inputs(0))
    through(schedule, inputs(1))
    (run,) = schedule.handle(ParcelArrived(SOURCE, Inputs(STAMP, 0, 0, Work(1, Phase.EVALUATE, 0), ())), 0.0)
    assert isinstance(run, RunForward)
    want = MessageReceived(node(2), WantState(STAMP, 0, 0, 1))
    assert schedule.handle(want, 0.0) == []
    assert SendState(node(2), STAMP, 0, 0, 1) in schedule.handle(done(run), 0.0)


def test_layers_that_are_elsewhere_are_refused():
    schedule = alone()
    (refused,) = schedule.handle(MessageReceived(node(2), WantState(STAMP, 0, 3, 1)), 0.0)
    assert refused == SendMessage(node(2), Refused(STAMP.job, "layers 0–3 are not on this node", 1))


def test_a_parcel_for_a_hop_that_is_not_here_is_dropped_with_a_warning():
    schedule = alone()
    parcel = Activation(STAMP, 0, 3, Work(0, Phase.TRAIN, 0), (), ())
    (log,) = schedule.handle(ParcelArrived(node(1), parcel), 0.0)
    assert log.text == "Activation of step 1, micro-batch 0 from node1 dropped: this node has no such hop"


def test_answers_and_parcels_of_another_plan_do_nothing():
    schedule = alone()
    old = Stamp(JobId("job"), 1, 0)
    assert schedule.handle(ForwardDone(old, 0, 0, Work(0, Phase.TRAIN, 0), 1.0, 1.0, ()), 0.0) == []
    assert schedule.handle(ParcelArrived(SOURCE, Inputs(old, 0, 0, Work(0, Phase.TRAIN, 0), ())), 0.0) == []
    assert schedule.handle(ComputeFailed(old, "old"), 0.0) == []


def test_an_answer_to_nothing_is_our_own_fault():
    with pytest.raises(BrokenInvariantError, match="answers nothing"):
        alone().handle(ForwardDone(STAMP, 0, 0, Work(0, Phase.TRAIN, 0), 1.0, 1.0, ()), 0.0)


def test_a_layer_on_two_nodes_is_refused():
    plan = make_plan(((0, 1, 1),), ((1, 1, 1),), layers=1, micro_batches=2)
    with pytest.raises(BrokenInvariantError, match="layer 0 is on source and on node1"):
        Schedule(plan, make_spec(1, micro_batches=2), NodeId("node1"), 0)


def test_a_broken_window_is_shown_with_what_was_computed():
    schedule = alone()
    schedule.handle(inputs(0), 0.0)
    schedule._stages[0]._forward = 2
    with pytest.raises(BrokenInvariantError, match="2 in flight, window 1; computed so far: 0F0 <-- here"):
        schedule.check()


# ----------------------------------------------------------------------------------------------------- snapshots


def test_snapshots_are_taken_of_the_first_version_and_of_every_one_that_the_interval_divides():
    job = Miniature(pipeline(2, 4), make_spec(2, steps=9), version=1)
    for schedule in job.schedules.values():
        schedule.snapshots.every = 4
    job.run()
    assert sorted(version for at, *_, version in job.snapshots if at == SOURCE) == [1, 4, 8]
    assert len(job.snapshots) == 6


def test_two_routes_over_the_same_layers_are_one_snapshot():
    plan = make_plan(((0, 1, 1),), ((0, 1, 1),), layers=1, micro_batches=2)
    schedule = Schedule(plan, make_spec(1, micro_batches=2), SOURCE, 0)
    assert schedule.handle(TimerFired(), 0.0) == [TakeSnapshot(STAMP, 0, 0, 0)]


def test_an_interval_that_is_heard_of_late_counts_only_until_something_trains():
    schedule = alone()
    through(schedule, inputs(0))
    through(schedule, inputs(1))
    schedule.snapshots.every = 1
    assert schedule.handle(TimerFired(), 0.0) == [TakeSnapshot(STAMP, 0, 0, 1)]
    schedule.snapshots.every = 0
    through(schedule, inputs(0, version=1))
    through(schedule, inputs(1, version=1))
    assert schedule.version == 2
    assert schedule.handle(TimerFired(), 0.0) == []


def test_state_stands_between_the_update_and_the_next_training_forward():
    schedule = alone(samples=4, batch_size=4, epochs=2, eval_samples=4)
    assert schedule.standing() == [TakeSnapshot(STAMP, 0, 0, 0)]
    (run,) = schedule.handle(inputs(0), 0.0)
    assert schedule.standing() == []
    through(schedule, done(run))
    assert schedule.standing() == []
    through(schedule, inputs(1))
    assert schedule.standing() == [TakeSnapshot(STAMP, 0, 0, 1)]
    schedule.handle(ParcelArrived(SOURCE, Inputs(STAMP, 0, 0, Work(1, Phase.EVALUATE, 0), ())), 0.0)
    assert schedule.standing() == [TakeSnapshot(STAMP, 0, 0, 1)]


def test_a_copy_that_was_lost_may_be_asked_for_again():
    schedule = alone()
    want = MessageReceived(node(2), WantState(STAMP, 0, 0, 0))
    (copy,) = schedule.handle(want, 0.0)
    assert copy == SendState(node(2), STAMP, 0, 0, 0)
    assert schedule.handle(want, 0.0) == []
    schedule.handle(ParcelLost(node(2), StateParcel(STAMP, 0, 0, 0, (), b"", replica=True)), 0.0)
    assert schedule.handle(want, 0.0) == []
    schedule.handle(ParcelLost(node(2), StateParcel(STAMP, 0, 0, 0, (), b"", replica=False)), 0.0)
    assert schedule.handle(want, 0.0) == [copy]


def test_a_node_with_nothing_new_still_answers():
    plan = pipeline(2, 2)
    schedule = Schedule(plan, make_spec(2, micro_batches=2), node(1), 0)
    schedule.handle(TimerFired(), 0.0)
    want = WantProgress(STAMP, 0, Work(0, Phase.TRAIN, 0))
    (sign,) = schedule.handle(MessageReceived(SOURCE, want), 0.0)
    assert sign == SendMessage(SOURCE, Updated(STAMP, 0, 1, 0, 0.0, 0.0))


# ----------------------------------------------------------------------------------------------- skipped updates


@pytest.mark.parametrize("clips", [False, True])
@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_a_loss_that_is_not_a_number_skips_its_step_on_all_nodes_alike(clips, loss):
    job = Miniature(pipeline(3, 4), make_spec(3, steps=5, clips=clips, on_nan="skip"), loss=loss)
    job.losses = lambda work: float("nan") if (work.version, work.micro_batch) == (2, 1) else 1.0
    verdict = job.run().verdict
    assert verdict is not None
    assert (verdict.problem, verdict.step) == ("", 5)
    assert job.skipped == {(at, 3) for at in job.plan.nodes()}


def test_a_node_alone_skips_too():
    schedule = alone(on_nan="skip")
    (run,) = schedule.handle(inputs(0), 0.0)
    through(schedule, done(run, float("inf")))
    updates = [e for e in through(schedule, inputs(1)) if isinstance(e, RunUpdate)]
    assert updates == [RunUpdate(STAMP, 1, None, skip=True)]
    through(schedule, inputs(0, version=1))
    updates = [e for e in through(schedule, inputs(1, version=1)) if isinstance(e, RunUpdate)]
    assert updates == [RunUpdate(STAMP, 2, None, skip=False)]
