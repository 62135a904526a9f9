"""Devices that lose sight of each other for long: both sides go on, and on meeting again one of them gives way."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.system.cluster import Cluster, Node, undisturbed, wait_until
from tests.system.network import Network, missing

pytestmark = [pytest.mark.slow, pytest.mark.root]

EPOCHS = "150"


@pytest.mark.long
def test_two_devices_parted_for_long_become_one_cluster_again_and_the_job_ends_with_equal_weights(
    stack: ExitStack, tmp_path: Path
) -> None:
    if reason := missing():
        pytest.skip(reason)
    network = Network(stack)
    prefixes = {name: network.add(name) for name in ("a", "b")}
    cluster = Cluster(stack, tmp_path)
    for name, prefix in prefixes.items():
        cluster.nodes[name] = Node(cluster.folder / name, cluster.key, (), prefix)
    nodes = [node.ready() for node in cluster.nodes.values()]
    cluster.settle()
    lineage = nodes[0].status()["lineage"]
    job = nodes[0].submit(epochs=EPOCHS, pause="0.002")
    job.wait("step", 3)
    network.plug("b", "down")
    for node in nodes:
        wait_until(lambda: "tentative" in node.status()["tentative"], f"{node.name} goes on as a fork")  # noqa: B023
    forks = {node.status()["lineage"] for node in nodes}
    assert len({lineage, *forks}) == 3
    own, alone = nodes[0].status()["lineage"], len(job.events)
    wait_until(lambda: len(job.events) > alone + 3, "the source trains on in its fork")
    network.plug("b", "up")
    cluster.settle()
    wait_until(lambda: not any(node.status()["tentative"] for node in nodes), "the results count again")
    (survivor,) = {node.status()["lineage"] for node in nodes}
    assert survivor == own, "the source's side has done more steps"
    assert any("gives way to lineage " + survivor in node.logged() for node in nodes)
    _, event = job.end(600.0)
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=int(EPOCHS))
