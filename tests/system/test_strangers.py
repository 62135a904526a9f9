"""Who may join, and how nodes find each other, on loopback."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from edged.transport.security import new_cluster_key
from tests.system.cluster import Cluster, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

USAGE, REFUSED = 2, 4
FOUND_SECONDS = 3.0
LOCAL = ("--listen", "127.0.0.1:0")


def test_nodes_with_a_wrong_key_or_none_stay_outside_and_disturb_nothing(fresh: Cluster) -> None:
    one, two = fresh.start("a", "b")
    fresh.settle()
    job = one.submit(epochs="20", pause="0.002")
    job.wait("step")
    arguments = [*LOCAL, "--no-discovery", "--seed", one.address]
    expected = {"wrong": (REFUSED, "not to this cluster key"), "none": (USAGE, "no key is given")}
    keys = {"wrong": new_cluster_key(), "none": ""}
    strangers = [Node(fresh.folder / name, key, arguments) for name, key in keys.items()]
    fresh.nodes.update({node.name: node for node in strangers})
    for stranger in strangers:
        status, words = expected[stranger.name]
        assert stranger.wait() == status
        assert words in stranger.logged()
        assert "Traceback" not in stranger.logged()
    _, event = job.end()
    assert event["event"] == "finished"
    assert event["state_sha256"] == undisturbed(epochs=20)
    assert {member["name"] for node in (one, two) for member in node.status()["members"]} == {"a", "b"}


@pytest.mark.alone
def test_two_nodes_find_each_other_by_mdns_with_no_address_typed(
    stack: ExitStack, tmp_path: Path, figure: list[str]
) -> None:
    cluster = Cluster(stack, tmp_path)
    for name in ("a", "b"):
        cluster.nodes[name] = Node(tmp_path / name, cluster.key, LOCAL)
    one, two = [node.ready() for node in cluster.nodes.values()]
    since = time.monotonic()
    wait_until(lambda: one.alive() == two.alive() == {"a", "b"}, "they see each other")
    took = time.monotonic() - since
    figure.append(f"mDNS on loopback: both see each other {took:.2f} s after both were ready")
    assert took < 20 * FOUND_SECONDS, "on a machine that does nothing else, twenty times sooner"
