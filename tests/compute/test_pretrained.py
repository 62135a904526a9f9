"""Models of transformers are captured, and the folder that is written of them is the one that they would write."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from edged.compute.capture import capture
from edged.compute.comparison import same_bits
from edged.compute.pretrained import pretrained_files
from edged.compute.state import state_dict, write_tensors
from tests.compute.families import FAMILIES


def write_folder(folder: Path, weights: dict[str, torch.Tensor], files: dict[str, str]) -> None:
    write_tensors(folder / "model.safetensors", weights)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", FAMILIES)
def test_a_captured_model_comes_back_from_its_folder_with_equal_bits(name: str, tmp_path: Path) -> None:
    family = FAMILIES[name]
    torch.manual_seed(1)
    model = family.build()
    captured = capture(model, family.objective, family.batch(8))
    for spec in captured.program.state:
        if spec.parameter:
            captured.state[spec.name].add_(0.125)  # as if trained
    weights = state_dict(captured.program, captured.state)
    write_folder(tmp_path, weights, captured.pretrained)
    loaded = family.auto.from_pretrained(tmp_path, local_files_only=True)
    assert type(loaded) is type(model)
    assert loaded.state_dict().keys() == weights.keys()
    assert all(same_bits(tensor, weights[key]) for key, tensor in loaded.state_dict().items())
    assert sum(parameter.numel() for parameter in loaded.parameters()) == sum(p.numel() for p in model.parameters())
    model.load_state_dict(weights)
    with torch.no_grad():
        of_both = [family.objective(each.eval(), family.batch(4)) for each in (model, loaded)]
    assert same_bits(*of_both)


@pytest.mark.parametrize("name", ["bert", "gpt2-tied"])
def test_the_files_are_those_of_save_pretrained(name: str, tmp_path: Path) -> None:
    model = FAMILIES[name].build()
    before = copy.deepcopy(model.config.to_dict())
    files = pretrained_files(model)
    assert model.config.to_dict() == before
    model.save_pretrained(tmp_path)
    written = {path.name for path in tmp_path.iterdir()} - {"model.safetensors"}
    assert set(files) == written
    for file in written:
        assert json.loads(files[file]) == json.loads((tmp_path / file).read_text(encoding="utf-8"))


def test_a_folder_in_half_precision_comes_back_in_it(tmp_path: Path) -> None:
    model = FAMILIES["gpt2-tied"].build().to(torch.bfloat16)
    write_folder(tmp_path, {key: value.clone() for key, value in model.state_dict().items()}, pretrained_files(model))
    loaded = FAMILIES["gpt2-tied"].auto.from_pretrained(tmp_path, local_files_only=True)
    assert all(same_bits(tensor, model.state_dict()[key]) for key, tensor in loaded.state_dict().items())


def test_other_models_have_no_such_files() -> None:
    assert pretrained_files(nn.Linear(2, 1)) == {}
    assert pretrained_files(nn.Sequential(FAMILIES["bert"].build())) == {}
