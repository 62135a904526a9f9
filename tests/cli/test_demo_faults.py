"""Who is killed in the demo, and when: over scripted events, with processes that only sleep."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edged.cli import demo_faults
from edged.cli.demo_faults import Mishaps
from edged.cli.demo_nodes import DemoNode
from edged.errors import NoNodeError

STARTED = {"event": "started", "steps": 400}


class Scripted:
    """What the source's node answers."""

    status: ClassVar[dict[str, Any] | None]

    def __init__(self, home: Path) -> None:
        self.home = home

    def ask(self, command: str) -> dict[str, Any]:
        assert command == "status"
        if self.status is None:
            raise NoNodeError("busy")
        return self.status


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[DemoNode]]:
    monkeypatch.setattr(demo_faults, "Client", Scripted)
    Scripted.status = {"leader": "b", "protection": {"protected": True}}
    sleeping = [subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], text=True) for _ in range(3)]
    yield [DemoNode(process, tmp_path, "", name) for process, name in zip(sleeping, "abc", strict=True)]
    for process in sleeping:
        process.kill()
        process.wait()


def plan(*nodes: str) -> dict[str, Any]:
    return {"event": "plan", "routes": [{"hops": [{"node": node, "name": f"node {node}"} for node in nodes]}]}


def steps(first: int, last: int) -> list[dict[str, Any]]:
    return [{"event": "step", "step": number} for number in range(first, last + 1)]


def run(cluster: list[DemoNode], *events: dict[str, Any]) -> tuple[Mishaps, list[str]]:
    """What has happened, and which nodes are dead."""
    mishaps = Mishaps(cluster, lambda: "newcomer")
    assert list(mishaps.follow(iter(events))) == list(events)
    return mishaps, [node.node for node in cluster if node.process.poll() == -signal.SIGKILL]


def test_the_last_worker_that_is_neither_source_nor_leader_is_killed_once(cluster: list[DemoNode]) -> None:
    mishaps, dead = run(cluster, STARTED, plan("a", "c", "b"), *steps(1, 40))
    assert dead == ["c"]
    assert (mishaps.killed, mishaps.killed_at, mishaps.newcomers) == ("node c", 16, ["newcomer"])


def test_where_all_others_lead_the_leader_is_killed(cluster: list[DemoNode]) -> None:
    assert run(cluster, STARTED, plan("b", "a"), *steps(1, 20))[1] == ["b"]


def test_the_source_is_left_alive(cluster: list[DemoNode]) -> None:
    mishaps, dead = run(cluster, STARTED, plan("a"), *steps(1, 400))
    assert (dead, mishaps.killed, mishaps.newcomers) == ([], None, [])


def test_it_waits_for_a_committed_version_but_not_beyond_the_middle(cluster: list[DemoNode]) -> None:
    Scripted.status = {"leader": "b", "protection": {"protected": False}}
    mishaps, dead = run(cluster, STARTED, plan("a", "b", "c"), *steps(1, 400))
    assert (dead, mishaps.killed_at) == (["c"], 200)


def test_a_node_that_cannot_answer_is_asked_again_at_the_next_step(cluster: list[DemoNode]) -> None:
    Scripted.status = None
    assert run(cluster, STARTED, plan("a", "b", "c"), *steps(1, 400))[1] == []


def test_the_newcomer_has_joined_when_a_plan_gives_it_layers(cluster: list[DemoNode]) -> None:
    recovery = {"event": "recovery", "text": "node c died; no step lost"}
    mishaps, _ = run(cluster, STARTED, plan("a", "b", "c"), *steps(1, 20), plan("a", "b"), recovery)
    assert (mishaps.joined, mishaps.recoveries) == (None, [recovery])
    mishaps, _ = run(cluster, STARTED, plan("a", "b", "c"), *steps(1, 20), plan("a", "b", "d"))
    assert mishaps.joined == "node d"
