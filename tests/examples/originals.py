"""Small data and a small model in the forms in which the large ones are published."""

from __future__ import annotations

import csv
import gzip
import io
import random
import struct
import tarfile
from pathlib import Path

import torch
from transformers import BertConfig, BertModel, BertTokenizer

WORDS = ("the", "film", "was", "a", "plot", "and", "cast", "with", "its", "very", "quite", "story")


def write_idx(path: Path, values: torch.Tensor, *, packed: bool) -> None:
    """One of MNIST's files: bytes of any shape."""
    head = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape)
    content = head + bytes(values.flatten().tolist())
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, 1))
    else:
        path.write_bytes(content)


def write_cifar10(folder: Path, in_each: int = 32) -> Path:
    """The six files of CIFAR-10's binary version; the label is the brightness of the green."""
    generator = random.Random(0)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        records = bytearray()
        for _ in range(in_each):
            label = generator.randrange(10)
            records += bytes([label, *[7] * 1024, *[20 * label] * 1024, *[generator.randrange(256)] * 1024])
        (folder / name).write_bytes(records)
    return folder


def pack_cifar10(folder: Path, archive: Path) -> Path:
    """The archive in which they are published."""
    with tarfile.open(archive, "w:gz") as packed:
        packed.addfile(tarfile.TarInfo("cifar-10-batches-bin/readme.html"), io.BytesIO(b""))
        for path in sorted(folder.glob("*.bin")):
            packed.add(path, f"cifar-10-batches-bin/{path.name}")
    return archive


def write_table(path: Path, rows: int = 400) -> Path:
    """Incomes as in UCI's Adult: spaces after commas, ``?`` for what is missing, a name that tells nothing."""
    generator = random.Random(1)
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write("age, hours, job, country, id, income\n")
        for number in range(rows):
            age, hours = generator.randint(17, 80), generator.randint(10, 60)
            job = generator.choice(("clerk", "nurse", "smith", "cook"))
            rich = hours + 20 * (job in {"nurse", "smith"}) > 45
            told = "?" if generator.random() < 0.1 else str(age)
            file.write(f'{told}, {hours}, {job}, "Earth, third", person {number}, {">50K" if rich else "<=50K"}\n')
    return path


def write_texts(path: Path, rows: int = 96, seed: int = 0) -> Path:
    """Films that were good or bad, as GLUE writes them down."""
    generator = random.Random(seed)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        writer.writerow(("sentence", "label"))
        for _ in range(rows):
            words = generator.choices(WORDS, k=generator.randint(2, 9))
            liked = generator.randrange(2)
            words[generator.randrange(len(words))] = "good" if liked else "bad"
            writer.writerow((" ".join(words), "liked" if liked else "disliked"))
    return path


def write_bert(folder: Path) -> Path:
    """A BERT without a head, and its tokenizer, as ``save_pretrained`` leaves them."""
    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", *WORDS)
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        BertModel(config).save_pretrained(folder)
    BertTokenizer(vocab={word: number for number, word in enumerate(words)}).save_pretrained(folder)
    return folder
