"""The example jobs on two real nodes: the same weights as on one device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.compute.result import state_sha256
from tests.cli.shell import edged
from tests.examples.originals import write_bert, write_cifar10, write_table, write_texts
from tests.system.cluster import Cluster

ROOT = Path(__file__).parents[2]
MNIST = Path(os.environ.get("EDGED_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
TEXT = "the quick brown fox jumps over the lazy dog. " * 60

EXAMPLES = {
    "digits": {"epochs": "1"},
    "mnist": {"data": str(MNIST), "max_steps": "10"},
    "tiny_gpt": {"length": "32", "width": "32", "blocks": "2", "epochs": "1"},
    "cifar10": {"width": "4", "blocks": "1", "epochs": "1", "batch_size": "32"},
    "tabular": {"target": "income", "epochs": "1"},
    "huggingface": {"length": "12", "batch_size": "16", "epochs": "1", "optimizer.lr": "0.001"},
}


def write_data(example: str, folder: Path) -> dict[str, str]:
    """What an example needs that is not here, written to ``folder``; what to set."""
    match example:
        case "tiny_gpt":
            (folder / "book.txt").write_text(TEXT, encoding="utf-8")
            return {"text": str(folder / "book.txt")}
        case "cifar10":
            return {"data": str(write_cifar10(folder))}
        case "tabular":
            return {"data": str(write_table(folder / "adult.csv"))}
        case "huggingface":
            return {"model": str(write_bert(folder / "bert")), "data": str(write_texts(folder / "train.tsv"))}
        case _:
            return {}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        cluster = Cluster(stack, tmp_path_factory.mktemp("examples"))
        cluster.start("a", "b")
        cluster.settle()
        yield cluster


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_on_two_nodes_gives_the_weights_of_one_device(
    cluster: Cluster, example: str, tmp_path: Path
) -> None:
    if example == "mnist" and not MNIST.is_dir():
        pytest.skip("needs EDGED_MNIST=FOLDER, with MNIST's four idx files")
    changes = EXAMPLES[example] | write_data(example, tmp_path)
    path = ROOT / "examples" / example / "job.py"
    job = cluster["a"].submit(path, child=True, **changes)
    _, event = job.end(600)
    assert event["event"] == "finished", event
    assert len(cluster.named(job.wait("plan")[1])) == 2
    job.wait("eval")
    assert event["state_sha256"] == train_local(load(f"{path}:job", changes)).state_sha256


@pytest.mark.slow
def test_a_fine_tuned_model_is_exported_as_a_folder_that_hugging_face_loads(cluster: Cluster, tmp_path: Path) -> None:
    changes = EXAMPLES["huggingface"] | write_data("huggingface", tmp_path)
    job = cluster["a"].submit(ROOT / "examples" / "huggingface" / "job.py", child=True, name="exported", **changes)
    _, event = job.end(600)
    assert event["event"] == "finished", event
    folder = tmp_path / "tuned"
    told = edged("export", job.job, "--output", folder, "--pretrained", "--json", home=cluster["a"].home).object
    assert (told["output"], told["state_sha256"]) == (str(folder), event["state_sha256"])
    loaded = AutoModelForSequenceClassification.from_pretrained(folder, local_files_only=True)
    assert state_sha256(loaded.state_dict()) == event["state_sha256"]
    assert loaded.config.id2label == {0: "disliked", 1: "liked"}
    AutoTokenizer.from_pretrained(tmp_path / "bert").save_pretrained(folder)
    again = edged("export", job.job, "--output", folder, "--pretrained", home=cluster["a"].home)
    assert again.out == f"{folder}\n"
    assert AutoTokenizer.from_pretrained(folder)("good")["input_ids"] == [2, 5, 3]


@pytest.mark.slow
def test_a_folder_is_exported_while_the_job_runs(cluster: Cluster, tmp_path: Path) -> None:
    changes = EXAMPLES["huggingface"] | write_data("huggingface", tmp_path) | {"epochs": "100000", "name": "endless"}
    job = cluster["a"].submit(ROOT / "examples" / "huggingface" / "job.py", **changes)
    job.wait("step", 2)
    told = edged("export", "endless", "--output", tmp_path / "now", "--pretrained", "--json", home=cluster["a"].home)
    edged("stop", "endless", home=cluster["a"].home)
    assert told.object["step"] >= 2
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "now", local_files_only=True)
    assert state_sha256(loaded.state_dict()) == told.object["state_sha256"]
    job.end()
