"""A device that does not see the others says why within ten seconds: real processes, on loopback and in namespaces."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from testbed import free_ports

from edged.core.ids import PROTOCOL_VERSION
from edged.errors import NoNodeError
from edged.transport.security import new_cluster_key
from tests.system.cluster import ENVIRONMENT, Cluster, Node, wait_until
from tests.system.network import Network, missing

pytestmark = [pytest.mark.slow, pytest.mark.alone]

LOCAL = ("--listen", "127.0.0.1:0", "--no-discovery")
TOLD_SECONDS = 10.0
USAGE, REFUSED = 2, 4


def reason(node: Node) -> dict[str, Any]:
    """The first reason that a node gives, at most ten seconds after it was ready."""
    since = time.monotonic()
    unmet: list[dict[str, Any]] = wait_until(lambda: node.status()["unmet"], "a reason is told")
    assert time.monotonic() - since < 6 * TOLD_SECONDS, "within ten, on a machine that does nothing else"
    return unmet[0]


def test_a_seed_at_a_closed_port_is_told_in_status_and_log(fresh: Cluster) -> None:
    port = free_ports()
    node = Node(fresh.folder / "a", fresh.key, [*LOCAL, "--seed", f"127.0.0.1:{port}"])
    fresh.nodes["a"] = node
    told = reason(node.ready())
    assert (told["reason"], told["address"]) == ("unreachable", f"127.0.0.1:{port}")
    assert "nobody listens" in told["text"]
    assert told["text"] in [json.loads(line)["text"] for line in node.logged().splitlines()]


def test_another_key_ends_a_node_with_the_reason(fresh: Cluster, figure: list[str]) -> None:
    (first,) = fresh.start("a")
    since = time.monotonic()
    other = Node(fresh.folder / "other", new_cluster_key(), [*LOCAL, "--seed", first.address])
    fresh.nodes["other"] = other
    assert other.wait() == REFUSED
    took = time.monotonic() - since
    figure.append(f"a node with another key has ended {took:.1f} s after its start, and says why")
    assert took < 6 * TOLD_SECONDS, "with the import of torch; within ten, on a machine that does nothing else"
    assert "`edged key show`" in other.logged()
    with pytest.raises(NoNodeError, match="the last one ended on .*edged key show"):
        other.client.ask("status")


def test_another_protocol_is_told_by_whoever_knocks(fresh: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        f"import edged.core.ids\nedged.core.ids.PROTOCOL_VERSION = {PROTOCOL_VERSION + 1}\n", encoding="utf-8"
    )
    (first,) = fresh.start("a")
    newer = {**ENVIRONMENT, "PYTHONPATH": f"{tmp_path}:{ENVIRONMENT.get('PYTHONPATH', '')}"}
    other = Node(fresh.folder / "other", fresh.key, [*LOCAL, "--seed", first.address], environment=newer)
    fresh.nodes["other"] = other
    told = reason(other.ready())
    assert (told["reason"], told["address"]) == ("version", first.address)
    assert f"protocol {PROTOCOL_VERSION}, this node {PROTOCOL_VERSION + 1}" in told["text"]
    assert first.alive() == {"a"}


def test_a_copied_home_ends_and_the_first_one_says_where_the_copy_was(fresh: Cluster) -> None:
    (first,) = fresh.start("a")
    (fresh.folder / "copy").mkdir()
    for name in ("identity.json", "cluster.key"):
        shutil.copy(first.home / name, fresh.folder / "copy" / name)
    copy = Node(fresh.folder / "copy", fresh.key, [*LOCAL, "--seed", first.address])
    fresh.nodes["copy"] = copy
    assert copy.wait() == USAGE
    assert "delete identity.json" in copy.logged()
    with pytest.raises(NoNodeError, match="no node is running.*; the last one ended on .*delete identity.json"):
        copy.client.ask("status")
    assert reason(first)["reason"] == "twin"
    assert first.running()


def test_a_copied_home_that_meets_another_member_first_ends_and_pushes_nobody_out(fresh: Cluster) -> None:
    """Its boot counter is one higher than the original's, as if that had been started anew."""
    first, second = fresh.start("a", "b")
    fresh.settle()
    (fresh.folder / "copy").mkdir()
    for name in ("identity.json", "cluster.key", "peers.json", "ports.json"):
        shutil.copy(second.home / name, fresh.folder / "copy" / name)
    copy = Node(fresh.folder / "copy", fresh.key, [*LOCAL, "--seed", first.address])
    fresh.nodes["copy"] = copy
    assert copy.wait() == USAGE
    assert "delete identity.json" in copy.logged()
    assert f"already runs at {second.address}" in copy.logged()
    for node in (first, second):
        assert node.alive() == {"a", "b"}
        journal = (node.home / "journal" / "journal-0.jsonl").read_text(encoding="utf-8")
        assert "joined" in journal, "what became of members is in there"
        assert "started anew" not in journal


@pytest.mark.root
@pytest.mark.skipif(shutil.which("iptables") is None, reason="needs iptables to drop packets")
def test_blocked_multicast_is_told_by_the_node_and_found_by_the_doctor(stack: ExitStack, tmp_path: Path) -> None:
    if why := missing():
        pytest.skip(why)
    network = Network(stack)
    prefixes = {name: network.add(name) for name in ("a", "b", "c")}
    for name in ("a", "b"):  # were one of the two not deaf, it would knock at the other's door
        network.block_multicast(name)
    cluster = Cluster(stack, tmp_path)
    for name in ("a", "b"):
        cluster.nodes[name] = Node(tmp_path / name, cluster.key, (), prefixes[name])
    for node in [node.ready() for node in cluster.nodes.values()]:
        told = reason(node)
        assert told["reason"] == "multicast"
        assert "--seed" in told["text"]
        assert told["text"] in [json.loads(line)["text"] for line in node.logged().splitlines()]
    status, found = examine(prefixes["a"], tmp_path / "none")
    assert (status, found["multicast"]["level"]) == (1, "problem")
    assert "--seed" in found["multicast"]["remedy"]
    assert examine(prefixes["c"], tmp_path / "none")[1]["multicast"]["level"] == "ok"


def examine(prefix: list[str], home: Path) -> tuple[int, dict[str, Any]]:
    """What the doctor finds on a host, by id, and its exit status."""
    done = subprocess.run(
        [*prefix, sys.executable, "-m", "edged", "doctor", "--json", "--home", str(home)],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
    )
    return done.returncode, {found["id"]: found for found in json.loads(done.stdout)["findings"]}
