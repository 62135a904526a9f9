"""The example jobs on two real nodes: the same weights as on one device."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.compute.job_file import load
from edged.compute.local import train_local
from tests.system.cluster import Cluster

ROOT = Path(__file__).parents[2]
MNIST = Path(os.environ.get("EDGED_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
TEXT = "the quick brown fox jumps over the lazy dog. " * 60

EXAMPLES = {
    "digits": {"epochs": "1"},
    "mnist": {"data": str(MNIST), "max_steps": "10"},
    "tiny_gpt": {"length": "32", "width": "32", "blocks": "2", "epochs": "1"},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with ExitStack() as stack:
        cluster = Cluster(stack, tmp_path_factory.mktemp("examples"))
        cluster.start("a", "b")
        cluster.settle()
        yield cluster


@pytest.mark.slow
@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_on_two_nodes_gives_the_weights_of_one_device(
    cluster: Cluster, example: str, tmp_path: Path
) -> None:
    changes = dict(EXAMPLES[example])
    if example == "mnist" and not MNIST.is_dir():
        pytest.skip("needs EDGED_MNIST=FOLDER, with MNIST's four idx files")
    if example == "tiny_gpt":
        changes["text"] = str(tmp_path / "book.txt")
        Path(changes["text"]).write_text(TEXT, encoding="utf-8")
    path = ROOT / "examples" / example / "job.py"
    job = cluster["a"].submit(path, child=True, **changes)
    _, event = job.end(120)
    assert event["event"] == "finished", event
    assert len(cluster.named(job.wait("plan")[1])) == 2
    job.wait("eval")
    assert event["state_sha256"] == train_local(load(f"{path}:job", changes)).state_sha256
