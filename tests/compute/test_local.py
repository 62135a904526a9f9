"""Local training computes the plain loop, and tells what it does."""

import copy
import math
import warnings
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler
from torch.utils.data import TensorDataset, default_collate

from edged.compute.local import train_local
from edged.compute.result import state_sha256
from edged.errors import JobError, JobFailedError
from edged.job import Job

GENERATOR = torch.Generator().manual_seed(0)
DATA = TensorDataset(torch.randn(50, 6, generator=GENERATOR), torch.randint(0, 3, (50,), generator=GENERATOR))
TEST = TensorDataset(torch.randn(13, 6, generator=GENERATOR), torch.randint(0, 3, (13,), generator=GENERATOR))


def net(dropout: float = 0.0) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(dropout), nn.Linear(8, 3))


def objective(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def accuracy(model: nn.Module, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def job(**changes) -> Job:
    arguments = {
        "model": net(),
        "objective": objective,
        "data": DATA,
        "optimizer": partial(torch.optim.AdamW, lr=0.01),
        "batch_size": 12,
        "micro_batches": 3,
        "epochs": 2,
        "drop_last": False,
        "scheduler": partial(lr_scheduler.CosineAnnealingLR, T_max=10),
        "clip_norm": 0.7,
        "eval_data": TEST,
        "metrics": accuracy,
        "seed": 11,
    }
    return Job(**{**arguments, **changes})


def plain() -> nn.Module:
    """What a user would write."""
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    for epoch in range(2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(11 + epoch)).tolist()
        for start in range(0, 50, 12):
            batch = order[start : start + 12]
            for first in range(0, len(batch), 4):
                micro = batch[first : first + 4]
                loss = objective(model, default_collate([DATA[i] for i in micro]))
                (loss * (len(micro) / len(batch))).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 0.7)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
    return model


def test_local_training_equals_the_loop_that_a_user_would_write() -> None:
    result = train_local(job())
    expected = plain().state_dict()
    found = result.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert result.state_sha256 == state_sha256(expected)
    assert result.steps == 10


def test_history_tells_steps_evaluations_and_the_end() -> None:
    told = []
    result = train_local(job(), on_event=told.append)
    assert told == result.history
    assert [event["event"] for event in told] == (["started", *["step"] * 5, "eval", *["step"] * 5, "eval", "finished"])
    steps = [event for event in told if event["event"] == "step"]
    assert [event["step"] for event in steps] == list(range(1, 11))
    assert [event["epoch"] for event in steps] == [0] * 5 + [1] * 5
    assert steps[0]["learning_rate"] == 0.01 > steps[-1]["learning_rate"]
    assert told[-1]["loss"] == steps[-1]["loss"]
    model = plain().eval()
    batch = default_collate(list(TEST))
    final = told[-2]
    assert final["epoch"] == 1
    assert final["loss"] == pytest.approx(float(objective(model, batch).detach()), rel=1e-5)
    assert final["metrics"]["accuracy"] == pytest.approx(float(accuracy(model, batch)["accuracy"]))


def test_the_weights_are_written_where_asked(tmp_path: Path) -> None:
    result = train_local(job(max_steps=2), output=tmp_path / "weights.safetensors")
    assert result.output == tmp_path / "weights.safetensors"
    model = net()
    model.load_state_dict(result.state_dict())
    assert state_sha256(model.state_dict()) == result.state_sha256


def test_dropout_repeats_with_the_seed_whatever_the_generator_was() -> None:
    arguments = {"model": net(0.5), "max_steps": 3}
    first = train_local(job(**arguments))
    torch.manual_seed(99)
    assert train_local(job(**arguments)).state_sha256 == first.state_sha256


def test_the_users_module_is_left_alone() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    train_local(job(model=model, max_steps=2))
    assert state_sha256(model.state_dict()) == state_sha256(before)


def test_a_loss_that_is_not_a_number_ends_the_job_with_its_step() -> None:
    with pytest.raises(JobFailedError, match="step [0-9]+, micro-batch"), warnings.catch_warnings():
        train_local(job(optimizer=partial(torch.optim.SGD, lr=1e30), clip_norm=None, epochs=5))


def test_samples_that_change_their_shape_are_told() -> None:
    rows = [(torch.zeros(6 if i < 30 else 7), torch.tensor(0)) for i in range(40)]
    with pytest.raises(JobError, match="alike"):
        train_local(job(data=rows, shuffle=False, batch_size=10, micro_batches=1, drop_last=True))


class Gathering(nn.Module):
    """Picks rows by number: with several threads, torch adds up their gradients in any order unless told otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 64 * 40).reshape(40, 64))
        self.last = nn.Linear(64, 1)
        self.register_buffer("places", torch.linspace(0.1, 2, 300).unsqueeze(1))

    def forward(self, numbers: torch.Tensor) -> torch.Tensor:
        return self.last((self.table[numbers] * self.places).tanh().sum(1)).mean()


def gathering() -> Job:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return Job(
            model=Gathering(),
            objective=lambda model, numbers: model(numbers),
            data=torch.randint(0, 40, (48, 300), generator=torch.Generator().manual_seed(1)),
            optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
            batch_size=24,
            micro_batches=2,
            epochs=2,
        )


def test_with_several_threads_every_run_gives_the_same_bits() -> None:
    before = torch.get_num_threads()
    runs = {train_local(gathering(), threads=2).state_sha256 for _ in range(4)}
    assert len(runs) == 1
    assert torch.get_num_threads() == before


def test_it_computes_like_a_node_and_the_users_code_runs_as_the_user_set_it() -> None:
    seen: set[tuple[object, ...]] = set()

    class Seeing(TensorDataset):
        def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
            seen.add((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_default_dtype()))
            return super().__getitem__(index)

    given = job(data=Seeing(*DATA.tensors), max_steps=2)
    torch.set_default_dtype(torch.float64)
    try:
        result = train_local(given, threads=2)
    finally:
        torch.set_default_dtype(torch.float32)
    assert result.state_sha256 == train_local(job(max_steps=2), threads=2).state_sha256
    assert seen == {(torch.get_num_threads(), False, torch.float64)}


def test_reported_losses_are_running_sums_in_the_order_of_micro_batches() -> None:
    """As a cluster adds them up, so that histories can be compared."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = nn.Linear(6, 3)
    found = train_local(
        Job(
            model=model,
            objective=objective,
            data=DATA,
            eval_data=DATA,
            optimizer=partial(torch.optim.SGD, lr=0.0),
            batch_size=50,
            micro_batches=10,
            shuffle=False,
        )
    )
    total = 0.0
    for start in range(0, 50, 5):
        batch = default_collate([DATA[row] for row in range(start, start + 5)])
        total += 5 / 50 * float(objective(model, batch).detach())
    assert [event["loss"] for event in found.history if "loss" in event] == [total] * 3


class Spoiled(TensorDataset):
    """One sample makes the loss NaN, whenever it is drawn."""

    def __getitem__(self, index: int) -> tuple[torch.Tensor, ...]:
        """(6,) and a class."""
        x, y = super().__getitem__(index)
        return (x * torch.nan if index == 20 else x), y


def tolerant() -> nn.Module:
    """What a user would write who leaves out steps whose loss is not finite; without batch norm, which remembers."""
    model = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    data = Spoiled(*DATA.tensors)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=10)
    model.load_state_dict(simple().state_dict())
    for epoch in range(2):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(11 + epoch)).tolist()
        for start in range(0, 50, 12):
            batch = order[start : start + 12]
            finite = True
            for first in range(0, len(batch), 4):
                micro = batch[first : first + 4]
                loss = objective(model, default_collate([data[i] for i in micro]))
                finite = finite and bool(torch.isfinite(loss))
                (loss * (len(micro) / len(batch))).backward()
            if finite:
                torch.nn.utils.clip_grad_norm_(model.parameters(), 0.7)
                optimizer.step()
                scheduler.step()
            optimizer.zero_grad()
    return model


def simple() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_a_step_that_is_skipped_changes_neither_weights_nor_optimizer_nor_scheduler() -> None:
    spoiled = {"model": simple(), "data": Spoiled(*DATA.tensors)}
    result = train_local(job(**spoiled, on_nan="skip"))
    assert result.state_sha256 == state_sha256(tolerant().state_dict())
    steps = [event for event in result.history if event["event"] == "step"]
    bad = [place for place, event in enumerate(steps) if math.isnan(event["loss"])]
    assert len(steps) == 10
    assert len(bad) == 2
    assert all(steps[place]["learning_rate"] == steps[place + 1]["learning_rate"] for place in bad if place < 9)
    with pytest.raises(JobFailedError, match="nan"):
        train_local(job(**spoiled))
