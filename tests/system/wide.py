"""The job file of the tests of memory: a chain of wide layers, built without values, whose weights lie in a file."""

from functools import partial
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional

from edged import Job

WIDTH, BLOCKS, ROWS, KINDS = 1024, 8, 64, 10


class Rows:
    """Random rows with their kinds."""

    def __len__(self) -> int:
        return ROWS

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        row = torch.randn(WIDTH, generator=torch.Generator().manual_seed(index))
        return row, torch.tensor(index % KINDS)


def network() -> nn.Module:
    """Some 33 MB of parameters."""
    layers = [layer for _ in range(BLOCKS) for layer in (nn.Linear(WIDTH, WIDTH), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(WIDTH, KINDS))


def bare() -> nn.Module:
    """The same on the meta device, which takes no memory."""
    with torch.device("meta"):
        return network()


def write_weights(path: Path) -> None:
    """The file with the first weights."""
    torch.manual_seed(5)
    save_file(network().state_dict(), path)


def job(weights: str, epochs: int = 3) -> Job:
    """Four steps an epoch, of four micro-batches each."""
    return Job(
        name="wide",
        model=bare,
        weights=weights,
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=Rows(),
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        batch_size=16,
        micro_batches=4,
        epochs=epochs,
        replicate_every=16,
        seed=3,
    )
