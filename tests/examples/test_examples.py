"""The example jobs load, train, and say what is missing."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.errors import JobError
from tests.examples.originals import (
    WORDS,
    pack_cifar10,
    write_bert,
    write_cifar10,
    write_idx,
    write_table,
    write_texts,
)

EXAMPLES = Path(__file__).parents[2] / "examples"


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


CIFAR10 = str(EXAMPLES / "cifar10" / "job.py")
TABULAR = str(EXAMPLES / "tabular" / "job.py")
HUGGINGFACE = str(EXAMPLES / "huggingface" / "job.py")


@pytest.mark.parametrize("packed", [False, True], ids=["folder", "archive"])
def test_cifar10_is_read_from_its_binary_files_and_trains(tmp_path: Path, packed: bool) -> None:
    source = write_cifar10(tmp_path)
    if packed:
        source = pack_cifar10(source, tmp_path / "cifar-10-binary.tar.gz")
    changes = {"data": str(source), "width": "4", "blocks": "1", "epochs": "1", "batch_size": "32"}
    job = load(CIFAR10, changes)
    assert (len(job.data), len(job.eval_data)) == (160, 32)
    image, label = job.data[33]
    records = (tmp_path / "data_batch_2.bin").read_bytes()
    assert int(label) == records[3073]
    expected = torch.tensor(list(records[3074 : 2 * 3073]), dtype=torch.float32).view(3, 32, 32) / 255
    for plane, mean, deviation in zip(range(3), (0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616), strict=True):
        assert torch.equal(image[plane], (expected[plane] - mean) / deviation)
    result = train_local(job)
    assert result.steps == 5
    assert result.history[-2]["event"] == "eval"


def test_cifar10_moves_images_by_chance_and_by_the_seed(tmp_path: Path) -> None:
    job = load(CIFAR10, {"data": str(write_cifar10(tmp_path)), "move": "2"})
    whole, label = load(CIFAR10, {"data": str(tmp_path)}).data[3]
    torch.manual_seed(5)
    moved = [job.data[3][0] for _ in range(40)]
    assert job.data[3][1] == label
    assert len({image.numpy().tobytes() for image in moved}) > 5
    padded = torch.nn.functional.pad(whole, (2, 2, 2, 2))
    places = [padded[:, y : y + 32, x : x + 32] for y in range(5) for x in range(5)]
    allowed = {image.numpy().tobytes() for place in places for image in (place, place.flip(2).contiguous())}
    allowed |= {place.contiguous().numpy().tobytes() for place in places}
    assert all(image.contiguous().numpy().tobytes() in allowed for image in moved)
    torch.manual_seed(5)
    assert torch.equal(job.data[3][0], moved[0])


def test_cifar10_says_what_is_missing_and_reads_no_pickles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGED_CIFAR10", raising=False)
    with pytest.raises(JobError, match="--set data=FOLDER, or EDGED_CIFAR10=FOLDER"):
        load(CIFAR10)
    with pytest.raises(JobError, match=r"holds no data_batch_1\.bin"):
        load(CIFAR10, {"data": str(tmp_path)})
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch " + bytes(tmp_path / "ran") + b"'\ntR.")
    with pytest.raises(JobError, match="pickles that could run code: take the binary version"):
        load(CIFAR10, {"data": str(tmp_path)})
    assert not (tmp_path / "ran").exists()
    write_cifar10(tmp_path, in_each=2)
    with (tmp_path / "data_batch_3.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(JobError, match=r"data_batch_3\.bin in .* has 6147 bytes, no multiple of 3073"):
        load(CIFAR10, {"data": str(tmp_path)})
    (tmp_path / "data_batch_3.bin").write_bytes(bytes([10]) * 3073)
    with pytest.raises(JobError, match="a label above 9"):
        load(CIFAR10, {"data": str(tmp_path)})
    (tmp_path / "torn.tar.gz").write_bytes(b"no archive")
    with pytest.raises(JobError, match="cannot be read"):
        load(CIFAR10, {"data": str(tmp_path / "torn.tar.gz")})


def test_a_table_is_learned_from_its_numbers_and_words(tmp_path: Path) -> None:
    table = write_table(tmp_path / "adult.csv")
    job = load(TABULAR, {"data": str(table), "target": "income", "epochs": "12", "optimizer.lr": "0.01"})
    numbers, words, label = job.data[0]
    assert (numbers.shape, words.shape, label.shape) == ((4,), (1,), ())  # country and id tell nothing
    last = [event for event in train_local(job).history if event["event"] == "eval"][-1]["metrics"]
    assert last["accuracy"] > max(0.9, last["majority"])


def test_a_table_is_prepared_with_what_its_training_rows_say(tmp_path: Path) -> None:
    """Held-out rows differ from all others on purpose: nothing of them may be in what is learned."""
    path = tmp_path / "t.csv"
    rows = 50
    order = torch.randperm(rows, generator=torch.Generator().manual_seed(0)).tolist()
    held_out = set(order[rows * 4 // 5 :])
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["size", "colour", "kind"])
        for row in range(rows):
            size, colour = (10**6, "far") if row in held_out else (row % 3, ("red", "blue")[row % 2])
            writer.writerow([size, colour, ("a", "b")[row % 2]])
    job = load(TABULAR, {"data": str(path), "target": "kind", "batch_size": "8"})
    sizes = [row % 3 for row in order[: rows * 4 // 5]]
    mean = math.fsum(sizes) / len(sizes)
    deviation = math.sqrt(math.fsum((size - mean) ** 2 for size in sizes) / len(sizes))
    numbers, words, labels = job.data.tensors
    assert torch.equal(numbers, torch.tensor([[(size - mean) / deviation, 0.0] for size in sizes]))
    assert words.flatten().tolist() == [1 + (row % 2 == 0) for row in order[: rows * 4 // 5]]  # blue, red
    assert labels.tolist() == [row % 2 for row in order[: rows * 4 // 5]]
    assert set(job.eval_data.tensors[1].flatten().tolist()) == {0}
    assert torch.equal(job.eval_data.tensors[0][0], torch.tensor([(10**6 - mean) / deviation, 0.0]))


@pytest.mark.parametrize("columns", ["numbers", "words"])
def test_a_table_of_one_kind_of_columns_trains(tmp_path: Path, columns: str) -> None:
    rows = [(f"{n % 7}" if columns == "numbers" else f"w{n % 7}", "yes" if n % 7 > 3 else "no") for n in range(100)]
    (tmp_path / "t.csv").write_text("a,b\n" + "".join(f"{a},{b}\n" for a, b in rows))
    changes = {"data": str(tmp_path / "t.csv"), "target": "b", "batch_size": "16", "epochs": "1"}
    assert train_local(load(TABULAR, changes)).steps == 5


@pytest.mark.parametrize(
    ("content", "target", "words"),
    [
        ("a,b\n1,x\n", "", "say which column to foretell: --set target=COLUMN; .* has a, b"),
        ("a,b\n1,x\n", "c", "say which column to foretell"),
        ("", "a", "has no rows"),
        ("a,b\n1,x\n2\n", "b", "line 3 has 1 values, the header names 2 columns"),
        ("a,a\n1,x\n", "a", "two columns of one name"),
        ("a,b\n" + "1,x\n" * 20, "b", "there are too few to learn"),
        ("a,b\n" + "1,x\n1,y\n" * 20, "b", "no column besides b tells rows apart"),
    ],
)
def test_a_table_that_cannot_be_learned_from_says_why(tmp_path: Path, content: str, target: str, words: str) -> None:
    (tmp_path / "t.csv").write_text(content)
    with pytest.raises(JobError, match=words):
        load(TABULAR, {"data": str(tmp_path / "t.csv"), "target": target})


@pytest.fixture
def bert(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """What to set for the Hugging Face example."""

    def changes(**more: str) -> dict[str, str]:
        folder, table = write_bert(tmp_path / "bert"), write_texts(tmp_path / "train.tsv")
        base = {"model": str(folder), "data": str(table), "length": "12", "batch_size": "16"}
        return {**base, "optimizer.lr": "0.01", **more}

    return changes


def test_a_hugging_face_model_is_fine_tuned(bert: Callable[..., dict[str, str]], tmp_path: Path) -> None:
    changes = bert(test=str(write_texts(tmp_path / "dev.tsv", 40, seed=1)), epochs="6")
    job = load(HUGGINGFACE, changes)
    assert (len(job.data), len(job.eval_data)) == (96, 40)
    last = [event for event in train_local(job).history if event["event"] == "eval"][-1]
    assert last["metrics"]["accuracy"] >= 0.9


def test_a_hugging_face_model_takes_texts_that_need_no_padding(bert: Callable[..., dict[str, str]]) -> None:
    """transformers leaves out the mask where it masks nothing; the program never does, and the bits are the same."""
    changes = bert(max_steps="2")
    rows = [f"{' '.join([word, *WORDS[:11]])}\t{label}\n" for word, label in (("good", 1), ("bad", 0))]
    Path(changes["data"]).write_text("sentence\tlabel\n" + "".join(rows * 30), encoding="utf-8")
    job = load(HUGGINGFACE, changes)
    assert all(bool(job.data[index]["mask"].all()) for index in range(len(job.data)))
    assert train_local(job).steps == 2


def test_the_hugging_face_example_says_what_is_missing(
    bert: Callable[..., dict[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("EDGED_MODEL", raising=False)
    with pytest.raises(JobError, match="--set model=FOLDER"):
        load(HUGGINGFACE)
    changes = bert()
    with pytest.raises(JobError, match="--set data=TABLE.tsv"):
        load(HUGGINGFACE, changes | {"data": ""})
    with pytest.raises(JobError, match="has no column text; it has sentence, label"):
        load(HUGGINGFACE, changes | {"text": "text"})
    (tmp_path / "dev.csv").write_text('sentence,label\n"good, and a film",loved\n')
    with pytest.raises(JobError, match="no row of data has the label 'loved'; there is disliked, liked"):
        load(HUGGINGFACE, changes | {"test": str(tmp_path / "dev.csv")})
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(JobError, match=r"needs transformers .*pip install 'edged\[huggingface\]'"):
        load(HUGGINGFACE)
