"""A result gives its weights back, and their fingerprint is the documented one."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

from edged.compute.result import Result, state_sha256


def test_the_fingerprint_follows_its_definition() -> None:
    state = {
        "b.weight": torch.arange(6.0).view(2, 3).t(),
        "a": torch.tensor(7),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "none": torch.zeros(0, 4),
    }
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].contiguous()
        digest.update(name.encode() + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
        digest.update(bytes(tensor.view(-1).view(torch.uint8).tolist()))
    assert state_sha256(state) == digest.hexdigest()


def test_the_fingerprint_does_not_hang_on_order_or_strides_but_on_values() -> None:
    one = {"a": torch.ones(2, 2), "b": torch.eye(2)}
    assert state_sha256(one) == state_sha256({"b": torch.eye(2).t(), "a": torch.ones(2, 2)})
    assert state_sha256(one) != state_sha256({"a": torch.eye(2), "b": torch.ones(2, 2)})


def test_weights_come_from_the_file_or_from_memory(tmp_path: Path) -> None:
    model = nn.Linear(2, 2)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    stored = Result(3, [], "", output=tmp_path / "w.safetensors")
    kept = Result(3, [], "", weights=model.state_dict())
    for result in (stored, kept):
        nn.Linear(2, 2).load_state_dict(result.state_dict())
        assert torch.equal(result.state_dict()["weight"], model.weight)
        assert result.state_dict()["weight"].data_ptr() != model.weight.data_ptr()
