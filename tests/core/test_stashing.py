"""Asynchronous jobs: gates, spans, boundaries; and that no timing changes which weights meet which micro-batch."""

from __future__ import annotations

import os
import random
from dataclasses import replace

import pytest

from edged.core.effects import RunBackward, RunForward, RunUpdate
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Drain, Drained, StepReport
from edged.core.plan import Plan, PlanError
from edged.core.schedule import Schedule
from edged.core.stashing import Span, check_plan
from tests.core.miniature import SOURCE, STAMP, Miniature, make_plan, make_spec, node

SEEDS = int(os.environ.get("EDGED_SEEDS", "400"))


def asynchronous(hops: int, steps: int = 8, /, **changes: object) -> tuple[Plan, JobSpec]:
    """A pipeline of ``hops`` stages of one layer, and a job of so many micro-batches."""
    plan = make_plan(tuple((h, 1, hops - h) for h in range(hops)), layers=hops, micro_batches=1)
    return plan, make_spec(hops, mode="async", micro_batches=1, steps=steps, **changes)


def used(job: Miniature) -> dict[tuple[int, int], int]:
    """Weight version that stage s computed micro-batch i's forward with, by (s, i); backwards in ascending order."""
    versions: dict[tuple[int, int], int] = {}
    at = dict.fromkeys(job.plan.nodes(), job.version)
    for each in job.computed:
        match each.effect:
            case RunForward(_, _, hop, work):
                if work.phase is Phase.TRAIN:
                    versions[hop, work.version] = at[each.node]
                else:
                    assert at[each.node] == work.version, "evaluated with other weights"
            case RunBackward(_, _, _, work):
                assert work.version == at[each.node], "a backward before the update of the one before"
            case RunUpdate(_, version):
                assert version == at[each.node] + 1
                at[each.node] = version
    return versions


def recurrence(plan: Plan, spec: JobSpec, start: int, stop: int) -> dict[tuple[int, int], int]:
    """What they should be: ``max(b, i - (S - 1 - s))``."""
    stages, b, found = len(plan.routes[0].hops), start, {}
    for i in range(start, stop):
        b = i if spec.evaluates_at(i) else b
        for s in range(stages):
            found[s, i] = max(b, i - (stages - 1 - s))
    return found


def jittered(seed: int, hops: int, **changes: object) -> Miniature:
    rng = random.Random(seed)
    plan, spec = asynchronous(hops, rng.randint(1, 12), **changes)
    slowness = [rng.choice([0.1, 1.0, 10.0]) for _ in range(hops)]

    def seconds(effect):
        hop = getattr(effect, "hop", 0)
        return rng.choice([0.0, rng.expovariate(1.0)]) * slowness[hop]

    far = rng.choice([0.0, 0.1, 5.0])
    return Miniature(
        plan,
        spec,
        version=0,
        seconds=seconds,
        delay=lambda: far * rng.random(),
        loss=rng.choice([0.0, 0.0, 0.3]),
        seed=seed,
        every=rng.choice([0, 1, 3]),
    )


@pytest.mark.parametrize("block", range(SEEDS // 40))
def test_no_timing_changes_which_version_meets_which_micro_batch(block):
    for seed in range(40 * block, 40 * block + 40):
        job = jittered(seed, 1 + seed % 5, eval_samples=[0, 0, 3][seed % 3]).run()
        assert used(job) == recurrence(job.plan, job.spec, 0, job.spec.steps), f"seed {seed}: {job.trace()}"
        assert job.verdict.problem == ""
        assert job.written == [(job.spec.steps, 0)]


@pytest.mark.parametrize("seed", range(100))
def test_a_drain_at_any_moment_empties_the_pipeline_and_changes_nothing_before(seed):
    job = jittered(seed, 1 + seed % 5, epochs=3, eval_samples=[0, 2][seed % 2])
    job.hear(Drain(STAMP), at=random.Random(seed).uniform(0.0, 20.0))
    job.run_until(300.0)
    drained = [message.version for _, message in job.messages if isinstance(message, Drained)]
    if job.verdict is not None:
        assert not drained
        return
    (at,) = set(drained)
    assert {schedule.version for schedule in job.schedules.values()} == {at}
    assert used(job) == recurrence(job.plan, job.spec, 0, at)
    assert not any(job.flight.values())


def test_the_picture_of_three_stages():
    plan, spec = asynchronous(3, 5)
    job = Miniature(plan, spec).run()
    traces = [job.schedules[node(h)].trace for h in range(3)]
    assert traces == [
        "0F0 0F0 0F0 0B0 0F0 0B0 0F0 0B0 0B0 0B0",
        "1F0 1F0 1B0 1F0 1B0 1F0 1B0 1F0 1B0 1B0",
        "2F0 2B0 2F0 2B0 2F0 2B0 2F0 2B0 2F0 2B0",
    ]


def test_every_stage_is_busy_all_the_time_between_filling_and_draining():
    """Three stages of equal speed: the last one never waits once it has begun; sync, it idles at every step."""
    plan, spec = asynchronous(3, 40)
    job = Miniature(plan, spec).run()
    last = [each for each in job.computed if each.node == node(2) and not isinstance(each.effect, RunUpdate)]
    assert last[-1].began - last[0].began == pytest.approx(2 * 40 - 1)


def test_steps_are_reported_one_for_each_micro_batch():
    plan, spec = asynchronous(2, 6)
    job = Miniature(plan, spec).run()
    steps = [m.step for to, m in job.messages if isinstance(m, StepReport) and to == SOURCE]
    assert steps == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("seed", range(50))
def test_copies_are_taken_between_an_update_and_the_next_and_never_wait_for_an_empty_pipeline(seed):
    job = jittered(seed, 1 + seed % 4)
    job.export(7, at=random.Random(seed).uniform(0.0, 10.0))
    job.run()
    assert 0 in [token for _, token in job.written]
    every = next(iter(job.schedules.values())).snapshots.every
    due = {v for v in range(job.spec.steps + 1) if v == 0 or (every and v % every == 0)}
    assert {(where, version) for where, _, _, version in job.snapshots} == {
        (where, version) for where in job.plan.nodes() for version in due
    }


def test_a_span_lists_its_evaluation_and_one_work_for_each_version():
    evaluation = (Work(4, Phase.EVALUATE, 0), Work(4, Phase.EVALUATE, 1))
    span = Span(evaluation, 4, 7)
    assert list(span) == [*evaluation, *(Work(v, Phase.TRAIN, 0) for v in (4, 5, 6))]
    assert list(span[1:3]) == [evaluation[1], Work(4, Phase.TRAIN, 0)]
    assert span[-1] == Work(6, Phase.TRAIN, 0)
    assert len(Span((), 10**9, 2 * 10**9)) == 10**9


def test_the_barrier_is_the_next_evaluation_or_the_end():
    spec = make_spec(2, mode="async", micro_batches=1, steps=7, samples=6, epochs=3, eval_samples=1)
    assert [spec.barrier_after(v) for v in range(7)] == [3, 3, 3, 6, 6, 6, 7]
    assert replace(spec, eval_samples=0).barrier_after(0) == 7
    assert spec.barrier_after(7) == 7


@pytest.mark.parametrize(
    ("plan", "reason"),
    [
        (
            make_plan(((0, 1, 3), (1, 1, 1)), layers=2, micro_batches=1),
            r"windows of \[2, 1\], hop by hop, not",
        ),
        (make_plan(((0, 1, 2), (0, 1, 1)), layers=2, micro_batches=1), "each node once"),
        (make_plan(((0, 1, 2), (1, 1, 1)), layers=2, micro_batches=2), "one route, and every step is one micro-batch"),
    ],
)
def test_a_plan_that_cannot_be_followed_is_refused(plan, reason):
    with pytest.raises(PlanError, match=reason):
        check_plan(plan)
    with pytest.raises(PlanError, match=reason):
        Schedule(plan, make_spec(2, mode="async", micro_batches=plan.micro_batches), SOURCE, 0)


def test_a_boundary_below_what_has_begun_cuts_nothing_that_has():
    plan, spec = asynchronous(2, 8)
    job = Miniature(plan, spec)
    job.run_until(2.5)
    begun = max(each.effect.work.version for each in job.computed if isinstance(each.effect, RunForward))
    job.schedules[SOURCE]._stages[0].bound(0)
    assert job.schedules[SOURCE]._stages[0]._end >= begun
    job.schedules[SOURCE].check()
