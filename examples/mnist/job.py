"""MNIST from its four idx files, packed (.gz) or not: 98.5 % of the test digits after two epochs.

EDGED_MNIST=FOLDER edged train examples/mnist/job.py
edged train examples/mnist/job.py --set data=FOLDER
"""

import gzip
import os
import struct
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from edged import Job
from edged.errors import JobError

BYTES = 8
"""The code of unsigned bytes in an idx file's third byte."""


def read_idx(folder: Path, name: str) -> torch.Tensor:
    """The tensor of bytes in the idx file ``name``, or in ``name.gz``."""
    packed = folder / f"{name}.gz"
    if packed.is_file():
        content = gzip.decompress(packed.read_bytes())
    elif (folder / name).is_file():
        content = (folder / name).read_bytes()
    else:
        raise JobError(f"data: {folder} holds neither {name} nor {name}.gz: is it the folder with MNIST's four files?")
    zero, kind, dimensions = struct.unpack_from(">HBB", content)
    shape = struct.unpack_from(f">{dimensions}I", content, 4)
    start = 4 + 4 * dimensions
    if zero != 0 or kind != BYTES or len(content) - start != torch.Size(shape).numel():
        raise JobError(f"data: {folder / name} is not a complete idx file of bytes")
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=start).view(shape)


def part(folder: Path, name: str) -> TensorDataset:
    """Images (n, 1, 28, 28) with mean 0 and deviation 1, and labels."""
    images = read_idx(folder, f"{name}-images-idx3-ubyte").float().div_(255).sub_(0.1307).div_(0.3081)
    return TensorDataset(images.unsqueeze(1), read_idx(folder, f"{name}-labels-idx1-ubyte").long())


def network() -> nn.Module:
    """A 28x28 image -> ten scores."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 5, stride=2, padding=2), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(576, 10),
    )  # fmt: skip


def accuracy(model: nn.Module, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Share of the images whose highest score is the right one."""
    return {"accuracy": (model(batch[0]).argmax(1) == batch[1]).float().mean()}


def job(data: str = "", epochs: int = 2, seed: int = 0) -> Job:
    """``data`` is the folder of the idx files (default: the variable EDGED_MNIST)."""
    folder = data or os.environ.get("EDGED_MNIST", "")
    if not folder:
        raise JobError("data: say where MNIST's idx files are: --set data=FOLDER, or EDGED_MNIST=FOLDER")
    torch.manual_seed(seed)
    training = part(Path(folder), "train")
    batch_size = 64
    steps = epochs * (len(training) // batch_size)
    return Job(
        name="mnist",
        model=network(),
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=training,
        eval_data=part(Path(folder), "t10k"),
        metrics=accuracy,
        optimizer=partial(torch.optim.SGD, lr=0.05, momentum=0.9, weight_decay=5e-4),
        scheduler=partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=steps),
        batch_size=batch_size,
        micro_batches=4,
        epochs=epochs,
        seed=seed,
    )
