"""Classifies the rows of a table, a CSV file with a header whose columns hold numbers, words, or nothing at times.

edged train examples/tabular/job.py --set data=TABLE.csv --set target=COLUMN

What the preparation knows it has from the training rows alone: which columns are numbers, their means and deviations,
which words there are. So the accuracy on the held-out rows is an honest one; compare it with ``majority``, that of
always saying what is most frequent among the training rows.
"""

import csv
import math
import os
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import TensorDataset

from edged import Job
from edged.errors import JobError

MISSING = frozenset({"", "?", "na", "n/a", "nan", "null", "none"})
UNKNOWN = 0
"""The number of a word that no training row has, and of one that is missing."""

Row = dict[str, str]


@dataclass(frozen=True)
class Numbers:
    """A column of numbers: its mean and deviation among the training rows."""

    name: str
    mean: float
    deviation: float

    def prepare(self, row: Row) -> tuple[float, float]:
        """The standardised number, and 0; if it is missing or none, the mean (which is 0), and 1."""
        value = number(row[self.name])
        return (0.0, 1.0) if value is None else ((value - self.mean) / self.deviation, 0.0)


@dataclass(frozen=True)
class Words:
    """A column of words: those of the training rows, which are numbered from 1 on."""

    name: str
    known: dict[str, int]

    def prepare(self, row: Row) -> int:
        """The word's number."""
        return self.known.get(row[self.name], UNKNOWN)


@dataclass(frozen=True)
class Preparation:
    """What is done with every row."""

    numbers: tuple[Numbers, ...]
    words: tuple[Words, ...]
    target: Words

    def apply(self, rows: list[Row]) -> TensorDataset:
        """(numbers, words, label): (n, 2 * columns of numbers), (n, columns of words), (n,)."""
        numbers = torch.tensor([[part for column in self.numbers for part in column.prepare(row)] for row in rows])
        words = torch.tensor([[column.prepare(row) for column in self.words] for row in rows], dtype=torch.long)
        labels = torch.tensor([self.target.prepare(row) - 1 for row in rows])
        return TensorDataset(numbers, words, labels)


class Table(nn.Module):
    """Numbers as they are and each word as a vector of its own, through a small network."""

    def __init__(self, numbers: int, words: list[int], classes: int, width: int) -> None:
        """``numbers``: values in each row; ``words``: how many different ones each column of words has."""
        super().__init__()
        sizes = [min(16, 1 + math.isqrt(count)) for count in words]
        self.words = nn.ModuleList(nn.Embedding(count, size) for count, size in zip(words, sizes, strict=True))
        self.network = nn.Sequential(
            nn.Linear(numbers + sum(sizes), width), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(width, width), nn.ReLU(), nn.Dropout(0.1),
            nn.Linear(width, classes),
        )  # fmt: skip

    def forward(self, numbers: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        """(n, numbers), (n, columns of words) -> (n, classes)."""
        vectors = [column(words[:, place]) for place, column in enumerate(self.words)]
        scores: torch.Tensor = self.network(torch.cat([numbers, *vectors], 1))
        return scores


def number(text: str) -> float | None:
    """A finite number, or ``None``."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def read(path: Path) -> list[Row]:
    """The rows of a table, spaces around values taken off."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, skipinitialspace=True, strict=True)
            header = [name.strip() for name in next(reader, [])]
            rows = [(reader.line_num, [value.strip() for value in row]) for row in reader if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JobError(f"data: {path} cannot be read as a table: {error}") from error
    if len(set(header)) != len(header):
        raise JobError(f"data: {path} has two columns of one name in its header: {', '.join(header)}")
    for line, row in rows:
        if len(row) != len(header):
            raise JobError(f"data: {path}, line {line} has {len(row)} values, the header names {len(header)} columns")
    return [dict(zip(header, row, strict=True)) for _, row in rows]


def learned(rows: list[Row], target: str) -> Preparation:
    """What these rows, those of the training, say of the columns.

    Left out is what teaches nothing: a column that always says the same, or words of which no two are equal.
    """
    numbers, words = [], []
    for name in rows[0]:
        values = [row[name] for row in rows if row[name].lower() not in MISSING]
        found = [value for value in map(number, values) if value is not None]
        if name == target or not values:
            continue
        if len(found) == len(values):
            mean = math.fsum(found) / len(found)
            deviation = math.sqrt(math.fsum((value - mean) ** 2 for value in found) / len(found))
            if deviation > 0:
                numbers.append(Numbers(name, mean, deviation))
        elif 1 < len(set(values)) < len(values):
            words.append(numbered(name, values))
    if not numbers and not words:
        raise JobError(f"data: no column besides {target} tells rows apart: there is nothing to learn from")
    return Preparation(tuple(numbers), tuple(words), numbered(target, [row[target] for row in rows]))


def numbered(name: str, values: list[str]) -> Words:
    """A column of these words."""
    return Words(name, {word: place for place, word in enumerate(sorted(set(values)), 1)})


def split(rows: list[Row], target: str, seed: int) -> tuple[list[Row], list[Row]]:
    """Training rows, and a fifth that is held out, by chance; rows without a label, or with a new one, are left out."""
    rows = [row for row in rows if row[target].lower() not in MISSING]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed)).tolist()
    border = len(rows) * 4 // 5
    training = [rows[index] for index in order[:border]]
    labels = {row[target] for row in training}
    held_out = [rows[index] for index in order[border:] if rows[index][target] in labels]
    if len(labels) < 2 or not held_out:  # noqa: PLR2004 -- of one class there is nothing to tell apart
        raise JobError(f"target: among {len(rows)} rows with a {target} there are too few to learn and to hold out")
    return training, held_out


def objective(model: nn.Module, batch: list[torch.Tensor]) -> torch.Tensor:
    """Mean surprise at the label."""
    return functional.cross_entropy(model(batch[0], batch[1]), batch[2])


def job(
    data: str = "", target: str = "", width: int = 64, batch_size: int = 64, epochs: int = 10, seed: int = 0
) -> Job:
    """``data``: the table (default: the variable EDGED_TABLE); ``target``: the column to foretell."""
    source = data or os.environ.get("EDGED_TABLE", "")
    if not source:
        raise JobError("data: say where the table is: --set data=TABLE.csv, or EDGED_TABLE=TABLE.csv")
    rows = read(Path(source))
    if not rows or target not in rows[0]:
        columns = ", ".join(rows[0]) if rows else "no rows"
        raise JobError(f"target: say which column to foretell: --set target=COLUMN; {source} has {columns}")
    training, held_out = split(rows, target, seed)
    preparation = learned(training, target)
    labels = preparation.target.known
    majority = labels[Counter(row[target] for row in training).most_common(1)[0][0]] - 1

    def metrics(model: nn.Module, batch: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        right = model(batch[0], batch[1]).argmax(1) == batch[2]
        return {"accuracy": right.float().mean(), "majority": (batch[2] == majority).float().mean()}

    torch.manual_seed(seed)
    sizes = [len(column.known) + 1 for column in preparation.words]
    return Job(
        name="tabular",
        model=Table(2 * len(preparation.numbers), sizes, len(labels), width),
        objective=objective,
        data=preparation.apply(training),
        eval_data=preparation.apply(held_out),
        metrics=metrics,
        optimizer=partial(torch.optim.AdamW, lr=1e-3, weight_decay=0.01),
        batch_size=batch_size,
        micro_batches=2,
        epochs=epochs,
        seed=seed,
    )
