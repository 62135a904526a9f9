"""A job's data is known again by a few samples; what is random in itself does not count."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edged import Job
from edged.compute.fingerprint import difference, fingerprint, text_digest
from edged.compute.sampling import Sampler
from edged.errors import JobError


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many samples are looked at as on a quick machine."""
    monkeypatch.setattr("edged.compute.fingerprint._SECONDS", math.inf)


TICKS = count()


class Data:
    """Made by a function of the index."""

    def __init__(self, make: Callable[[int], Any], length: int = 100) -> None:
        self.make, self.length = make, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return self.make(index)


def plain(index: int) -> torch.Tensor:
    return torch.full((2,), float(index))


def torn(index: int) -> torch.Tensor:
    raise ValueError(f"page {index} is torn")


def sampler(data: Any, like: Sampler | None = None, **changes: Any) -> Sampler:
    """That of a small job; ``like``: of the job that was submitted, which this one was edited from."""
    job = Job(
        model=nn.Linear(2, 1),
        objective=lambda model, batch: model(batch).mean(),
        data=data,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        batch_size=4,
        **changes,
    )
    return Sampler(job, None if like is None else like.spec)


def test_equal_data_is_known_again_also_with_augmentation_that_edged_seeds() -> None:
    for make in (plain, lambda index: torch.rand(2) + index, lambda index: torch.tensor([random.random(), index])):
        first = sampler(Data(make), eval_data=Data(make, 10))
        taken = fingerprint(first)
        assert len([name for name in taken if name.startswith("data[")]) in range(6, 9)
        assert len([name for name in taken if name.startswith("eval_data[")]) in range(2, 5)
        assert difference(sampler(Data(make), first, eval_data=Data(make, 10)), taken) == ""


@pytest.mark.parametrize(
    ("data", "changes", "words"),
    [
        (Data(plain, 90), {}, "data has 90 samples, and had 100"),
        (Data(plain), {"eval_data": Data(plain, 11)}, "eval_data has 11 samples, and had 10"),
        (Data(plain), {"eval_data": None}, "eval_data has 0 samples, and had 10"),
        (Data(lambda index: plain(index) + 1), {}, " of data is another"),
        (Data(lambda index: plain(index).double()), {}, " of data is another"),
        (Data(plain), {"eval_data": Data(lambda index: -plain(index) - 1, 10)}, " of eval_data is another"),
        (Data(plain), {"collate": lambda samples: -torch.stack(samples) - 1}, "of data is another"),
    ],
)
def test_other_data_is_told(data: Data, changes: dict[str, Any], words: str) -> None:
    first = sampler(Data(plain), eval_data=Data(plain, 10))
    assert words in difference(sampler(data, first, **({"eval_data": Data(plain, 10)} | changes)), fingerprint(first))


def test_samples_that_differ_or_fail_at_submission_are_left_out() -> None:
    for make in (lambda index: plain(next(TICKS)), torn):
        first = sampler(Data(make))
        assert fingerprint(first) == {}
        assert difference(sampler(Data(plain), first), {}) == ""


def test_a_sample_that_cannot_be_drawn_any_more_is_an_error() -> None:
    first = sampler(Data(plain))
    with pytest.raises(JobError, match="is torn"):
        difference(sampler(Data(torn), first), fingerprint(first))


def test_a_slow_data_set_is_asked_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edged.compute.fingerprint._SECONDS", -1.0)
    assert len(fingerprint(sampler(Data(plain)))) == 1


def test_the_text_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "job.py"
    assert text_digest(path) == ""
    path.write_text("a")
    before = text_digest(path)
    path.write_text("b")
    assert "" != before != text_digest(path)
