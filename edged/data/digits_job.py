"""Handwritten digits, 8x8 pixels: the data that ships with edged, a small network, a few seconds.

The job of `edged demo`, and of examples/digits. It lies within the package so that the demo finds it wherever edged is
installed; like any job file, it needs nothing but torch and edged.
"""

from functools import partial

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from edged import Job
from edged.data.digits import LARGEST_PIXEL, read_digits


def block(inputs: int, outputs: int) -> nn.Sequential:
    """A convolution that keeps the image's size."""
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


def network() -> nn.Module:
    """An 8x8 image -> ten scores."""
    return nn.Sequential(
        block(1, 16), block(16, 16), nn.MaxPool2d(2), block(16, 32), block(32, 32), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10),
    )  # fmt: skip


def data() -> tuple[TensorDataset, TensorDataset]:
    """Four fifths for training; every fifth image is held out."""
    images, labels = read_digits()
    x = torch.tensor(list(images), dtype=torch.float32).view(-1, 1, 8, 8) / LARGEST_PIXEL
    y = torch.tensor(list(labels))
    held_out = torch.arange(len(y)) % 5 == 0
    return TensorDataset(x[~held_out], y[~held_out]), TensorDataset(x[held_out], y[held_out])


def accuracy(model: nn.Module, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Share of the images whose highest score is the right one."""
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def job(epochs: int = 20, seed: int = 0) -> Job:
    """The job that `edged train` and `edged demo` run."""
    torch.manual_seed(seed)
    training, held_out = data()
    return Job(
        name="digits",
        model=network(),
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=training,
        eval_data=held_out,
        metrics=accuracy,
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        batch_size=64,
        micro_batches=4,
        epochs=epochs,
        seed=seed,
        strategy="spread",  # one device alone would be faster; this job is to show how several share it
    )
