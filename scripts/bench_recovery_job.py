"""The job of the recovery and replication benchmarks: a plain network of 15 MB, random rows, momentum."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import Dataset

from edged import Job

WIDTH, BLOCKS, CLASSES, ROWS = 722, 7, 10, 256
"""7 blocks of 722 x 722 weights and biases of 4 bytes, and the last layer: 14.7 MB; as much again is the momentum."""


class Rows(Dataset[tuple[Tensor, Tensor]]):
    """Random rows and labels; drawing one takes ``pause`` seconds."""

    def __init__(self, pause: float) -> None:
        """Keep nothing: every row is made when it is asked for."""
        self.pause = pause

    def __len__(self) -> int:
        """Return the number of rows."""
        return ROWS

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(722,) and the label."""
        time.sleep(self.pause)
        return torch.randn(WIDTH, generator=torch.Generator().manual_seed(index)), torch.tensor(index % CLASSES)


def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Mean cross entropy of a micro-batch."""
    mean: Tensor = F.cross_entropy(model(batch[0]), batch[1])
    return mean


def job(steps: int = 1_000_000, pause: float = 0.0005, checkpoint: str = "") -> Job:
    """Build the job, from the weights in a file if one is named."""
    torch.manual_seed(3)
    blocks = [layer for _ in range(BLOCKS) for layer in (nn.Linear(WIDTH, WIDTH), nn.ReLU())]
    model = nn.Sequential(*blocks, nn.Linear(WIDTH, CLASSES))
    if checkpoint:
        model.load_state_dict(load_file(Path(checkpoint)))
    return Job(
        name="bench-recovery",
        model=model,
        objective=loss,
        data=Rows(pause),
        optimizer=partial(torch.optim.SGD, lr=0.001, momentum=0.9),
        batch_size=32,
        micro_batches=4,
        strategy="spread",
        epochs=1_000_000,
        max_steps=steps,
    )
