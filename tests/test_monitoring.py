"""A real node that is watched: its metrics and health over HTTP, and who must not be able to disturb it."""

from __future__ import annotations

import json
import signal
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.transport.security import new_cluster_key
from tests.cli.shell import JOBS, edged, wait_until
from tests.telemetry.test_metrics import samples
from tests.test_daemon import PATIENCE_SECONDS, Process

OF_THE_MACHINE = {"memory"}
"""Topics of what others on this machine cause."""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Process]:
    node = Process(tmp_path / "desk", new_cluster_key(), "", "--metrics-port", "0")
    yield node
    node.end()


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def test_a_node_shows_what_it_does_while_strangers_pester_it(node: Process, tmp_path: Path) -> None:
    url = node.ready()["metrics"]
    base = url.removesuffix("/metrics")
    assert base.startswith("http://127.0.0.1:")
    assert fetch(f"{base}/healthz") == (200, "ok\n")
    wait_until(lambda: fetch(f"{base}/readyz") == (200, "ready\n"))

    place = ("127.0.0.1", int(base.rpartition(":")[2]))
    silent = [socket.create_connection(place) for _ in range(10)]
    for stranger in silent:
        stranger.sendall(b"GET /metrics HTTP/1.1\r\n")
    trained = edged("train", JOBS, "--json", "--output", tmp_path / "w.safetensors", home=node.home)
    assert trained.status == 0
    steps = [each for each in trained.objects if each["event"] == "step"]

    status, text = fetch(url)
    assert status == 200
    found = {name: value for (name, labels), value in samples(text).items() if name != "edged_jobs"}
    assert found["edged_steps_total"] == found["edged_job_step"] == len(steps)
    assert found["edged_loss"] == steps[-1]["loss"]
    assert found["edged_leads"] == found["edged_ready"] == 1
    assert found["edged_member_slowness_ratio"] > 0
    assert found["edged_last_step_timestamp_seconds"] > found["process_start_time_seconds"]
    for stranger in silent:
        stranger.close()
    logged = [json.loads(line) for line in node.logged().splitlines()]
    assert not [line for line in logged if line["level"] != "info" and line["topic"] not in OF_THE_MACHINE]
    assert all({"time", "level", "topic", "text", "node"} <= set(line) for line in logged)


def test_a_port_in_use_ends_the_node_with_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        node = Process(tmp_path / "desk", new_cluster_key(), "", "--metrics-port", str(port))
        assert node.process.wait(PATIENCE_SECONDS) == 2
        node.end()
    line = node.logged().splitlines()[-1]
    assert line.startswith(f"edged: --metrics-port: cannot listen on 127.0.0.1 port {port}: address already in use;")


def test_a_node_that_waits_to_be_let_in_is_not_ready(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        seed = f"127.0.0.1:{deaf.getsockname()[1]}"
        node = Process(tmp_path / "desk", new_cluster_key(), seed, "--metrics-port", "0")
        try:
            base = node.ready()["metrics"].removesuffix("/metrics")
            assert fetch(f"{base}/readyz") == (
                503,
                f"not ready: no node of the cluster has let this one in yet; it tries {seed}\n",
            )
            assert fetch(f"{base}/healthz")[0] == 200
        finally:
            node.end()


def test_the_journal_of_a_killed_and_restarted_node_is_decided_alike(tmp_path: Path) -> None:
    key = new_cluster_key()
    for number in (signal.SIGKILL, signal.SIGINT):
        node = Process(tmp_path / "desk", key)
        node.ready()
        wait_until(lambda: node.ask("status")["leader"])  # noqa: B023 - waited for here
        assert edged("train", JOBS, "--json", "--set", "epochs=1", home=node.home).status == 0
        wait_until((tmp_path / "desk" / "journal" / "journal-0.jsonl").read_text)
        node.end(number)
    found = edged("replay", tmp_path / "desk" / "journal", "--json").object
    assert (found["equal"], found["lives"], found["difference"]) == (True, 2, None)
    assert found["events"] > 100
