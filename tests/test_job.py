"""A job refuses every mistake when it is built, naming the argument and what to write instead."""

from __future__ import annotations

import dataclasses
import inspect
from functools import partial
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from edged import Job
from edged.errors import JobError
from edged.job import checked_arguments


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(1)


DATA = TensorDataset(torch.zeros(40, 3), torch.zeros(40))


def make(**changes: Any) -> Job:
    given: dict[str, Any] = {
        "model": nn.Linear(3, 1),
        "objective": lambda model, batch: model(batch[0]).mean(),
        "data": DATA,
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "batch_size": 8,
        "micro_batches": 4,
    }
    return Job(**(given | changes))


def test_a_plain_job_is_accepted_and_frozen() -> None:
    job = make()
    assert (job.epochs, job.seed, job.shuffle, job.drop_last, job.strategy, job.mode) == (
        1,
        0,
        True,
        True,
        "auto",
        "sync",
    )
    assert job.notes == ()
    with pytest.raises(dataclasses.FrozenInstanceError):
        job.epochs = 2  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "name is a printable text"),
        ({"name": "a\nb"}, "name is a printable text"),
        ({"model": nn.Linear}, "write Net(), not Net"),
        ({"model": 3}, "model is an nn.Module"),
        ({"model": nn.ReLU()}, "nothing to train"),
        ({"objective": None}, "objective is a function"),
        ({"metrics": 3, "eval_data": DATA}, "metrics is a function"),
        ({"metrics": lambda model, batch: {}}, "give eval_data= too"),
        ({"collate": "no"}, "collate is a function"),
        ({"data": []}, "data is empty"),
        ({"data": Stream()}, "data is an IterableDataset"),
        ({"data": DataLoader(DATA)}, "data is a DataLoader"),
        ({"data": 3}, "data is a map-style data set"),
        ({"data": {0: 1}}, "data is a dict"),
        ({"eval_data": []}, "eval_data is empty"),
        ({"batch_size": 0}, "batch_size is a whole number from 1 on, not 0"),
        ({"batch_size": 8.0}, "batch_size is a whole number"),
        ({"batch_size": True}, "batch_size is a whole number"),
        ({"batch_size": 50, "micro_batches": 8}, "write batch_size=48"),
        ({"batch_size": 64}, "data has 40 samples, fewer than batch_size=64"),
        ({"epochs": 0}, "epochs is a whole number from 1 on"),
        ({"max_steps": 0}, "max_steps is a whole number from 1 on"),
        ({"workers": -1}, "workers is a whole number from 0 on"),
        ({"seed": "a"}, "seed is a whole number"),
        ({"seed": 2**63}, "at most 62 bits"),
        ({"clip_norm": 0}, "clip_norm is a number above 0"),
        ({"clip_norm": float("nan")}, "clip_norm is a number above 0"),
        ({"shuffle": 1}, "shuffle is True or False"),
        ({"strategy": 3}, "strategy is the name"),
        ({"mode": "fast"}, "mode is 'sync' or 'async'"),
        ({"mode": "async", "clip_norm": 1.0}, "leave clip_norm out, or write mode='sync'"),
        ({"average_every": 4}, "leave average_every out, or write mode='async'"),
        ({"mode": "async", "average_every": 0}, "average_every is a whole number from 1 on"),
        ({"mode": "async", "on_nan": "skip"}, "write on_nan='stop', or mode='sync'"),
        ({"keep_inputs_home": 1}, "keep_inputs_home is False, True or 'labels'"),
        ({"keep_inputs_home": "labels"}, "keep_inputs_home is not built yet"),
        ({"replicate_every": 0}, "replicate_every is a whole number from 1 on"),
        ({"on_nan": "ignore"}, "on_nan is 'stop' or 'skip'"),
        ({"weights": "model.bin"}, "weights is the path of a .safetensors file"),
        ({"weights": "/nowhere/model.safetensors"}, "there is no file /nowhere/model.safetensors"),
        ({"optimizer": torch.optim.SGD}, "optimizer is a class without its numbers"),
        ({"optimizer": torch.optim.SGD([torch.zeros(1)], lr=0.1)}, "optimizer is already built"),
        ({"optimizer": partial(dict, lr=1)}, "optimizer is a functools.partial of a class of torch.optim"),
        ({"optimizer": partial(torch.optim.SGD, lrr=0.1)}, "optimizer: SGD: got an unexpected keyword argument 'lrr'"),
        ({"optimizer": partial(torch.optim.SGD, lr=-1)}, "optimizer: SGD: Invalid learning rate"),
        ({"optimizer": partial(torch.optim.SGD, lr=torch.tensor(1.0))}, "optimizer: lr is a number"),
        ({"optimizer": partial(torch.optim.LBFGS, lr=1)}, "take another one, such as AdamW"),
        ({"optimizer": partial(torch.optim.AdamW, capturable=True)}, "capturable=True is not supported"),
        ({"optimizer": partial(torch.optim.Adam, betas=())}, "optimizer: Adam: "),
        ({"scheduler": lr_scheduler.StepLR}, "scheduler is a functools.partial"),
        ({"scheduler": partial(lr_scheduler.CyclicLR, base_lr=0.1, max_lr=1.0, step_size_up=0)}, "scheduler: CyclicLR"),
        ({"scheduler": partial(lr_scheduler.StepLR)}, "missing 1 required positional argument: 'step_size'"),
        ({"scheduler": partial(lr_scheduler.LambdaLR, lr_lambda=abs)}, "LambdaLR takes a function"),
        ({"scheduler": partial(lr_scheduler.ReduceLROnPlateau)}, "waits for a metric"),
    ],
)  # fmt: skip
def test_a_mistake_names_the_argument_and_the_remedy(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError) as caught:
        make(**changes)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": 40}, "Job has no field epoch: did you mean epochs?"),
        ({"microbatches": 2}, "Job has no field microbatches: did you mean micro_batches?"),
        (
            {"colour": "red"},
            "Job has no field colour: the fields are model, objective, data, optimizer, batch_size, name",
        ),
    ],
)
def test_a_mistyped_argument_is_told_with_what_it_could_mean(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(JobError) as caught:
        make(**changes)
    assert str(caught.value).startswith(words)
    with pytest.raises(JobError, match="all arguments of Job are keywords: write model="):
        Job(nn.Linear(3, 1))
    assert list(inspect.signature(Job).parameters)[:2] == ["model", "objective"]


REQUIRED = [name for name, field in inspect.signature(Job).parameters.items() if field.default is field.empty]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_field_that_is_missing_is_told_with_what_it_is_for_and_a_right_form(name: str) -> None:
    whole = {field.name: getattr(make(), field.name) for field in dataclasses.fields(Job)}
    del whole[name]
    with pytest.raises(JobError, match=rf"^Job lacks {name}, .*, for example {name}=\S[^\n]*$"):
        Job(**whole)


def test_all_that_is_missing_is_told_at_once_and_a_mistyped_one_before_it() -> None:
    with pytest.raises(JobError, match=r"^Job lacks objective, .*; data, .*; optimizer, .*; batch_size, .*=32$"):
        Job(model=nn.Linear(3, 1))
    with pytest.raises(JobError, match=r"^Job has no field objektive: did you mean objective\?$"):
        Job(objektive=None)


def test_positional_arguments_of_the_optimizer_get_their_names() -> None:
    given = partial(torch.optim.SGD, momentum=0.9, fused=True, foreach=False)
    job = make(optimizer=given)
    assert checked_arguments("optimizer", job.optimizer) == {"momentum": 0.9}
    assert job.notes == ("optimizer: fused=True is not used, the plain form gives equal bits everywhere",)
    scheduler = partial(lr_scheduler.StepLR, step_size=3)
    assert make(scheduler=scheduler).scheduler is scheduler
    assert checked_arguments("scheduler", scheduler) == {"step_size": 3}


def test_few_samples_are_fine_without_drop_last() -> None:
    assert make(batch_size=64, drop_last=False).batch_size == 64
