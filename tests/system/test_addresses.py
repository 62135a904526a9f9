"""A device whose network comes after its node, or that is given another address: both go on by themselves."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from signal import SIGKILL

import pytest

from tests.system.cluster import Cluster, Node, undisturbed, wait_until
from tests.system.network import Network, missing

pytestmark = [pytest.mark.slow, pytest.mark.root]

NAMES = ("a", "b")
LATE, OTHER = "10.77.0.22", "10.77.0.33"
TUNNEL = "10.88.0.2"


def address_of(node: Node, name: str) -> str:
    """By which address a node thinks that a member is reached; empty for one that it does not see."""
    members = node.status()["members"]
    return next((each["address"] for each in members if each["name"] == name and each["state"] == "alive"), "")


def test_an_address_that_comes_late_or_changes_is_followed(stack: ExitStack, tmp_path: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    network, cluster = Network(stack), Cluster(stack, tmp_path)
    prefixes = {name: network.add(name) for name in NAMES}
    network.readdress("b")
    for name, prefix in prefixes.items():
        cluster.nodes[name] = Node(tmp_path / name, cluster.key, (), prefix)
    a, b = (node.ready() for node in cluster.nodes.values())
    assert "127.0.0.1" in address_of(b, "b")
    assert a.alive() == {"a"}
    for address in (LATE, OTHER):  # the second while both are members: their connections are of no use any more
        network.readdress("b", address)
        wait_until(lambda now=address: now in address_of(a, "b") and b.alive() == set(NAMES), f"b has {address}")
    cluster.settle()
    _, event = a.submit().end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed()
    assert "no such device" not in b.logged().lower(), "the address of before is told on, but mDNS is not heard there"


def test_an_interface_that_is_made_anew_with_the_same_address_is_listened_at_again(
    stack: ExitStack, tmp_path: Path
) -> None:
    """A newcomer that knows nobody hears of the node by mDNS alone."""
    if reason := missing():
        pytest.skip(reason)
    network, cluster = Network(stack), Cluster(stack, tmp_path)
    prefixes = {name: network.add(name) for name in (*NAMES, "late")}
    network.add_tunnel("b", TUNNEL)
    for name in NAMES:
        cluster.nodes[name] = Node(tmp_path / name, cluster.key, (), prefixes[name])
    a, b = (node.ready() for node in cluster.nodes.values())
    wait_until(lambda: a.alive() == b.alive() == set(NAMES), "they find each other")
    a.signal(SIGKILL)
    a.wait()
    own = next(member["address"] for member in b.status()["members"] if member["name"] == "b")
    network.remake("b")
    cluster.nodes["late"] = late = Node(tmp_path / "late", cluster.key, (), prefixes["late"]).ready()
    wait_until(lambda: {"b", "late"} <= late.alive() & b.alive(), "the newcomer hears of b")
    assert own == next(member["address"] for member in b.status()["members"] if member["name"] == "b")
