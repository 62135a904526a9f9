"""A node that works for long, on many jobs or on one, does not grow, and one that has left leaves nothing behind."""

from __future__ import annotations

import signal
from pathlib import Path

import psutil
import pytest

from edged.telemetry.paths import local_socket_path
from tests.proofs import first_of
from tests.system.cluster import Cluster, Node, undisturbed, wait_until

pytestmark = pytest.mark.slow

FEW, MANY, WARM = 9, 20, 5
GROWTH_BYTES = 24 * 2**20
"""Allowed after the first jobs; a job's program, weights and samples left behind would be seen in files and folders."""

LONG_JOB = Path(__file__).parents[2] / "scripts" / "chaos_job.py"
SETTLED, STEPS, EVERY = 400, 1000, 2
LONG_GROWTH_BYTES = 12 * 2**20
"""Allowed from step ``SETTLED`` to the last: 42 kB for each of 300 copies, of which one is 1.2 MB, or 21 kB a step."""

TORCH_CACHE = "torchinductor_"
"""torch makes this folder, one per user, when the first optimizer is built; it stays empty."""


def taken(node: Node) -> tuple[int, int, int]:
    """Resident bytes, open files, threads."""
    process = psutil.Process(node.process.pid)
    return process.memory_info().rss, process.num_fds(), process.num_threads()


def has_no_more(node: Node, most: tuple[int, int, int]) -> bool:
    """Whether a node has come down to these resident bytes, open files and threads; what has leaked stays."""
    return all(now <= limit for now, limit in zip(taken(node), most, strict=True))


def train(cluster: Cluster, number: int) -> None:
    """One job, from one source after the other."""
    nodes = cluster.running()
    job = nodes[number % len(nodes)].submit()
    _, event = job.end()
    assert event["event"] == "finished"
    assert event["state_sha256"] == undisturbed()


@pytest.mark.long
@pytest.mark.parametrize("jobs", first_of([FEW, MANY], 1))
def test_many_jobs_leave_nothing_and_leaving_leaves_nothing(fresh: Cluster, figure: list[str], jobs: int) -> None:
    temporary = fresh.folder / "temporary"
    temporary.mkdir()
    fresh.environment["TMPDIR"] = str(temporary)
    nodes = fresh.start("a", "b", "c")
    fresh.settle()
    for number in range(WARM):
        train(fresh, number)
    before = {node.name: taken(node) for node in nodes}
    for number in range(WARM, jobs):
        train(fresh, number)
    for node in nodes:
        memory, files, threads = before[node.name]
        allowed = memory + GROWTH_BYTES, files + 2, threads + 1
        wait_until(lambda node=node, most=allowed: has_no_more(node, most), f"{node.name} lets go of what it has taken")
        grown, now, running = taken(node)
        figure.append(
            f"node {node.name}, after {WARM} and after {jobs} jobs: {memory / 2**20:.0f} and {grown / 2**20:.0f} MiB, "
            f"{files} and {now} open files, {threads} and {running} threads"
        )
        assert not node.children()
        assert not list((node.home / "jobs").glob(".*"))

    processes = [psutil.Process(node.process.pid) for node in nodes]
    sockets = [local_socket_path(node.home) for node in nodes]
    assert all(path.exists() for path in sockets)
    for node in nodes:
        node.signal(signal.SIGINT)
    for node in nodes:
        assert node.wait() == 0
        assert "Traceback" not in node.logged()
    assert not any(process.is_running() for process in processes)
    assert not any(path.exists() for path in sockets)
    assert [path for path in temporary.iterdir() if not path.name.startswith(TORCH_CACHE)] == []


@pytest.mark.long
def test_a_long_job_with_many_copies_takes_no_more_and_more_memory(fresh: Cluster, figure: list[str]) -> None:
    nodes = fresh.start("a", "b", "c")
    fresh.settle()
    job = nodes[0].submit(LONG_JOB, steps=str(STEPS), every=str(EVERY), width="512", pause="0.0")
    job.wait("step", SETTLED)
    before = {node.name: taken(node)[0] for node in nodes}
    job.wait("step", STEPS - 20)
    for node in nodes:
        after = taken(node)[0]
        grown = f"{before[node.name] / 2**20:.1f} MiB, {after / 2**20:.1f} at step {STEPS - 20}"
        figure.append(f"node {node.name} at step {SETTLED}: {grown}")
        assert after < before[node.name] + LONG_GROWTH_BYTES
    _, event = job.end()
    assert event["event"] == "finished"
