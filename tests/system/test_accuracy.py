"""The examples on real nodes: MNIST reaches the accuracy that its job file promises."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.system.cluster import Cluster

ROOT = Path(__file__).parents[2]
MNIST = Path(os.environ.get("EDGED_MNIST") or ROOT.parent / "shared" / "data" / "mnist")
ACCURACY = 0.985


@pytest.mark.proof
@pytest.mark.timeout(900)
@pytest.mark.skipif(not MNIST.is_dir(), reason="needs EDGED_MNIST=FOLDER, with MNIST's four idx files")
def test_mnist_on_three_nodes_reaches_its_accuracy_in_two_epochs(fresh: Cluster, figure: list[str]) -> None:
    source, *_ = fresh.start("a", "b", "c")
    fresh.settle()
    job = source.submit(ROOT / "examples" / "mnist" / "job.py", child=True, data=str(MNIST))
    _, event = job.end(800)
    assert event["event"] == "finished", event
    assert len(fresh.named(job.wait("plan")[1])) == len(fresh.nodes)
    accuracy = job.wait("eval", 2)[1]["metrics"]["accuracy"]
    figure.append(f"MNIST, 2 epochs, 3 nodes: accuracy {accuracy:.4f} in {event['seconds']:.0f} s")
    assert accuracy >= ACCURACY
