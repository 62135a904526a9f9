"""Memory: a model that fits nowhere alone trains over three, and a device that runs out of it gives layers away.

The job is ``wide.py``: 33 MB of parameters, as much for gradients and for momentum.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.compute.submission import submit
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.situation import Situation
from edged.errors import JobFailedError
from edged.strategies import PLANNERS
from tests.core.job_sample import member
from tests.system import wide
from tests.system.cluster import Cluster, Follower, wait_until

pytestmark = pytest.mark.slow

SLACK_BYTES = 3_000_000
"""Less than one of the job's matrices: what Python and the sockets need goes on."""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The file with the first weights."""
    path = tmp_path_factory.mktemp("weights") / "model.safetensors"
    wide.write_weights(path)
    return str(path)


@pytest.fixture(scope="module")
def spec(weights: str, tmp_path_factory: pytest.TempPathFactory) -> JobSpec:
    """The job as a source would hand it in."""
    home = tmp_path_factory.mktemp("home")
    return submit(wide.job(weights), home, None, None, source="a" * 16)


def undisturbed(weights: str, epochs: int = 3) -> str:
    """Fingerprint of the weights that one device without a budget comes to."""
    return train_local(load(f"{wide.__file__}:job", {"weights": weights, "epochs": str(epochs)})).state_sha256


def is_possible(spec: JobSpec, devices: int, memory_bytes: int) -> bool:
    """Whether the planner finds a plan for so many equal devices with so much memory each."""
    nodes = [NodeId(letter * 16) for letter in "abc"[:devices]]
    members = tuple(replace(member(node), memory_bytes=memory_bytes, slowness=1.0) for node in nodes)
    try:
        PLANNERS["auto"](Situation(spec, members, leader=nodes[0], replicas=1), Stamp(JobId("x"), 1, 1))
    except JobFailedError:
        return False
    return True


@pytest.fixture(scope="module")
def budget(spec: JobSpec) -> int:
    """The largest round budget of a device of which two are not enough, and three are."""
    budgets = range(10_000_000, 500_000_000, 2_000_000)
    return max(size for size in budgets if is_possible(spec, 3, size) and not is_possible(spec, 2, size))


class Watch:
    """How far the resident size of some nodes' processes grows, at most."""

    def __init__(self, cluster: Cluster, stack: ExitStack) -> None:
        processes = {node.name: psutil.Process(node.process.pid) for node in cluster.running()}
        self._before = {name: process.memory_info().rss for name, process in processes.items()}
        self.most = dict.fromkeys(self._before, 0)
        self._processes, self._over = processes, threading.Event()
        thread = threading.Thread(target=self._look, daemon=True)
        thread.start()
        stack.callback(thread.join)
        stack.callback(self._over.set)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for name, process in self._processes.items():
                if process.is_running():
                    self.most[name] = max(self.most[name], process.memory_info().rss - self._before[name])


def begin(cluster: Cluster, source: str, **changes: str) -> Follower:
    return cluster[source].submit(Path(wide.__file__), **changes)


@pytest.mark.long
def test_a_model_that_fits_no_budget_waits_for_the_third_device(
    fresh: Cluster, stack: ExitStack, weights: str, spec: JobSpec, budget: int, figure: list[str]
) -> None:
    assert not is_possible(spec, 1, budget)
    fresh.common += ["--memory", str(budget)]
    fresh.start("a", "b")
    fresh.settle()
    job = begin(fresh, "a", weights=weights)
    record = wait_until(
        lambda: next((r for r in fresh["b"].client.ask("jobs")["jobs"] if r["state"] == "waiting"), None),
        "the job waits for memory",
    )
    assert "of memory" in record["reason"]
    assert "join another device, raise --memory, or use smaller micro-batches" in record["reason"]
    fresh.start("c")
    watch = Watch(fresh, stack)
    _, event = job.end()
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(weights)
    hops = job.wait("plan")[1]["routes"][0]["hops"]
    assert {hop["name"] for hop in hops} == {"a", "b", "c"}
    held = {hop["name"]: spec.layers[hop["first_layer"] : hop["last_layer"] + 1] for hop in hops}
    for name, layers in held.items():
        live = sum(layer.state_bytes + (1 + spec.optimizer_copies) * layer.parameter_bytes for layer in layers)
        assert live <= budget, f"{name} holds {live} bytes"
        figure.append(f"{name}: budget {budget / 1e6:.0f} MB, {live / 1e6:.0f} MB of it for parameters, gradients and ")
        figure[-1] += f"momentum; the process grew by {watch.most[name] / 1e6:.0f} MB at most"


@pytest.mark.long
def test_a_device_that_runs_out_of_memory_gives_layers_away_and_lives(
    fresh: Cluster, weights: str, figure: list[str]
) -> None:
    fresh.common += ["--memory", "400MB"]
    fresh.start("a", "b", "c")
    leader = fresh.settle()
    source = next(name for name in "abc" if name != leader)
    victim = next(name for name in "abc" if name not in {leader, source})
    job = begin(fresh, source, weights=weights, epochs="24")  # steps 16, 32 ... are copied
    job.wait("step", 2)
    before = {hop["name"]: hop for hop in job.wait("plan")[1]["routes"][0]["hops"]}
    assert victim in before
    process = psutil.Process(fresh[victim].process.pid)
    since = time.monotonic()
    limits = [sys.maxsize]

    def run_out() -> bool:
        """What it frees meanwhile it does not get again, until it is short of memory."""
        if "memory ran out" in fresh[victim].logged():
            return True
        limits.append(min(limits[-1], process.memory_info().vms + SLACK_BYTES))
        process.rlimit(psutil.RLIMIT_AS, (limits[-1], resource.RLIM_INFINITY))
        return False

    wait_until(run_out, "memory runs out", look=0.02)  # so that it is seen when it has freed most
    at, event = job.wait("recovery")
    assert event["text"].startswith(f"{victim} could not go on")
    figure.append(f"{event['text']}; {at - since:.2f} s after memory was limited")
    _, event = job.end(600.0)
    assert event["event"] == "finished", event
    assert event["state_sha256"] == undisturbed(weights, epochs=24)
    assert fresh[victim].running()
    process.rlimit(psutil.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    (record,) = [m for m in fresh[leader].status()["members"] if m["name"] == victim]
    assert record["state"] == "alive"
    assert record["memory_bytes"] < 400_000_000
    plans = [event for _, event in job.events if event["event"] == "plan"]
    after = {hop["name"]: hop for hop in plans[-1]["routes"][0]["hops"]}
    counts = [hop["last_layer"] - hop["first_layer"] + 1 for hop in (before[victim], after.get(victim)) if hop]
    assert len(counts) == 1 or counts[1] < counts[0]
