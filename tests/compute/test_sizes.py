"""A model that depends on the batch size is compared at every size that the job has, and refused where it differs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import default_collate

from edged import Job
from edged.compute.local import train_local
from edged.compute.submission import capture_job
from edged.errors import JobError
from tests.compute.models import Case
from tests.compute.pipeline import Chain, Recipe


@pytest.fixture(autouse=True)
def weights() -> None:
    """The same in every run: of a dead unit no refusal would be seen."""
    torch.manual_seed(0)


WIDTH = 8


class Samples:
    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(WIDTH, generator=generator), torch.tensor(index % 4)


class Net(nn.Module):
    def __init__(self, middle: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.first, self.second, self.middle = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4), middle

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.middle(self.first(x)).relu())


def branch(h: Tensor) -> Tensor:
    return h * 2 if h.shape[0] > 3 else h


def even(h: Tensor) -> Tensor:
    return h if h.shape[0] % 2 else h * 3


def by_the_size(h: Tensor) -> Tensor:
    return h * h.shape[0] - h[: h.shape[0] // 2].mean()


def normed() -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))


def objective(model: nn.Module, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def make(model: nn.Module, samples: int, **changes: Any) -> Job:
    given: dict[str, Any] = {"batch_size": 10, "micro_batches": 2, "drop_last": False}
    optimizer = partial(torch.optim.SGD, lr=0.1)
    return Job(model=model, objective=objective, data=Samples(samples), optimizer=optimizer, **given | changes)


@pytest.mark.parametrize("middle", [branch, even])
def test_a_smaller_last_micro_batch_that_computes_otherwise_is_refused(middle: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(JobError, match=r"otherwise for 2 samples, an epoch's last micro-batch.*drop_last=True"):
        capture_job(make(Net(middle), 12))


@pytest.mark.parametrize("changes", [{"drop_last": True}, {"max_steps": 1}, {"batch_size": 6, "micro_batches": 1}])
def test_where_no_such_micro_batch_comes_nothing_is_refused(changes: dict[str, Any]) -> None:
    capture_job(make(Net(branch), 12, **changes))


def test_a_smaller_last_micro_batch_of_an_evaluation_is_compared() -> None:
    words = r"otherwise for 3 samples, an evaluation's last micro-batch.*leave the last 3 of eval_data out"
    with pytest.raises(JobError, match=words):
        capture_job(make(Net(branch), 10, eval_data=Samples(8)))
    capture_job(make(Net(branch), 10, eval_data=Samples(9)))


def test_batch_norm_of_one_sample_is_refused_with_torchs_own_words() -> None:
    with pytest.raises(JobError, match=r"micro-batch of 1:.*more than 1 value per channel.*drop_last=True"):
        capture_job(make(normed(), 11))


def test_batch_norm_is_evaluated_on_one_sample() -> None:
    captured = capture_job(make(normed(), 10, eval_data=Samples(6)))
    case = Case(
        normed,
        objective,
        lambda _model, _batch: {},
        lambda size, _seed: default_collate([Samples(size)[i] for i in range(size)]),
    )
    chain = Chain(captured, case, Recipe(eval_samples=6), [1])
    assert len(chain.evaluate(0)) == 2


@pytest.mark.parametrize("build", [partial(Net, by_the_size), normed], ids=["arithmetic on sizes", "batch norm"])
def test_what_computes_the_same_at_any_size_equals_the_plain_loop(build: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = build()
    result = train_local(make(model, 12, shuffle=False))
    optimizer, data = torch.optim.SGD(model.parameters(), lr=0.1, foreach=False), Samples(12)
    for batch in ((range(5), range(5, 10)), (range(10, 12),)):
        for indices in batch:
            given = [torch.stack(column) for column in zip(*(data[i] for i in indices), strict=True)]
            (objective(model, given) * (len(indices) / sum(map(len, batch)))).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert all(torch.equal(result.state_dict()[name], value) for name, value in model.state_dict().items())
