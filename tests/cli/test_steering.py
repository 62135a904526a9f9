"""pause, resume, leave NODE, expel: with real nodes and a job that runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edged.cli import demo_nodes
from edged.cli.demo_nodes import DemoNode, start_nodes, wait_until_known
from tests.cli.shell import JOBS, PATIENCE_SECONDS, edged, wait_until


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[DemoNode]]:
    """Three nodes of their own: two of them will not be there in the end."""
    with ExitStack() as stack:
        cluster = start_nodes(stack, tmp_path_factory.mktemp("three"), [1.0, 1.0, 1.0])
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(demo_nodes, "WAIT_SECONDS", PATIENCE_SECONDS)
            wait_until_known(cluster)
        yield cluster


@pytest.fixture(scope="module")
def running(three: list[DemoNode]) -> str:
    """Id of a job that runs for long."""
    return edged("train", f"{JOBS}:slow", "--detach", home=three[0].home).out.strip()


def status(three: list[DemoNode]) -> dict[str, Any]:
    return edged("status", "--json", home=three[0].home).object


def has_come_further(three: list[DemoNode], step: int = 0) -> bool:
    job = status(three)["job"]
    return job["state"] == "running" and job["step"] > step


def runners(three: list[DemoNode]) -> set[str]:
    plan = status(three)["plan"]
    return {hop["name"] for route in plan["routes"] for hop in route["hops"]} if plan else set()


@pytest.mark.slow
def test_a_paused_job_stands_says_so_and_goes_on_from_there(three: list[DemoNode], running: str) -> None:
    wait_until(lambda: has_come_further(three))
    other = three[1].home
    paused = edged("pause", running, "--json", home=other)
    assert (paused.status, paused.object["state"]) == (0, "paused"), paused.err
    stood = status(three)["job"]
    assert stood["state"] == "paused"
    assert "edged resume" in edged("status", home=three[0].home).out
    assert status(three)["job"]["step"] == stood["step"]
    resumed = edged("resume", running, home=other)
    assert resumed.status == 0, resumed.err
    wait_until(lambda: has_come_further(three, stood["step"]))


@pytest.mark.slow
def test_status_says_what_the_job_would_survive(three: list[DemoNode], running: str) -> None:
    found = wait_until(lambda: (told := status(three)["protection"] or {}).get("protected") and told)
    assert found["version"] >= 0
    assert {each["node"] for each in found["if_died"]} == {node.node for node in three}
    workers = [each for each in found["if_died"] if each["node"] != three[0].node]
    assert all(each["survives"] for each in workers), found
    assert all(cover["replicas"] for cover in found["layers"]), found
    told = wait_until(lambda: "nothing is lost" in (out := edged("status", home=three[0].home).out) and out)
    assert "what the job would survive" in told


@pytest.mark.slow
def test_another_node_leaves_and_no_step_is_done_again(three: list[DemoNode], running: str) -> None:
    wait_until(lambda: "laptop" in runners(three) and has_come_further(three))
    told = edged("leave", "laptop", home=three[0].home)
    assert told.status == 0, told.err
    assert told.err.splitlines()[-1] == "edged: laptop: has left"
    assert three[1].process.wait(PATIENCE_SECONDS) == 0
    step = status(three)["job"]["step"]
    wait_until(lambda: has_come_further(three, step))
    assert "laptop" not in runners(three)
    told = edged("events", "--text", home=three[0].home)
    changes = [line for line in told.out.splitlines() if "laptop leaves" in line]
    assert changes, told.out
    assert all("no step lost" in line for line in changes), changes


@pytest.mark.slow
def test_an_expelled_node_is_gone_and_the_job_goes_on(three: list[DemoNode], running: str) -> None:
    wait_until(lambda: has_come_further(three))
    told = edged("expel", "pi-5", home=three[0].home)
    assert told.status == 0, told.err
    step = status(three)["job"]["step"]
    wait_until(lambda: runners(three) == {"desk"} and has_come_further(three, step))
    assert edged("stop", running, home=three[0].home).status == 0


def test_a_node_that_nobody_knows_is_told(desk: Path) -> None:
    assert edged("leave", "nobody", home=desk).refuses(1, "'nobody'", "known nodes", "laptop")
    assert edged("expel", "desk", home=desk).refuses(2, "edged leave")
