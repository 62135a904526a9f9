"""Samples come in the promised order, and any micro-batch can be drawn again with the same bits."""

# ruff: noqa: NPY002 -- what users' data sets still draw from

from __future__ import annotations

import random
import threading
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Subset

from edged import Job
from edged.compute.sampling import Sampler, flatten, outline
from edged.core.job import Phase, Work
from edged.errors import JobError


class Numbers(Dataset):
    """Sample i is (i, noise), with noise from every common source of randomness."""

    def __len__(self) -> int:
        return 23

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
        if index < 0:
            raise IndexError(index)
        return index, torch.rand(2) + random.random() + np.random.rand()


def make(data: Any = None, **changes: Any) -> Job:
    given: dict[str, Any] = {
        "model": nn.Linear(2, 1),
        "objective": lambda model, batch: model(batch[1]).mean(),
        "data": Numbers() if data is None else data,
        "eval_data": Numbers(),
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "batch_size": 6,
        "micro_batches": 3,
        "epochs": 2,
        "seed": 5,
    }
    return Job(**(given | changes))


def train(version: int, micro_batch: int = 0) -> Work:
    return Work(version, Phase.TRAIN, micro_batch)


def test_order_is_the_promised_permutation_of_each_epoch() -> None:
    sampler = Sampler(make())
    for epoch in (0, 1, 0):
        expected = torch.randperm(23, generator=torch.Generator().manual_seed(5 + epoch)).tolist()
        assert list(sampler.order(epoch)) == expected
        drawn = [i for v in range(3) for m in range(3) for i in sampler.indices(train(3 * epoch + v, m))]
        assert drawn == expected[:18]


def test_without_shuffling_samples_come_as_they_stand_and_the_last_batch_is_smaller() -> None:
    sampler = Sampler(make(shuffle=False, drop_last=False))
    assert sampler.spec.steps == 8
    assert [sampler.indices(train(3, m)) for m in range(3)] == [[18, 19], [20, 21], [22]]
    assert sampler.indices(train(4)) == [0, 1]


def test_evaluation_takes_all_samples_in_order() -> None:
    sampler = Sampler(make())
    sizes = sampler.spec.sizes(3, Phase.EVALUATE)
    assert sizes == (2,) * 11 + (1,)
    assert [i for m in range(12) for i in sampler.indices(Work(3, Phase.EVALUATE, m))] == list(range(23))


def test_any_micro_batch_is_drawn_again_with_the_same_bits() -> None:
    sampler, other = Sampler(make()), Sampler(make())
    works = [train(v, m) for v in range(6) for m in range(3)] + [Work(6, Phase.EVALUATE, 2)]
    first = [sampler.draw(work) for work in works]
    for work, expected in reversed(list(zip(works, first, strict=True))):
        drawn = other.draw(work)
        assert list(drawn) == ["batch[0]", "batch[1]"]
        assert all(torch.equal(drawn[name], expected[name]) for name in expected)


def test_noise_differs_between_samples_and_epochs() -> None:
    sampler = Sampler(make(shuffle=False))
    noise = [tuple(sampler.draw(train(v))["batch[1]"].flatten().tolist()) for v in range(6)]
    assert len(set(noise)) == 6


def test_evaluation_noise_does_not_hang_on_the_version() -> None:
    sampler = Sampler(make())
    early, late = (sampler.micro_batch(Work(v, Phase.EVALUATE, 0))[1] for v in (3, 6))
    assert torch.equal(early, late)


def test_drawing_leaves_the_random_state_as_it_was() -> None:
    sampler = Sampler(make())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    expected = (torch.rand(1).item(), random.random(), np.random.rand())
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)
    sampler.draw(train(0))
    assert (torch.rand(1).item(), random.random(), np.random.rand()) == expected


def test_a_batch_is_what_default_collate_makes() -> None:
    data = [{"x": torch.ones(3) * i, "y": i} for i in range(6)]
    batch = Sampler(make(data, shuffle=False)).batch(train(0, 1))
    expected = list(DataLoader(data, batch_size=2))[1]
    assert batch.keys() == expected.keys()
    assert all(torch.equal(batch[key], expected[key]) for key in batch)
    assert list(flatten(batch, 2)) == ["batch['x']", "batch['y']"]


def test_an_own_collate_is_used_and_its_randomness_repeats() -> None:
    job = make(collate=lambda samples: torch.rand(len(samples), 2))
    draws = [Sampler(job).draw(train(v))["batch"] for v in (0, 0, 1)]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])


def test_a_sample_that_raises_is_named_with_the_line() -> None:
    class Broken(Numbers):
        def __getitem__(self, index: int) -> Any:
            return super().__getitem__(index) if index != 4 else {}["no such key"]

    with pytest.raises(JobError, match=r"data\[4\]: KeyError: 'no such key' \(.*sampling.py, line \d+\)") as caught:
        Sampler(make(Broken(), shuffle=False)).draw(train(0, 2))
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ((), "holds no tensor"),
        ((torch.zeros(2), "text"), r"batch\[1\] of a collated micro-batch is of type str"),
        (torch.tensor(3.0), r"has the shape \(\)"),
        ((torch.zeros(2, 1), torch.zeros(3)), r"batch\[1\] .* has the shape \(3,\)"),
        (torch.zeros(2).to_sparse(), "layout torch.sparse_coo"),
        (torch.zeros(2, dtype=torch.float8_e4m3fn), "type torch.float8_e4m3fn"),
    ],
)
def test_a_batch_that_no_program_takes_is_refused(batch: Any, words: str) -> None:
    with pytest.raises(JobError, match=words):
        flatten(batch, 2)


@pytest.mark.parametrize("work", [train(6), train(0, 3), train(-1), Work(7, Phase.EVALUATE, 0)])
def test_a_work_that_the_job_does_not_have_is_refused(work: Work) -> None:
    with pytest.raises(JobError, match="the job has no micro-batch"):
        Sampler(make()).indices(work)


@pytest.mark.parametrize(
    ("changes", "steps"),
    [({}, 6), ({"drop_last": False}, 8), ({"max_steps": 4}, 4), ({"max_steps": 99}, 6), ({"batch_size": 21}, 2)],
)
def test_steps_are_counted_as_the_core_counts_them(changes: dict[str, Any], steps: int) -> None:
    spec = outline(make(**changes))
    assert spec.steps == steps
    assert steps == min(spec.steps_per_epoch * 2, changes.get("max_steps", 99))


def test_a_subset_is_a_data_set() -> None:
    sampler = Sampler(make(Subset(Numbers(), range(5, 12)), shuffle=False))
    assert sampler.draw(train(0))["batch[0]"].tolist() == [5, 6]


def test_threads_that_draw_at_once_get_the_samples_of_one_that_draws_alone() -> None:
    class Slow(Numbers):
        def __getitem__(self, index: int) -> tuple[int, torch.Tensor]:
            time.sleep(0.001)  # lets the other thread in
            return super().__getitem__(index)

    reference, *samplers = Sampler(make()), Sampler(make(Slow())), Sampler(make(Slow()))
    drawn: list[Any] = []

    def draw(sampler: Sampler) -> list[dict[str, torch.Tensor]]:
        return [sampler.draw(train(0, m)) for m in range(3)]

    threads = [threading.Thread(target=lambda s=s: drawn.append(draw(s))) for s in samplers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(drawn) == 2
    for one, other, expected in zip(*drawn, draw(reference), strict=True):
        assert all(torch.equal(batch[name], expected[name]) for batch in (one, other) for name in expected)
