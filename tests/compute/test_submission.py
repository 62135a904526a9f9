"""A job is captured, checked, measured and written whole to the spool, or refused in one sentence."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from edged import Job
from edged.compute.program_form import load
from edged.compute.state import read_first_state
from edged.compute.submission import build_model, submit
from edged.errors import JobError
from edged.roles.spool import read_spec

DATA = [(torch.arange(4.0) + i, torch.tensor(i % 3)) for i in range(20)]


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3))


def objective(model: nn.Module, batch: Any) -> torch.Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1])


def make(**changes: Any) -> Job:
    given: dict[str, Any] = {
        "name": "small",
        "model": network(),
        "objective": objective,
        "data": DATA,
        "eval_data": DATA[:5],
        "optimizer": partial(torch.optim.AdamW, lr=0.1, betas=(0.8, 0.9)),
        "clip_norm": 1.0,
        "batch_size": 8,
        "micro_batches": 2,
    }
    return Job(**(given | changes))


def test_the_spool_holds_program_weights_and_spec(tmp_path: Path) -> None:
    job = make()
    feeder = {"path": "/abs/job.py", "function": "job", "set": {"epochs": "1"}}
    spec = submit(job, tmp_path, feeder, tmp_path / "out.safetensors", source="0123456789abcdef")
    folder = tmp_path / "jobs" / spec.job
    read, process, output = read_spec(folder / "job.json")
    assert read == spec
    assert process is not None
    assert (process.path, process.function, process.overrides) == ("/abs/job.py", "job", (("epochs", "1"),))
    assert output == tmp_path / "out.safetensors"
    data = (folder / "program.msgpack").read_bytes()
    program = load(data)
    assert spec.program == hashlib.sha256(data).hexdigest()
    state = read_first_state(folder / "state.safetensors", [entry.name for entry in program.state])
    assert isinstance(job.model, nn.Module)
    assert all(torch.equal(state[name], tensor) for name, tensor in job.model.state_dict().items())
    assert [entry.name for entry in sorted((tmp_path / "jobs").iterdir())] == [spec.job]


def test_what_was_handed_in_survives_a_loss_of_power(tmp_path: Path, synced: dict[int, set[str]]) -> None:
    spec = submit(make(), tmp_path, None, None, source="a" * 16)
    folder = tmp_path / "jobs" / spec.job
    files = {"program.msgpack", "state.safetensors", "job.json"}
    assert all((folder / name).stat().st_ino in synced for name in files)
    assert synced[folder.stat().st_ino] >= files
    assert spec.job in synced[folder.parent.stat().st_ino]
    assert "jobs" in synced[tmp_path.stat().st_ino]


def test_the_spec_says_what_the_core_needs(tmp_path: Path) -> None:
    spec = submit(make(), tmp_path, None, None, source="0123456789abcdef")
    assert (spec.name, spec.source, spec.steps, spec.eval_samples) == ("small", "0123456789abcdef", 2, 5)
    assert (spec.inputs, spec.parameters, spec.optimizer_copies, spec.clips) == (2, 4 * 8 + 8 + 16 + 27, 2, True)
    assert spec.source_slowness > 0
    assert json.loads(spec.training)["optimizer"]["name"] == "AdamW"
    assert sum(layer.parameter_bytes for layer in spec.layers) == 4 * spec.parameters
    assert sum(layer.state_bytes for layer in spec.layers) == 4 * spec.parameters + 2 * 8 * 4 + 8
    assert all(layer.forward_seconds > 0 and layer.backward_seconds > 0 for layer in spec.layers)
    assert [layer.crossing_bytes > 0 for layer in spec.layers] == [True] * (len(spec.layers) - 1) + [False]
    used = {index for layer in spec.layers for index in layer.inputs}
    assert used == {0, 1}
    assert spec.layers[0].inputs == (0,)


def test_submitting_leaves_the_model_and_the_random_state_alone(tmp_path: Path) -> None:
    job = make()
    assert isinstance(job.model, nn.Module)
    before = {name: tensor.clone() for name, tensor in job.model.state_dict().items()}
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    submit(job, tmp_path, None, None, source="a")
    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(before[name], tensor) for name, tensor in job.model.state_dict().items())
    assert all(parameter.grad is None for parameter in job.model.parameters())


def test_equal_jobs_get_different_ids(tmp_path: Path) -> None:
    ids = {submit(make(eval_data=None), tmp_path, None, None, source="a").job for _ in range(2)}
    assert len(ids) == 2
    assert all(len(job) == 12 for job in ids)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"eval_data": [torch.zeros(4)] * 3}, "eval_data: its samples are"),
        ({"model": lambda: 3}, "model: the function returned a value of type int"),
        ({"model": lambda: 1 / 0}, "model: the function failed: ZeroDivisionError"),
        ({"objective": lambda model, batch: model(batch[0])}, "objective"),
        ({"objective": lambda model, batch: model(batch["x"]).mean()}, "TypeError: list indices must be integers"),
        ({"data": [(torch.zeros(4), "label")] * 20, "eval_data": None}, r"batch\[1\]"),
    ],
)
def test_what_cannot_be_trained_is_refused_and_nothing_is_written(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(JobError, match=words) as caught:
        submit(make(**changes), tmp_path, None, None, source="a")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "jobs").exists()


def test_what_is_done_otherwise_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    submit(make(optimizer=partial(torch.optim.SGD, lr=0.1, foreach=True)), tmp_path, None, None, source="a")
    said = [record.getMessage() for record in caplog.records if record.name == "edged.job"]
    assert said == ["small: optimizer: foreach=True is not used, the plain form gives equal bits everywhere"]


class FourAtOnce(nn.Module):
    """Takes micro-batches of four samples only."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x.view(4, 4))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"data": DATA[:19], "drop_last": False, "eval_data": None}, "would have 3: write drop_last=True"),
        ({"eval_data": DATA[:5]}, "eval_data has 5: leave 1 out"),
        ({"eval_data": DATA[:8]}, ""),
    ],
)
def test_a_model_of_one_batch_size_gets_no_other(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    job = make(model=FourAtOnce(), **changes)
    if words:
        with pytest.raises(JobError, match=words):
            submit(job, tmp_path, None, None, source="a")
    else:
        assert submit(job, tmp_path, None, None, source="a").steps == 2


def test_an_unknown_strategy_and_a_missing_folder_are_refused_first(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="strategy='fast' is not known: write 'auto' or one of one, two"):
        submit(make(strategy="fast"), tmp_path, None, None, source="a", strategies=("two", "one"))
    with pytest.raises(JobError, match="output: there is no folder"):
        submit(make(), tmp_path, None, tmp_path / "no" / "w.safetensors", source="a")


def test_first_weights_come_from_a_file(tmp_path: Path) -> None:
    wanted = network().state_dict()
    save_file(wanted, tmp_path / "w.safetensors")
    model = build_model(make(model=network, weights=tmp_path / "w.safetensors"))
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in model.state_dict().items())
    save_file({"other": torch.zeros(1)}, tmp_path / "w.safetensors")
    with pytest.raises(JobError, match=r"weights: .*w.safetensors does not fit the model"):
        build_model(make(model=network, weights=tmp_path / "w.safetensors"))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm, self.second = nn.Linear(6, 6, bias=False), nn.BatchNorm1d(6), nn.Linear(6, 6)
        self.second.weight = self.first.weight
        self.norm.weight.requires_grad_(False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(x)))


def test_a_model_on_the_meta_device_is_made_of_the_file(tmp_path: Path) -> None:
    def bare() -> nn.Module:
        with torch.device("meta"):
            return Tied()

    wanted = Tied()
    path = tmp_path / "w.safetensors"
    save_file({name: tensor.clone().double() for name, tensor in wanted.state_dict().items()}, path)
    model = build_model(make(model=bare, weights=path))
    assert isinstance(model, Tied)
    assert model.second.weight is model.first.weight
    assert not model.norm.weight.requires_grad
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, wanted.state_dict()[name].to(tensor.dtype))
        assert tensor.dtype is torch.float32 or name == "norm.num_batches_tracked"
        assert tensor.data_ptr() % 64 == 0
    path.write_bytes(b"")
    with pytest.raises(JobError, match="does not fit the model"):
        build_model(make(model=bare, weights=path))
    save_file({"first.weight": torch.zeros(2)}, path)
    with pytest.raises(JobError, match="does not fit the model"):
        build_model(make(model=bare, weights=path))


def test_a_model_on_the_meta_device_needs_a_file(tmp_path: Path) -> None:
    def bare() -> nn.Module:
        with torch.device("meta"):
            return nn.Linear(6, 3)

    with pytest.raises(JobError, match="weight has no values yet: write weights='FILE.safetensors'"):
        submit(make(model=bare, eval_data=None), tmp_path, None, None, source="a")


def test_a_home_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file")
    with pytest.raises(JobError, match="cannot write"):
        submit(make(eval_data=None), tmp_path, None, None, source="a")


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_an_optimizer_that_refuses_a_parameter_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"Muon.*the parameter .*bias of shape \(8,\)"):
        submit(make(optimizer=partial(torch.optim.Muon, lr=0.1)), tmp_path, None, None, source="0123456789abcdef")
    assert list(tmp_path.iterdir()) == []
