"""The job file of the system tests: a chain of small layers on random rows, as long as wanted."""

import time
from functools import partial

import torch
from torch import nn
from torch.nn import functional

from edged import Job

ROWS, WIDTH, KINDS = 64, 24, 4


class Rows:
    """Random rows; drawing one takes ``pause`` seconds, and row ``broken`` is full of NaN."""

    def __init__(self, pause: float, broken: int) -> None:
        self.pause, self.broken = pause, broken

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if self.pause:
            time.sleep(self.pause)
        row = torch.randn(WIDTH, generator=torch.Generator().manual_seed(index))
        return row * (torch.nan if index == self.broken else 1.0), torch.tensor(index % KINDS)


def job(name: str = "chain", blocks: int = 5, epochs: int = 1, pause: float = 0.0, broken: int = -1) -> Job:
    """Four steps an epoch, of four micro-batches each."""
    torch.manual_seed(7)
    layers = [layer for _ in range(blocks) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(WIDTH, KINDS))
    return Job(
        name=name,
        model=model,
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=Rows(pause, broken),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        batch_size=16,
        micro_batches=4,
        strategy="spread",
        epochs=epochs,
        seed=3,
    )
