"""The losses of a job: all of the newest, fewer of the older, none that were rolled back."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from edged.roles.losses import OLDER, RECENT, Losses


def run(steps: int) -> Losses:
    losses = Losses()
    for step in range(1, steps + 1):
        losses.add(step, 1 / step)
    return losses


@pytest.mark.parametrize("steps", [0, 1, RECENT, RECENT + 1, RECENT + OLDER, RECENT + OLDER + 1, 5000, 40_000])
def test_the_newest_steps_are_all_there_and_the_whole_run_is_covered(steps: int) -> None:
    points = run(steps).points()
    assert points == sorted(set(points))
    assert len(points) <= RECENT + OLDER
    assert [step for step, _ in points[-RECENT:]] == list(range(max(1, steps - RECENT + 1), steps + 1))
    assert all(loss == 1 / step for step, loss in points)
    if steps:
        assert points[0] == (1, 1.0)
        apart = [after - before for (before, _), (after, _) in pairwise(points)]
        assert max(apart, default=1) <= max(1, 2 * steps // (OLDER // 2))


def test_a_short_run_is_kept_whole() -> None:
    assert [step for step, _ in run(RECENT + OLDER).points()] == list(range(1, RECENT + OLDER + 1))


def test_steps_that_are_done_again_replace_those_from_there_on() -> None:
    losses = run(20)
    losses.add(8, 0.5)
    assert [step for step, _ in losses.points()] == list(range(1, 9))
    assert losses.newest() == (8, 0.5)


def test_steps_before_the_first_are_taken_in_from_others_and_own_ones_stay() -> None:
    losses = Losses()
    losses.add(700, 0.25)
    losses.add(701, 0.5)
    losses.prepend([(step, 1 / step) for step, _ in reversed(run(700).points())])
    assert losses.points()[-2:] == [(700, 0.25), (701, 0.5)]
    assert losses.points()[:2] == [(1, 1.0), run(700).points()[1]]
    assert (losses.first(), losses.newest()) == (1, (701, 0.5))
    losses.prepend([(0, 3.0), (5, 9.0)])
    assert losses.points()[0] == (0, 3.0)
    assert all(loss != 9.0 for _, loss in losses.points())


def test_a_curve_of_others_is_bounded_as_any() -> None:
    losses = Losses()
    for step in range(10_000, 10_000 + RECENT + OLDER):
        losses.add(step, 1.0)
    losses.prepend(run(9999).points())
    assert len(losses.points()) <= RECENT + OLDER
    assert losses.points() == sorted(losses.points())
    assert losses.first() == 1


def test_without_a_step_there_is_none() -> None:
    assert Losses().newest() is None
    assert Losses().points() == []


@pytest.mark.parametrize("seed", range(30))
def test_after_any_roll_backs_the_points_are_those_of_the_steps_that_count(seed: int) -> None:
    """Against a dictionary of all steps."""
    rng = random.Random(seed)
    losses, truth, step = Losses(), {}, 0
    for _ in range(rng.randint(1, 4000)):
        step = step + 1 if rng.random() > 0.01 else rng.randint(1, step + 1)
        loss = rng.random()
        for known in [known for known in range(step, max(truth, default=0) + 1) if known in truth]:
            del truth[known]
        truth[step] = loss
        losses.add(step, loss)
    points = losses.points()
    assert all(truth[known] == loss for known, loss in points)
    assert points == sorted(points)
    assert losses.newest() == (step, truth[step])
    assert points[0][0] == min(truth)
