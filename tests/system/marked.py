"""A job whose parts have names that are found nowhere else, and known numbers: nobody may read any of it on a wire."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from edged import Job

ROWS, WIDTH, KINDS = 48, 32, 4
LAYERS = ("velvet_anchor", "copper_lantern", "silent_harbour", "amber_compass")


class Model(nn.Module):
    """A chain of layers that go by names."""

    def __init__(self) -> None:
        super().__init__()
        for name in LAYERS:
            self.add_module(name, nn.Linear(WIDTH, WIDTH))
        self.wooden_crown = nn.Linear(WIDTH, KINDS)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name in LAYERS:
            x = torch.tanh(self.get_submodule(name)(x))
        return self.wooden_crown(x)


def rows() -> list[tuple[torch.Tensor, torch.Tensor]]:
    """The same in every process."""
    drawn = torch.randn(ROWS, WIDTH, generator=torch.Generator().manual_seed(99))
    return [(row.clone(), torch.tensor(index % KINDS)) for index, row in enumerate(drawn)]


def job(name: str = "marbled-otter") -> Job:
    """Nine steps of four micro-batches."""
    torch.manual_seed(11)
    return Job(
        name=name,
        model=Model(),
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=rows(),
        optimizer=partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        batch_size=16,
        micro_batches=4,
        epochs=3,
        seed=5,
        strategy="spread",
        replicate_every=2,
    )
