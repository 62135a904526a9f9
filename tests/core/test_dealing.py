"""Which works follow which route."""

from __future__ import annotations

import pytest

from edged.core.dealing import Dealing, inputs_of
from edged.core.job import LayerProfile, Phase, Work
from tests.core.miniature import make_plan, make_spec, pipeline

SPEC = make_spec(2, micro_batches=4, batch_size=8, samples=13, steps=4, epochs=2, eval_samples=11)
TWO = make_plan(((0, 2, 1),), ((1, 2, 1),), layers=2, micro_batches=4)


def numbers(works: tuple[Work, ...], phase: Phase) -> list[int]:
    return [work.micro_batch for work in works if work.phase is phase]


def test_a_step_is_dealt_out_as_the_plan_says():
    dealing = Dealing(TWO, SPEC)
    assert numbers(dealing.works_of(0, 0), Phase.TRAIN) == [0, 2]
    assert numbers(dealing.works_of(0, 1), Phase.TRAIN) == [1, 3]


def test_a_short_step_leaves_the_last_micro_batches_out():
    dealing = Dealing(TWO, SPEC)
    assert numbers(dealing.works_of(1, 0), Phase.TRAIN) == [0, 2]
    assert numbers(dealing.works_of(1, 1), Phase.TRAIN) == [1]
    assert dealing.samples(1) == 5
    assert dealing.weight(Work(1, Phase.TRAIN, 2)) == 1 / 5


def test_an_evaluation_goes_round_the_routes():
    dealing = Dealing(TWO, SPEC)
    assert numbers(dealing.works_of(2, 0), Phase.EVALUATE) == [0, 2, 4]
    assert numbers(dealing.works_of(2, 1), Phase.EVALUATE) == [1, 3, 5]
    assert dealing.weight(Work(2, Phase.EVALUATE, 5)) == 1 / 11


@pytest.mark.parametrize(
    ("work", "exists"),
    [
        (Work(0, Phase.TRAIN, 3), True),
        (Work(0, Phase.TRAIN, 4), False),
        (Work(1, Phase.TRAIN, 3), False),
        (Work(0, Phase.TRAIN, -1), False),
        (Work(4, Phase.TRAIN, 0), False),
        (Work(0, Phase.EVALUATE, 0), False),
        (Work(1, Phase.EVALUATE, 0), False),
        (Work(2, Phase.EVALUATE, 5), True),
        (Work(4, Phase.EVALUATE, 0), True),
        (Work(5, Phase.EVALUATE, 0), False),
    ],
)
def test_only_works_of_the_job_exist(work, exists):
    assert Dealing(pipeline(2, 4), SPEC).exists(work) is exists


def test_a_hop_gets_the_inputs_that_its_layers_use_and_the_first_always_gets_some():
    layers = tuple(LayerProfile(1.0, 1.0, 1, 1, 1, 1, used) for used in ((), (2, 0), (), (0, 1)))
    spec = make_spec(4, layers=layers)
    hops = make_plan(((0, 1, 1), (1, 1, 1), (2, 1, 1), (3, 1, 1)), layers=4, micro_batches=4).routes[0].hops
    assert [inputs_of(spec, h, hop) for h, hop in enumerate(hops)] == [(), (0, 2), None, (0, 1)]
