"""The folder that ``from_pretrained`` takes: equal bits, and the same config that ``save_pretrained`` writes."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

from edged.compute.capture import capture
from edged.compute.comparison import same_bits
from edged.compute.pretrained import pretrained_files
from edged.compute.state import state_dict, write_tensors
from tests.compute.models import CASES
from tests.compute.samples import SIZE

CLASSES = {"gpt2": AutoModelForCausalLM, "bert": AutoModelForSequenceClassification}


@pytest.mark.parametrize("name", CLASSES)
def test_from_pretrained_gives_the_bits_of_the_captured_state(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    model = case.build()
    captured = capture(model, case.objective, case.batch(SIZE, 1), case.metrics)
    for tensor in captured.state.values():
        if tensor.is_floating_point():
            tensor.add_(0.125)  # trained
    weights = state_dict(captured.program, captured.state)
    write_tensors(tmp_path / "model.safetensors", weights)
    for file, text in captured.pretrained.items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    loaded = CLASSES[name].from_pretrained(tmp_path, local_files_only=True)
    assert type(loaded) is type(model)
    assert loaded.state_dict().keys() == weights.keys()
    assert all(same_bits(tensor, weights[key]) for key, tensor in loaded.state_dict().items())
    if name == "gpt2":
        assert loaded.lm_head.weight is loaded.transformer.wte.weight
    model.load_state_dict(weights, strict=True)
    batch = case.batch(SIZE, 2)
    with torch.no_grad():
        assert same_bits(case.objective(model.eval(), batch), case.objective(loaded, batch))


@pytest.mark.parametrize("name", CLASSES)
def test_the_files_are_those_of_save_pretrained(name: str, tmp_path: Path) -> None:
    model = CASES[name].build()
    before = copy.deepcopy(model.config.to_dict())
    files = pretrained_files(model)
    assert model.config.to_dict() == before
    model.save_pretrained(tmp_path)
    written = {path.name for path in tmp_path.iterdir()} - {"model.safetensors"}
    assert set(files) == written
    for file in written:
        assert json.loads(files[file]) == json.loads((tmp_path / file).read_text(encoding="utf-8"))


def test_a_folder_in_half_precision_comes_back_in_it(tmp_path: Path) -> None:
    model = CASES["gpt2"].build().to(torch.bfloat16)
    write_tensors(tmp_path / "model.safetensors", {key: value.clone() for key, value in model.state_dict().items()})
    for file, text in pretrained_files(model).items():
        (tmp_path / file).write_text(text, encoding="utf-8")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True)
    assert all(same_bits(tensor, model.state_dict()[key]) for key, tensor in loaded.state_dict().items())


def test_other_models_have_no_such_files() -> None:
    assert pretrained_files(nn.Linear(2, 1)) == {}
    assert pretrained_files(nn.Sequential(CASES["bert"].build())) == {}
