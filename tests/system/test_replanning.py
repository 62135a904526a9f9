"""Devices change while a job runs: the plan follows, and the weights are those of a run in which nothing happened.

The weights that the changed plan has made are compared, and the jobs are stopped: they have more steps than it takes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from testbed_throttle import Throttle

from edged.compute.job_file import load
from edged.compute.local import train_local
from tests.system.cluster import Cluster, Follower, Node

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(900)]

DEEP = Path(__file__).with_name("deep.py")
SECONDS = 400.0


def layers_of(plan: dict[str, Any], name: str) -> int:
    """How many layers a node has."""
    hops = [hop for route in plan["routes"] for hop in route["hops"] if hop["name"] == name]
    return sum(hop["last_layer"] - hop["first_layer"] + 1 for hop in hops)


def expect_equal_weights(job: Follower, source: Node) -> None:
    """Each step is done once, and the weights that the newest plan has made by now are those of a run alone."""
    output = str(source.home / "now.safetensors")
    now = source.client.ask("export", job=job.job, output=output)
    source.client.ask("stop", job=job.job, reason="enough")
    assert job.end()[1] == {"event": "failed", "reason": "enough"}
    made = [event["step"] for _, event in job.events if event["event"] == "step"]
    assert made == list(range(1, len(made) + 1))
    assert now["state_sha256"] == train_local(load(f"{DEEP}:job", {"steps": str(now["step"])})).state_sha256


def plans(job: Follower) -> list[dict[str, Any]]:
    return [event for _, event in job.events if event["event"] == "plan"]


def settled(job: Follower) -> None:
    """Waits till the plan has been looked at by what was measured at work: calibrations are of moments."""
    job.wait("decision", seconds=SECONDS)
    decided = [at for at, event in job.events if event["event"] == "decision" and event["changes"]]
    if decided:
        job.wait("recovery", seconds=SECONDS, since=decided[-1])


def speed_of(node: Node, name: str) -> float:
    return next(member["slowness"] for member in node.status()["members"] if member["name"] == name)


@pytest.mark.long
def test_a_node_that_slows_down_in_mid_run_gets_fewer_layers(fresh: Cluster, figure: list[str]) -> None:
    fresh.start("a", "b", "c")
    fresh.settle()
    source = fresh["a"]
    job = source.submit(DEEP)
    settled(job)
    told, known, plan = len(job.events), len(plans(job)), plans(job)[-1]
    victim = max((name for name in fresh.named(plan) if name != "a"), key=lambda name: layers_of(plan, name))
    calm = speed_of(source, victim)
    with Throttle(fresh[victim].process.pid, 0.2) as throttle:
        slowed = job.events[-1][0]
        while True:  # others may seem to have changed first
            at, newest = job.wait("plan", known + 1, SECONDS)
            known += 1
            if layers_of(newest, victim) < layers_of(plan, victim):
                break
        _, event = job.wait("recovery", seconds=SECONDS, since=at)
        figure.append(f"{victim} was slowed down: {event['text']}: {at - slowed:.1f} s after")
        assert event["cause"] == "slow", event
        assert speed_of(source, victim) > calm
        assert any(event["event"] == "decision" and event["changes"] for _, event in job.events[told:])
        assert source.status()["plan"]["decision"]["text"]
        throttle.share = 1.0
    expect_equal_weights(job, source)


@pytest.mark.long
def test_a_node_that_joins_in_mid_run_is_used(fresh: Cluster, figure: list[str]) -> None:
    source, _ = fresh.start("a", "b")
    fresh.settle()
    job = source.submit(DEEP)
    begun, _ = job.wait("step", 20, seconds=SECONDS)
    fresh.start("c")
    ready = job.events[-1][0]
    number, plan = 1, job.wait("plan")[1]
    while not layers_of(plan, "c"):  # a change for another cause may take it in as well
        number += 1
        at, plan = job.wait("plan", number, SECONDS)
    assert begun < at
    figure.append(f"{plan['reason']}: {at - ready:.1f} s after the new node was ready")
    job.wait("recovery", seconds=SECONDS, since=at)  # from then on, the weights are made by that plan
    expect_equal_weights(job, source)
