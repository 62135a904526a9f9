"""Three devices on a network of their own: they find each other, bear loss, and see when a cable is pulled."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.system.cluster import Cluster, Node, undisturbed, wait_until
from tests.system.network import Network, missing

pytestmark = [pytest.mark.slow, pytest.mark.root]

FOUND_SECONDS = 3.0
PULLED_SECONDS = 10.0
LOSS = 0.05
LONG_EPOCHS = 60
NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Network, Cluster]]:
    """Three hosts with a node on each; no node is told an address."""
    if reason := missing():
        pytest.skip(reason)
    with ExitStack() as stack:
        network = Network(stack)
        prefixes = {name: network.add(name) for name in NAMES}
        cluster = Cluster(stack, tmp_path_factory.mktemp("network"))
        for name, prefix in prefixes.items():
            cluster.nodes[name] = Node(cluster.folder / name, cluster.key, (), prefix)
        for node in cluster.nodes.values():
            node.ready()
        yield network, cluster


def expect_equal_weights(cluster: Cluster, epochs: int = 1) -> None:
    job = cluster["a"].submit(epochs=str(epochs))
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=epochs)
    assert set(cluster.named(job.wait("plan")[1])) == set(NAMES)


@pytest.mark.alone
def test_nodes_find_each_other_with_no_address_typed(place: tuple[Network, Cluster], figure: list[str]) -> None:
    _, cluster = place
    since = time.monotonic()
    nodes = list(cluster.nodes.values())
    wait_until(lambda: all(node.alive() == set(NAMES) for node in nodes), "all see each other")
    took = time.monotonic() - since
    figure.append(f"mDNS in namespaces: all three see each other {took:.2f} s after the last was ready")
    assert took < 20 * FOUND_SECONDS, "on a machine that does nothing else, twenty times sooner"
    cluster.settle()
    expect_equal_weights(cluster)


@pytest.mark.skipif(shutil.which("iptables") is None, reason="needs iptables to drop packets")
def test_five_percent_loss_changes_no_bit(place: tuple[Network, Cluster]) -> None:
    network, cluster = place
    cluster.settle()
    network.lose(LOSS)
    try:
        expect_equal_weights(cluster, epochs=5)  # a few hundred messages
    finally:
        network.lose_nothing()


@pytest.mark.long
@pytest.mark.alone
def test_the_job_goes_on_without_a_pulled_cable_and_a_plugged_one_heals(
    place: tuple[Network, Cluster], figure: list[str]
) -> None:
    network, cluster = place
    leader = cluster.settle()
    source = next(name for name in NAMES if name != leader)
    victim = next(name for name in NAMES if name not in {leader, source})
    job = cluster[source].submit(epochs=str(LONG_EPOCHS), pause="0.001")
    job.wait("step", 3)
    network.plug(victim, "down")
    since = time.monotonic()
    try:
        moment, event = job.wait("recovery")
        figure.append(f"a worker's link goes down: the job went on after {moment - since:.2f} s")
        assert f"{victim} " in event["text"]
        assert victim not in cluster.named(job.wait("plan", 2)[1])
        assert moment - since < 6 * PULLED_SECONDS, "within ten, on a machine that does nothing else"
    finally:
        network.plug(victim, "up")
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(epochs=LONG_EPOCHS)
    cluster.settle()
    expect_equal_weights(cluster)
