"""Loader processes draw what the sampler draws, ahead of being asked."""

from __future__ import annotations

import os
import signal
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from edged import Job
from edged.compute.prefetch import Prefetcher, following
from edged.compute.sampling import Sampler
from edged.core.job import JobSpec, Phase, Work
from edged.errors import JobError


class Noise(Dataset):
    """Sample i is (i, noise, process that drew it); one of them is broken."""

    def __len__(self) -> int:
        return 18

    def __getitem__(self, index: int) -> tuple[int, torch.Tensor, int]:
        if index == 17:
            raise ValueError("a torn page")
        return index, torch.rand(2), os.getpid()


def sampler_of(**changes: Any) -> Sampler:
    given: dict[str, Any] = {
        "model": nn.Linear(2, 1),
        "objective": lambda model, batch: model(batch[1]).mean(),
        "data": Noise(),
        "eval_data": [(0, torch.zeros(2), 0)] * 3,
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "batch_size": 4,
        "micro_batches": 2,
        "shuffle": False,
    }
    return Sampler(Job(**(given | changes)))


def test_following_works_come_in_feeding_order() -> None:
    spec = sampler_of().spec
    works = list(following(spec, Work(3, Phase.TRAIN, 1)))
    assert works == [Work(3, Phase.TRAIN, 1), *(Work(4, Phase.EVALUATE, m) for m in range(2))]


def test_works_are_listed_only_as_far_as_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    listed: list[int] = []
    works_at = JobSpec.works_at

    def counted(spec: JobSpec, version: int) -> tuple[Work, ...]:
        listed.append(version)
        return works_at(spec, version)

    sampler = sampler_of(data=[(0, torch.zeros(2), 0)] * 16, epochs=10**6)
    monkeypatch.setattr(JobSpec, "works_at", counted)
    ahead = Prefetcher(sampler, 1)
    for work in (Work(0, Phase.TRAIN, 0), Work(0, Phase.TRAIN, 1), Work(1, Phase.TRAIN, 0)):
        ahead.draw(work)
    ahead.close()
    assert max(listed) <= 4


def test_workers_draw_the_same_bits_and_a_jump_starts_afresh() -> None:
    sampler = sampler_of()
    ahead = Prefetcher(sampler, 2)
    works = list(following(sampler.spec, Work(0, Phase.TRAIN, 0)))
    for work in [*works[:4], *works[2:]]:
        drawn, expected = ahead.draw(work), sampler.draw(work)
        assert list(drawn) == list(expected)
        assert all(torch.equal(drawn[name], expected[name]) for name in ("batch[0]", "batch[1]"))
        assert work.phase is Phase.EVALUATE or os.getpid() not in drawn["batch[2]"].tolist()
    ahead.close()


def test_what_a_worker_raises_is_told_as_a_job_error() -> None:
    ahead = Prefetcher(sampler_of(drop_last=False), 1)
    with pytest.raises(JobError, match=r"^data\[17\]: ValueError: a torn page \(.*line \d+\)") as caught:
        ahead.draw(Work(4, Phase.TRAIN, 0))
    assert "\n" not in str(caught.value)
    assert "Traceback" in caught.value.__notes__[0]
    ahead.close()


def test_a_worker_that_is_killed_is_told_as_a_job_error() -> None:
    class Deadly(Noise):
        def __getitem__(self, index: int) -> Any:
            os.kill(os.getpid(), signal.SIGKILL)

    ahead = Prefetcher(sampler_of(data=Deadly()), 1)
    with pytest.raises(JobError, match=r"the loader's processes failed: RuntimeError: DataLoader worker"):
        ahead.draw(Work(0, Phase.TRAIN, 0))
    ahead.close()
