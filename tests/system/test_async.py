"""Asynchronous training on real nodes: bits of the delayed-update recurrence, also when a node is killed."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch.utils.data import default_collate

from edged.compute.job_file import load
from edged.compute.layers import owned_state
from edged.compute.local import train_local
from edged.compute.submission import capture_job
from tests.compute.recurrence import Span, delayed
from tests.equality.plain import sha256
from tests.system.cluster import CHAIN, Cluster, Follower, wait_until

pytestmark = pytest.mark.slow

EPOCHS, MICRO_BATCH = 20, 4
CHANGES = {"mode": "async", "epochs": str(EPOCHS), "optimizer.lr": "0.01"}
DRAW_SECONDS = "0.001"
"""With it, the job takes two seconds at least: it is still at work when something breaks."""


def micro_batches(job: Any) -> list[list[int]]:
    """Positions in the data set of every micro-batch, which is a step: see ``docs/jobs.md``."""
    found = []
    for epoch in range(job.epochs):
        order = torch.randperm(len(job.data), generator=torch.Generator().manual_seed(job.seed + epoch)).tolist()
        found += [order[start : start + MICRO_BATCH] for start in range(0, len(order), MICRO_BATCH)]
    return found


def expected(spans: list[tuple[int, int, list[int]]], changes: Mapping[str, str] = CHANGES) -> str:
    """Fingerprint of the recurrence over spans of (first, end, first layers of the stages)."""
    job = load(f"{CHAIN}:job", changes)
    program = capture_job(job).program
    model = job.model
    optimizer = job.optimizer(model.parameters(), foreach=False)
    drawn = micro_batches(job)

    def loss_of(i: int) -> torch.Tensor:
        loss: torch.Tensor = job.objective(model, default_collate([job.data[index] for index in drawn[i]]))
        return loss

    def stage_of(borders: list[int]) -> dict[str, int]:
        ends = [*borders, len(program.layers)]
        return {
            name: stage
            for stage, (first, stop) in enumerate(pairwise(ends))
            for name in owned_state(program, program.layers[first][0], program.layers[stop - 1][1])
        }

    delayed(
        model,
        optimizer,
        None,
        loss_of,
        [Span(first, end, len(borders), stage_of(borders), len(drawn)) for first, end, borders in spans],
        job.average_every or 0,
    )
    return sha256(model.state_dict())


def lived(job: Follower, steps: int) -> list[tuple[int, int, list[int]]]:
    """What the job's events say it was made of: each plan's stages, from where it began to where the next one did."""
    spans: list[tuple[int, int, list[int]]] = []
    borders: list[int] = []
    for _, event in job.events:
        if event["event"] == "plan":
            borders = [hop["first_layer"] for hop in event["routes"][0]["hops"]]
            if not spans:
                spans.append((0, steps, borders))
        elif event["event"] == "recovery":
            start = event["rolled_back_to"]
            spans = [(first, min(end, start), cuts) for first, end, cuts in spans if first < start]
            spans.append((start, steps, borders))
    return spans


@pytest.fixture
def cluster(shared: Cluster) -> Cluster:
    """Three nodes at least that know each other."""
    if len(shared.running()) < 3:
        shared.complete("a", "b", "c", "d")
    shared.settle()
    return shared


@pytest.mark.parametrize("more", [{}, {"average_every": "3"}], ids=["plain", "averaging"])
def test_weights_are_those_of_the_recurrence_also_when_a_node_is_killed(
    cluster: Cluster, figure: list[str], more: Mapping[str, str]
) -> None:
    leader = cluster.settle()
    source = next(node.name for node in cluster.running() if node.name != leader)
    changes = {**CHANGES, **more}
    job = cluster[source].submit(pause=DRAW_SECONDS, **changes)
    plan = job.wait("plan")[1]
    assert len(plan["routes"][0]["hops"]) > 2
    steps = EPOCHS * 64 // MICRO_BATCH
    job.wait("step", 60)
    victim = next(name for name in reversed(cluster.named(plan)) if name not in {leader, source})
    cluster[victim].signal(signal.SIGKILL)
    cluster[victim].wait()
    recovery = job.wait("recovery")[1]
    figure.append(recovery["text"])
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["steps"] == steps
    spans = lived(job, steps)
    assert event["state_sha256"] == expected(spans, changes)


def test_a_paused_job_goes_on_where_it_stood(cluster: Cluster) -> None:
    source, other = cluster.running()[:2]
    job = source.submit(pause=DRAW_SECONDS, **CHANGES)
    job.wait("step", 30)
    asking = other.client
    asking.ask("pause", job=job.job)

    def paused() -> bool:
        return any(each["job"] == job.job and each["state"] == "paused" for each in asking.ask("jobs")["jobs"])

    wait_until(paused, "the job is paused")
    asking.ask("resume", job=job.job)
    _, event = job.end()
    assert event["event"] == "finished", event
    recovery = job.wait("recovery")[1]
    assert "done again" not in recovery["text"], "a paused job's pipeline is emptied, and nothing is lost"
    spans = lived(job, EPOCHS * 64 // MICRO_BATCH)
    assert event["state_sha256"] == expected(spans)


def test_alone_it_is_the_plain_loop_of_micro_batches() -> None:
    result = train_local(load(f"{CHAIN}:job", CHANGES))
    assert result.steps == EPOCHS * 64 // MICRO_BATCH
    assert result.state_sha256 == expected([(0, result.steps, [0])])
