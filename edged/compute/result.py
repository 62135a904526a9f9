"""What a finished job leaves: its weights and its history."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


@dataclass(frozen=True, slots=True)
class Result:
    """A finished job.

    ``steps`` is the number of optimizer updates. ``history`` holds the events ``plan``, ``step``, ``eval`` (and so on)
    in the order in which they happened, as ``edged train --json`` prints them. ``state_sha256`` is the fingerprint of
    the weights (see ``state_sha256``), ``output`` the safetensors file with them, or none where none was asked
    for; then ``weights`` holds them.
    """

    steps: int
    history: list[dict[str, Any]]
    state_sha256: str
    output: Path | None = None
    weights: Mapping[str, torch.Tensor] = field(default_factory=dict, repr=False)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The trained weights under the names of the model's own ``state_dict``; a fresh copy on the CPU each time."""
        if self.output is not None:
            return load_file(self.output)
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in self.weights.items()}


def state_sha256(state: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over a state dict in the order of sorted names, in hexadecimal.

    For each tensor: the bytes of its name, ``str(dtype)``, ``str(tuple(shape))`` and its contiguous data on the CPU.
    """
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name}{tensor.dtype}{tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data if tensor.numel() else b"")
    return digest.hexdigest()
