"""Fine-tunes a Hugging Face model from a local folder to classify texts, such as GLUE's SST-2. Nothing is downloaded.

pip install 'edged[huggingface]'
edged train examples/huggingface/job.py --set model=FOLDER --set data=train.tsv --set test=dev.tsv
edged export huggingface --output NEW_FOLDER --pretrained

The folder is one that ``save_pretrained`` writes, of an encoder such as BERT: config.json, model.safetensors, and the
tokenizer's files. The data are tables with a header, tab-separated (.tsv, as GLUE has them) or comma-separated (.csv).
"""

import csv
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import Dataset

from edged import Job
from edged.errors import JobError

try:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    from transformers.utils import logging
except ImportError as error:
    raise JobError(f"this example needs transformers ({error}): pip install 'edged[huggingface]'") from error

LEAST_SAMPLES = 10
"""Fewer cannot be parted into what is learned from and what is held out."""


class Texts(Dataset[dict[str, torch.Tensor]]):
    """Texts as the model takes them, all padded to one length, with their labels."""

    def __init__(self, words: torch.Tensor, mask: torch.Tensor, labels: torch.Tensor) -> None:
        """``words`` and ``mask``: (n, length); ``labels``: (n,); all whole numbers."""
        self.words, self.mask, self.labels = words, mask, labels

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        """One text and its label."""
        return {"words": self.words[index], "mask": self.mask[index], "label": self.labels[index]}


def read(path: Path, text: str, label: str) -> list[tuple[str, str]]:
    """The columns ``text`` and ``label`` of a table."""
    tabs = path.suffix == ".tsv"
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE) if tabs else csv.DictReader(file)
            missing = {text, label}.difference(rows.fieldnames or ())
            if missing:
                columns = ", ".join(rows.fieldnames or ()) or "none"
                raise JobError(f"data: {path} has no column {min(missing)}; it has {columns}: --set text=...")
            found = [(row[text], row[label]) for row in rows if row[text] and row[label]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise JobError(f"data: {path} cannot be read as a table of texts: {error}") from error
    if not found:
        raise JobError(f"data: {path} has no row with a text and a label")
    return found


def prepared(tokenizer: Any, rows: list[tuple[str, str]], labels: list[str], length: int) -> Texts:
    """Rows as tensors: texts cut or padded to ``length`` tokens, labels as their places in ``labels``."""
    unknown = {label for _, label in rows}.difference(labels)
    if unknown:
        raise JobError(f"test: no row of data has the label {min(unknown)!r}; there is {', '.join(labels)}")
    tokens = tokenizer(
        [text for text, _ in rows], padding="max_length", truncation=True, max_length=length, return_tensors="pt"
    )
    numbers = torch.tensor([labels.index(label) for _, label in rows])
    return Texts(tokens["input_ids"], tokens["attention_mask"], numbers)


def loader(folder: str, labels: list[str], seed: int) -> Callable[[], nn.Module]:
    """How to get the model: from the folder, with a head of its own for these labels, made from the seed."""

    def load() -> nn.Module:
        torch.manual_seed(seed)
        model: nn.Module = AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,  # other formats can run code when they are read
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
        )
        return model

    return load


def objective(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Mean surprise at the label."""
    return functional.cross_entropy(scores(model, batch), batch["label"])


def accuracy(model: nn.Module, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Share of the texts whose highest score is the right one."""
    return {"accuracy": (scores(model, batch).argmax(1) == batch["label"]).float().mean()}


def scores(model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """One score for each label, of shape (n, labels)."""
    found: torch.Tensor = model(input_ids=batch["words"], attention_mask=batch["mask"]).logits
    return found


def job(
    model: str = "",
    data: str = "",
    test: str = "",
    text: str = "sentence",
    label: str = "label",
    length: int = 64,
    batch_size: int = 32,
    epochs: int = 3,
    seed: int = 0,
) -> Job:
    """``model``: the folder (default: EDGED_MODEL); ``data``, ``test``: tables (no ``test``: a tenth is held out)."""
    folder = model or os.environ.get("EDGED_MODEL", "")
    if not folder or not (Path(folder) / "config.json").is_file():
        raise JobError(f"model: {folder or 'nothing'} is no folder with a config.json: --set model=FOLDER")
    if not data:
        raise JobError("data: say what to learn from: --set data=TABLE.tsv (or .csv)")
    logging.disable_progress_bar()
    rows = read(Path(data), text, label)
    if not test and len(rows) < LEAST_SAMPLES:
        raise JobError(f"data: {len(rows)} rows are too few to hold some out: give --set test=TABLE.tsv, or more rows")
    held_out = read(Path(test), text, label) if test else rows[-(len(rows) // 10) :]
    learned = rows if test else rows[: -(len(rows) // 10)]
    labels = sorted({name for _, name in rows})
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    if tokenizer.pad_token is None:
        raise JobError(
            f"model: the tokenizer in {folder} cannot pad texts, as GPT's cannot: take an encoder such as BERT"
        )
    return Job(
        name="huggingface",
        model=loader(folder, labels, seed),
        objective=objective,
        data=prepared(tokenizer, learned, labels, length),
        eval_data=prepared(tokenizer, held_out, labels, length),
        metrics=accuracy,
        optimizer=partial(torch.optim.AdamW, lr=2e-5, weight_decay=0.01),
        clip_norm=1.0,
        batch_size=batch_size,
        micro_batches=4,
        epochs=epochs,
        seed=seed,
    )
