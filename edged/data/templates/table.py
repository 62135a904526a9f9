"""A job for edged: rows of a CSV file, whose last column is a number to be foretold from the others.

It trains as it stands, on rows that are made up. Change what is numbered, 1 to 3, and try it after each change:

    edged train THIS_FILE --local      on this device alone: the way to debug
    edged train THIS_FILE              on all devices of the cluster; the weights are the same, bit for bit
"""

import csv
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from edged import Job

# 1. Your file: a line of names, then rows of numbers. Give its whole path, or put it beside this file and write
#    Path(__file__).with_name("rows.csv"). `None` makes rows up.
FILE: Path | None = None


def rows() -> torch.Tensor:
    """(rows, columns); the last column is what to foretell."""
    if FILE is None:
        known = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0))
        return torch.cat([known, (known[:, :1] * known[:, 1:2] - known[:, 2:3]).sin()], 1)
    with FILE.open(newline="", encoding="utf-8") as file:
        _names, *lines = csv.reader(file)
    return torch.tensor([[float(number) for number in line] for line in lines])


def data() -> tuple[TensorDataset, TensorDataset]:
    """Every fifth row is held out. All columns are brought to mean 0 and spread 1, by the rows to learn from."""
    table = rows()
    held_out = torch.arange(len(table)) % 5 == 0
    spread, mean = torch.std_mean(table[~held_out], 0)
    table = (table - mean) / spread.clamp(min=1e-6)
    known, wanted = table[:, :-1], table[:, -1:]
    return TensorDataset(known[~held_out], wanted[~held_out]), TensorDataset(known[held_out], wanted[held_out])


# 2. Your model. For classes instead of numbers: as many outputs as classes, and functional.cross_entropy below.
def network(columns: int, width: int = 128) -> nn.Module:
    """(n, columns) -> (n, 1)."""
    return nn.Sequential(
        nn.Linear(columns, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, 1),
    )  # fmt: skip


def loss(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    """Mean square of the error, in units of the column's spread."""
    known, wanted = batch
    return functional.mse_loss(model(known), wanted)


# 3. How it is trained. `--set epochs=5` or `--set optimizer.lr=0.01` changes such numbers for one run.
def job() -> Job:
    """What `edged train` runs."""
    training, held_out = data()
    torch.manual_seed(0)  # of the first weights
    return Job(
        name="table",
        model=network(columns=training.tensors[0].shape[1]),
        objective=loss,
        data=training,
        eval_data=held_out,
        optimizer=partial(torch.optim.AdamW, lr=0.003, weight_decay=0.01),
        batch_size=40,
        micro_batches=4,
        epochs=5,
    )
