"""Expelling a node, and exchanging the cluster key, between real processes on loopback."""

from __future__ import annotations

import signal
import stat
import time

import pytest

from edged.transport.security import read_cluster_key
from tests.cli.shell import edged
from tests.system.cluster import Cluster, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

FAILED, REFUSED = 1, 4
KEY_FILES = {"cluster.key", "key.txt"}
LOCAL = ("--listen", "127.0.0.1:0", "--no-discovery")


def test_an_expelled_node_ends_with_a_sentence_stays_out_and_the_job_goes_on(fresh: Cluster, figure: list[str]) -> None:
    one, _, bad = fresh.start("a", "b", "c")
    fresh.settle()
    job = one.submit(epochs="20", pause="0.002")
    job.wait("step")
    since = time.monotonic()
    told = edged("expel", "c", home=one.home)
    assert told.status == 0, told
    assert bad.wait() == FAILED
    figure.append(f"the process of an expelled node has ended {time.monotonic() - since:.2f} s after the order")
    assert "this node was expelled from the cluster" in bad.logged()
    assert "Traceback" not in bad.logged()
    _, event = job.end()
    assert event["event"] == "finished"
    assert event["state_sha256"] == undisturbed(epochs=20)
    for node in fresh.running():
        wait_until(lambda: node.alive() == {"a", "b"}, f"{node.name} has it off its list")  # noqa: B023
        wait_until((node.home / "expelled.json").exists, f"{node.name} remembers it")
        assert stat.S_IMODE((node.home / "expelled.json").stat().st_mode) == 0o600
    before = len(bad.logged())
    again = Node(bad.home, fresh.key, [*LOCAL, "--seed", fresh["b"].address])
    fresh.nodes["c"] = again
    assert again.process.stdout.read() == "", "it is refused before it is ready"
    assert again.wait() == FAILED
    assert again.logged()[before:].count("make its home anew") == 1


def test_a_new_cluster_key_reaches_all_and_the_old_one_opens_no_door(fresh: Cluster) -> None:
    one, two, away = fresh.start("a", "b", "c")
    fresh.settle()
    fresh["c"].client.ask("leave")
    away.wait()
    wait_until(lambda: two.alive() == {"a", "b"}, "it is known that c has left")
    told = edged("key", "rotate", home=two.home)
    assert told.status == 0, told
    assert "join again with the new key: c" in told.err
    new = read_cluster_key(two.home)
    assert new != fresh.key
    wait_until(lambda: read_cluster_key(one.home) == new, "the other node has the new key")
    assert stat.S_IMODE((one.home / "cluster.key").stat().st_mode) == 0o600
    back = Node(away.home, fresh.key, [*LOCAL, "--seed", one.address])
    fresh.nodes["c"] = back
    assert back.wait() == REFUSED
    assert "edged key rotate" in back.logged()
    newcomer = Node(fresh.folder / "d", new or "", [*LOCAL, "--seed", one.address])
    fresh.nodes["d"] = newcomer
    newcomer.ready()
    wait_until(lambda: newcomer.alive() == {"a", "b", "d"}, "a node with the new key joins")
    two.signal(signal.SIGINT)
    assert two.wait() == 0
    (again,) = fresh.start("b")  # its start script names the old key
    wait_until(lambda: again.alive() == {"a", "b", "d"}, "a member that was there comes back all the same")
    for node in fresh.running():
        node.signal(signal.SIGINT)
        assert node.wait() == 0
        kept = [path for path in node.home.rglob("*") if path.is_file() and path.name not in KEY_FILES]
        assert "journal-0.jsonl" in {path.name for path in kept}
        shown = "".join(path.read_bytes().decode("utf-8", "replace") for path in kept)
        for token in (new or "", fresh.key):
            assert token not in shown
            assert token.replace("-", "") not in shown


def test_a_stopped_node_is_named_and_not_said_to_have_the_new_key(fresh: Cluster) -> None:
    """Killed before it goes on, it finds its door shut: who exchanged the key must know that."""
    _, two, stopped = fresh.start("a", "b", "c")
    fresh.settle()
    stopped.signal(signal.SIGSTOP)
    told = edged("key", "rotate", home=two.home)
    assert told.status == (1 if "no answer: c. " in told.err else 0), told
    assert read_cluster_key(two.home) != fresh.key
    named = [line for line in told.err.splitlines() if line.endswith(": c") or ": c. " in line]
    assert len(named) == 1, told.err
    assert "--key" in named[0] or "join again with the new key" in named[0]
    stopped.signal(signal.SIGKILL)
    stopped.wait()
    back = Node(stopped.home, fresh.key, [*LOCAL, "--seed", two.address])
    fresh.nodes["c"] = back
    assert back.wait(60) == REFUSED
