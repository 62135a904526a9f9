"""A job for edged: a module of your own.

It trains as it stands. Change what is numbered, 1 to 4, and try it after each change:

    edged train THIS_FILE --local      on this device alone: the way to debug
    edged train THIS_FILE              on all devices of the cluster; the weights are the same, bit for bit

This file runs on this device only; the others get the captured model and micro-batches of tensors. `edged init
--template table` and `--template huggingface` begin with something else.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from edged import Job

Batch = list[torch.Tensor]


# 1. Your data: anything with `len(data)` and `data[i]`, which gives a tensor, or a tuple or dict of tensors. What is
#    made at random needs a fixed seed: this file runs more than once, and the samples must be the same each time.
def data() -> tuple[TensorDataset, TensorDataset]:
    """2,000 points, and whether each lies in a ring; a fifth is held out."""
    points = torch.rand(2000, 2, generator=torch.Generator().manual_seed(0)) * 2 - 1
    inside = ((points.norm(dim=1) * 2.5).long() == 1).long()
    return TensorDataset(points[:1600], inside[:1600]), TensorDataset(points[1600:], inside[1600:])


# 2. Your model: any nn.Module that torch.export takes. Several devices share it, so it should have several layers.
class Net(nn.Module):
    """A point (n, 2) -> scores of two classes (n, 2)."""

    def __init__(self, width: int = 64) -> None:
        """``width``: of the hidden layers."""
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.head = nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        scores: torch.Tensor = self.head(self.layers(x))
        return scores


# 3. What is to become small (one number, the mean over the micro-batch), and what you want to see after each epoch.
def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """``batch``: what `data[i]` gives, stacked."""
    points, inside = batch
    return functional.cross_entropy(model(points), inside)


def metrics(model: nn.Module, batch: Batch) -> dict[str, torch.Tensor]:
    """Means over the data that is held out."""
    points, inside = batch
    return {"accuracy": (model(points).argmax(1) == inside).float().mean()}


# 4. How it is trained. `--set epochs=5` or `--set optimizer.lr=0.01` changes such numbers for one run.
def job() -> Job:
    """What `edged train` runs."""
    training, held_out = data()
    torch.manual_seed(0)  # of the first weights
    return Job(
        name="first",
        model=Net(),
        objective=loss,
        data=training,
        eval_data=held_out,
        metrics=metrics,
        optimizer=partial(torch.optim.AdamW, lr=0.003),  # any of torch.optim, by name and numbers
        batch_size=64,  # samples of one step
        micro_batches=4,  # parts of a batch: with more of them, more devices are busy at once
        epochs=8,
    )
