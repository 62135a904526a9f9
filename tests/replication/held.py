"""Held layers of every type and layout, made without training."""

from __future__ import annotations

import json

import torch

from edged.compute.tensors import to_wire
from edged.core.ids import JobId
from edged.replication.snapshots import HeldState

JOB = JobId("aabbccddeeff")


def tensors() -> dict[str, torch.Tensor]:
    """By entry name; layer 4 has w and b, layer 5 nothing, layer 6 the rest."""
    generator = torch.Generator().manual_seed(3)
    picture = torch.randn(2, 3, 4, 5, generator=generator)
    return {
        "parameter/a.w": torch.randn(4, 3, generator=generator).to(torch.bfloat16),
        "buffer/a.b": torch.tensor([True, False, True]),
        "parameter/c.w": picture.to(memory_format=torch.channels_last),
        "buffer/c.count": torch.tensor(2**53 + 1),
        "buffer/c.expanded": torch.randn(1, 5, generator=generator).expand(7, 5),
        "buffer/c.complex": torch.tensor([1 + 2j, -0.0j]),
        "buffer/c.none": torch.empty(0, 3),
        "buffer/c.half": torch.tensor([0.1, float("nan"), -0.0], dtype=torch.float16),
        "optimizer/a.w/exp_avg": torch.randn(4, 3, generator=generator),
        "optimizer/c.w/step": torch.tensor(3.0, dtype=torch.float64),
        "optimizer/c.w/momentum_buffer": picture.double().to(memory_format=torch.channels_last),
    }


def held(version: int = 32, first: int = 4, job: JobId = JOB) -> HeldState:
    """Layers ``first`` to ``first + 2``."""
    entries = [to_wire(name, tensor, copy=True) for name, tensor in tensors().items()]
    extra = {
        "group": {"lr": 0.1 + 0.2, "weight_decay": 1e-300},
        "scheduler": {"last_epoch": 7, "_last_lr": [2.0**-1074]},
        "entries": {"a.w": {"step": 3}, "c.w": {"eta": 0.1}},
        "layers": [[0, 1], [], [2, 3, 4, 5, 6, 7]],
    }
    specs, buffers = tuple(spec for spec, _ in entries), tuple(view for _, view in entries)
    return HeldState(job, first, first + 2, version, specs, buffers, json.dumps(extra).encode())


def same(left: HeldState, right: HeldState) -> bool:
    """Whether every bit is equal."""
    places = [(each.job, each.first_layer, each.last_layer, each.version, each.tensors) for each in (left, right)]
    contents = [[bytes(buffer) for buffer in each.buffers] for each in (left, right)]
    return places[0] == places[1] and contents[0] == contents[1] and json.loads(left.extra) == json.loads(right.extra)
