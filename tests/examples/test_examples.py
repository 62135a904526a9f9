"""The example jobs load, train, and say what is missing."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import pytest
import torch

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.errors import JobError

EXAMPLES = Path(__file__).parents[2] / "examples"


def write_idx(path: Path, values: torch.Tensor, *, packed: bool) -> None:
    head = struct.pack(f">HBB{values.dim()}I", 0, 8, values.dim(), *values.shape)
    content = head + bytes(values.flatten().tolist())
    if packed:
        path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(content, 1))
    else:
        path.write_bytes(content)


@pytest.fixture
def idx_folder(tmp_path: Path) -> Path:
    generator = torch.Generator().manual_seed(0)
    for name, count, packed in (("train", 192, True), ("t10k", 40, False)):
        labels = torch.randint(10, (count,), generator=generator)
        images = torch.zeros(count, 28, 28, dtype=torch.uint8)
        for image, label in zip(images, labels, strict=True):
            image[int(label) * 2 : int(label) * 2 + 4] = 255
        write_idx(tmp_path / f"{name}-images-idx3-ubyte", images, packed=packed)
        write_idx(tmp_path / f"{name}-labels-idx1-ubyte", labels, packed=packed)
    return tmp_path


def test_digits_reach_their_accuracy_within_six_epochs() -> None:
    result = train_local(load(str(EXAMPLES / "digits" / "job.py"), {"epochs": "6"}))
    last = [event for event in result.history if event["event"] == "eval"][-1]
    assert last["metrics"]["accuracy"] >= 0.96


def test_mnist_reads_idx_files_packed_or_not(idx_folder: Path) -> None:
    job = load(str(EXAMPLES / "mnist" / "job.py"), {"data": str(idx_folder), "epochs": "1"})
    assert (len(job.data), len(job.eval_data)) == (192, 40)
    image, label = job.data[0]
    assert image.shape == (1, 28, 28)
    assert image[0, int(label) * 2, 0] == image.max() > 1
    result = train_local(job)
    assert result.steps == 3


def test_mnist_takes_the_folder_from_the_environment(idx_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_MNIST", str(idx_folder))
    assert len(load(str(EXAMPLES / "mnist" / "job.py")).data) == 192


def test_mnist_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGED_MNIST", raising=False)
    with pytest.raises(JobError, match="--set data=FOLDER, or EDGED_MNIST=FOLDER"):
        load(str(EXAMPLES / "mnist" / "job.py"))
    with pytest.raises(JobError, match="holds neither train-images-idx3-ubyte nor"):
        load(str(EXAMPLES / "mnist" / "job.py"), {"data": str(tmp_path)})
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"\0\0\x08\x01\0\0\0\x05ab")
    with pytest.raises(JobError, match="is not a complete idx file"):
        load(str(EXAMPLES / "mnist" / "job.py"), {"data": str(tmp_path)})


def test_tiny_gpt_learns_a_repeated_line(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.txt").write_text("the quick brown fox jumps over the lazy dog. " * 60)
    changes = {"text": str(tmp_path), "length": "32", "width": "32", "blocks": "1", "optimizer.lr": "0.01"}
    result = train_local(load(str(EXAMPLES / "tiny_gpt" / "job.py"), changes | {"epochs": "4"}))
    losses = [event["loss"] for event in result.history if event["event"] == "eval"]
    assert losses[-1] < 2.5


def test_tiny_gpt_says_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGED_TEXT", raising=False)
    job = str(EXAMPLES / "tiny_gpt" / "job.py")
    with pytest.raises(JobError, match="say what to learn from"):
        load(job)
    with pytest.raises(JobError, match="neither a text file nor a folder"):
        load(job, {"text": str(tmp_path)})
    (tmp_path / "a.txt").write_text("too short")
    with pytest.raises(JobError, match="are too few"):
        load(job, {"text": str(tmp_path)})
