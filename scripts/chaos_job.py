"""The job of the chaos scenarios: a small convolutional network with everything that a rollback could get wrong.

Batch norm keeps running statistics, dropout draws random numbers, momentum remembers, the scheduler counts. Drawing a
sample takes a moment, so that a step takes a few hundredths of a second on any device.
"""

from __future__ import annotations

import time
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the usual name
from torch.utils.data import Dataset

from edged import Job

CLASSES, SIDE, BATCH_SIZE, MICRO_BATCHES, SAMPLES = 4, 8, 16, 4, 96


class Pictures(Dataset[tuple[Tensor, Tensor]]):
    """Noise with a brighter quarter; drawing one takes ``pause`` seconds.

    ``moved``: a picture is moved by a random pixel each time it is drawn, so no copy can replace the data set.
    """

    def __init__(self, pause: float, *, moved: bool) -> None:
        """Keep nothing: every picture is made when it is asked for."""
        self.pause, self.moved = pause, moved

    def __len__(self) -> int:
        """Return the number of pictures."""
        return SAMPLES

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """(1, 8, 8) and the class."""
        time.sleep(self.pause)
        kind = index % CLASSES
        picture = torch.randn(1, SIDE, SIDE, generator=torch.Generator().manual_seed(index))
        half = SIDE // 2
        picture[:, kind // 2 * half :, kind % 2 * half :][:, :half, :half] += 1.0
        if self.moved:
            picture = torch.roll(picture, int(torch.randint(2, ())), 2)
        return picture, torch.tensor(kind)


def loss(model: nn.Module, batch: list[Tensor]) -> Tensor:
    """Mean cross entropy of a micro-batch."""
    mean: Tensor = F.cross_entropy(model(batch[0]), batch[1])
    return mean


def job(
    name: str = "chaos",
    steps: int = 160,
    pause: float = 0.001,
    width: int = 24,
    every: int = 0,
    moved: bool = False,  # noqa: FBT001, FBT002 - set by name, on a command line
) -> Job:
    """Build the job; ``every``: the interval of the replicas in steps, 0 lets the leader choose."""
    torch.manual_seed(11)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.1),
        nn.Conv2d(4, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(4 * SIDE * SIDE, width),
        nn.Tanh(),
        nn.Dropout(0.1),
        nn.Linear(width, width),
        nn.BatchNorm1d(width),
        nn.Tanh(),
        nn.Linear(width, CLASSES),
    )
    return Job(
        name=name,
        model=model,
        objective=loss,
        data=Pictures(pause, moved=moved),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=400),
        batch_size=BATCH_SIZE,
        micro_batches=MICRO_BATCHES,
        strategy="spread",
        epochs=100_000,
        max_steps=steps,
        replicate_every=every or None,
        seed=5,
    )
