"""The job file of the tests that change plans: twelve equal blocks, with enough work that a slow device is seen."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from edged import Job

ROWS, CHANNELS, SIZE, KINDS = 48, 24, 16, 4


class Pictures:
    """Random pictures."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(index)
        return torch.randn(CHANNELS, SIZE, SIZE, generator=generator), torch.tensor(index % KINDS)


def job(name: str = "deep", blocks: int = 12, steps: int = 6000) -> Job:
    """Steps of six micro-batches of four pictures."""
    torch.manual_seed(7)
    layers = [
        layer for _ in range(blocks) for layer in (nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), nn.Tanh())
    ]  # fmt: skip
    model = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(CHANNELS, KINDS))
    return Job(
        name=name,
        model=model,
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=Pictures(),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        batch_size=24,
        micro_batches=6,
        epochs=steps,
        max_steps=steps,
        seed=3,
    )
