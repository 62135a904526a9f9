"""A job file, as a user has one: a good job, and the mistakes of a first day."""

import time
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from edged import Job


class Points:
    """Seeded points in three classes; may break at one index, or take its time.

    As long as a file ``gate`` is there, that of index ``gated`` waits, or all.
    """

    def __init__(
        self, count: int = 256, broken: int = -1, seconds: float = 0.0, gate: str = "", gated: int | None = None
    ) -> None:
        self.count, self.broken, self.seconds = count, broken, seconds
        self.gate, self.gated = gate, gated

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        if index == self.broken:
            raise RuntimeError(f"sample {index} is broken")
        time.sleep(self.seconds)
        while self.gate and self.gated in {None, index} and Path(self.gate).exists():
            time.sleep(0.02)
        point = torch.randn(6, generator=torch.Generator().manual_seed(index))
        return point, torch.tensor(index % 3)


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x) if x.sum() > 0 else -self.layer(x)


def make(**changes) -> Job:
    torch.manual_seed(1)
    fields = {
        "name": "small",
        "model": nn.Sequential(nn.Linear(6, 10), nn.ReLU(), nn.Linear(10, 8), nn.ReLU(), nn.Linear(8, 3)),
        "objective": lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        "data": Points(),
        "optimizer": partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        "batch_size": 32,
        "micro_batches": 2,
        "seed": 3,
        "strategy": "spread",
    }
    return Job(**(fields | changes))


def accuracy(model, batch):
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def job(epochs: int = 2) -> Job:
    return make(epochs=epochs, eval_data=Points(64), metrics=accuracy)


def slow(name: str = "slow") -> Job:
    return make(name=name, data=Points(seconds=0.001), epochs=100_000)


def sleepy(gate: str = "") -> Job:
    """A step takes more than a second, and none ends while there is a file ``gate``."""
    return make(name="sleepy", data=Points(seconds=0.05, gate=gate), epochs=1000)


def broken_sample(broken: int = 1000, steps: int = 64, gate: str = "") -> Job:
    data = Points(2048, broken=broken, gate=gate, gated=950)
    return make(name="broken", data=data, shuffle=False, max_steps=steps, replicate_every=4)


def exploding() -> Job:
    return make(name="exploding", optimizer=partial(torch.optim.SGD, lr=1e30), epochs=4)


def branching() -> Job:
    return make(model=Branching())


def raising() -> Job:
    raise ValueError("the disk is not mounted")


def number() -> int:
    return 3


def uneven() -> Job:
    return make(batch_size=7)
