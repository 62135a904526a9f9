"""The first promise: equal weights, bit for bit, of a plain loop, ``train_local``, and 1, 2, 3 and 5 nodes."""

from __future__ import annotations

from functools import cache, partial

import pytest
import torch

import edged
from edged.cli.demo_nodes import DemoNode
from edged.compute.result import Result
from edged.job import Job
from tests.compute.models import CASES, gpt2
from tests.equality.plain import Rows, plain_loop, sha256
from tests.equality.sizes import SLOWDOWNS

SAMPLES, STEPS = 26, 4
BARE_CASE = "lstm"
"""The model that is also trained without clipping and without a scheduler."""

OPTIMIZERS = {
    "sgd-clipped": {
        "optimizer": partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=1e-4),
        "scheduler": partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=7),
        "clip_norm": 0.5,
    },
    "adamw-clipped": {
        "optimizer": partial(torch.optim.AdamW, lr=2e-3),
        "scheduler": partial(torch.optim.lr_scheduler.OneCycleLR, max_lr=0.01, total_steps=STEPS + 2),
        "clip_norm": 0.5,
    },
    "adamw-bare": {"optimizer": partial(torch.optim.AdamW, lr=2e-3), "scheduler": None, "clip_norm": None},
}
COMBINATIONS = [
    (case, optimizer) for case in CASES for optimizer in OPTIMIZERS if optimizer != "adamw-bare" or case == BARE_CASE
]


def make_job(case: str, optimizer: str) -> Job:
    """A fresh job: 26 samples in batches of 8 (the last of an epoch has 2), so steps of 4, 4, 4 and 1 micro-batches."""
    found = CASES[case]
    return Job(
        name=f"{case}-{optimizer}",
        model=found.build(),
        objective=found.objective,
        data=Rows(found.batch(SAMPLES, 3), SAMPLES),
        batch_size=8,
        micro_batches=4,
        strategy="spread",
        epochs=2,
        seed=5,
        max_steps=STEPS + 1,
        drop_last=False,
        **OPTIMIZERS[optimizer],
    )


@cache
def reference(case: str, optimizer: str) -> str:
    """Fingerprint of the plain loop's weights."""
    return sha256(plain_loop(make_job(case, optimizer)))


@cache
def alone(case: str, optimizer: str) -> Result:
    """What ``train_local`` gives."""
    return edged.train_local(make_job(case, optimizer))


@pytest.mark.parametrize(("case", "optimizer"), COMBINATIONS)
def test_training_on_this_device_equals_the_plain_loop(case: str, optimizer: str) -> None:
    result = alone(case, optimizer)
    assert result.steps == STEPS + 1
    assert result.state_sha256 == reference(case, optimizer)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_training_on_a_cluster_equals_the_plain_loop(cluster: list[DemoNode], case: str) -> None:
    """Each optimizer in turn: all that a case has meet it at one size or another."""
    optimizers = [optimizer for name, optimizer in COMBINATIONS if name == case]
    turn = list(SLOWDOWNS).index(len(cluster)) + list(CASES).index(case)
    expect_the_plain_loop(cluster, case, optimizers[turn % len(optimizers)])


@pytest.mark.proof
@pytest.mark.parametrize(("case", "optimizer"), COMBINATIONS)
def test_every_combination_on_a_cluster_equals_the_plain_loop(
    cluster: list[DemoNode], case: str, optimizer: str
) -> None:
    expect_the_plain_loop(cluster, case, optimizer)


def expect_the_plain_loop(cluster: list[DemoNode], case: str, optimizer: str) -> None:
    result = edged.train(make_job(case, optimizer), home=cluster[0].home)
    assert len(_nodes(result)) == min(len(cluster), result.history[0]["layers"])
    assert sha256(result.state_dict()) == result.state_sha256
    assert result.state_sha256 == reference(case, optimizer)
    assert _reported(result) == _reported(alone(case, optimizer))


@pytest.mark.slow
def test_dropout_gives_equal_weights_wherever_it_runs(cluster: list[DemoNode]) -> None:
    assert edged.train(dropping_out(), home=cluster[-1].home).state_sha256 == dropping_out_alone()


def dropping_out() -> Job:
    torch.manual_seed(11)
    found = CASES["gpt2"]
    return Job(
        name="dropout",
        model=gpt2(dropout=0.2),
        objective=found.objective,
        data=Rows(found.batch(SAMPLES, 3), SAMPLES),
        optimizer=partial(torch.optim.AdamW, lr=1e-3),
        batch_size=8,
        micro_batches=4,
        strategy="spread",
        epochs=1,
        max_steps=3,
    )


@cache
def dropping_out_alone() -> str:
    """Fingerprint of the weights that ``train_local`` gives."""
    return edged.train_local(dropping_out()).state_sha256


def _nodes(result: Result) -> set[str]:
    plan = next(event for event in result.history if event["event"] == "plan")
    return {hop["node"] for hop in plan["routes"][0]["hops"]}


def _reported(result: Result) -> list[tuple[float, float]]:
    """Loss and learning rate of each step."""
    return [(event["loss"], event["learning_rate"]) for event in result.history if event["event"] == "step"]
