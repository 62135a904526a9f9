"""Real nodes: separate processes, real ZeroMQ on loopback, homes of their own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
from testbed import free_ports

from edged.client import Client
from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.compute.submission import submit
from edged.compute.thread import ComputeThread
from edged.config import Settings
from edged.daemon import Daemon
from edged.errors import ConfigError, JobFailedError
from edged.transport.security import new_cluster_key
from tests.cli.shell import with_constant
from tests.roles.bench import write_job

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PATIENCE_SECONDS = 200.0


class Process:
    """One node in a process of its own."""

    def __init__(
        self, home: Path, key: str, seed: str = "", *more: str, program: Sequence[str] = ("-m", "edged")
    ) -> None:
        self.home = home
        arguments = ["--home", str(home), "--name", home.name, "--listen", "127.0.0.1:0", "--no-discovery"]
        arguments += ["--no-tui", "--threads", "1", "--log-format", "json", "--leave-at-eof", "--key", key, *more]
        arguments += ["--seed", seed] if seed else []
        home.mkdir(exist_ok=True)
        self.log = (home / "log.jsonl").open("a")
        self.process = subprocess.Popen(
            [sys.executable, *program, "join", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            env=ENVIRONMENT,
            start_new_session=True,
        )

    def ready(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        assert line, (self.home / "log.jsonl").read_text()
        return json.loads(line)

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        return Client(self.home).ask(command, **fields)

    def logged(self) -> str:
        return (self.home / "log.jsonl").read_text()

    def end(self, number: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        status = self.process.wait(PATIENCE_SECONDS)
        self.process.stdin.close()
        self.process.stdout.close()
        self.log.close()
        return status


class Cluster:
    """Nodes that know each other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = new_cluster_key()
        self.nodes: list[Process] = []
        self.seed = ""

    def start(self, *names: str) -> list[Process]:
        started = []
        for name in names:
            node = Process(self.folder / name, self.key, self.seed)
            self.nodes.append(node)
            started.append(node)
            if not self.seed:
                self.seed = node.ready()["address"].removeprefix("tcp://")
            else:
                node.ready()
        return started

    def settled(self) -> bool:
        """All know all, all are measured, all agree on who leads."""
        views = [node.ask("status") for node in self.nodes if node.process.poll() is None]
        return len({view["leader"] for view in views}) == 1 and all(
            view["leader"] and sum(m["state"] == "alive" and m["slowness"] > 0 for m in view["members"]) == len(views)
            for view in views
        )


def wait_until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path)
    yield cluster
    for node in cluster.nodes:
        if node.process.poll() is None:
            node.end(signal.SIGKILL)
        else:
            node.end()


def hand_in(node: Process, path: Path, output: Path | None = None, **changes: str) -> str:
    changes = {"strategy": "spread", **changes}
    feeder = {"path": str(path), "function": "job", "set": changes}
    source = node.ask("status")["node"]
    spec = submit(load(f"{path}:job", changes), node.home, feeder, output, source=source)
    assert node.ask("submit", job=spec.job) == {"job": spec.job}
    return spec.job


def follow(node: Process, job: str) -> list[dict[str, Any]]:
    wait_until(lambda: any(job in {each["job"], each["name"]} for each in node.ask("jobs")["jobs"]))
    return list(Client(node.home).stream("attach", job=job))


def children(pid: int) -> list[int]:
    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def feeder_of(pid: int) -> psutil.Process | None:
    """The process that runs the user's code, once it is one of its own: a moment before it is its parent's copy."""
    found = [psutil.Process(child) for child in children(pid)]
    return next((each for each in found if any("edged.feeder" in word for word in each.cmdline())), None)


@pytest.mark.slow
@pytest.mark.alone
def test_three_nodes_train_a_job_to_the_reference_and_leave_nothing_behind(cluster: Cluster) -> None:
    first, second, third = cluster.start("a", "b", "c")
    wait_until(cluster.settled)
    for node in cluster.nodes:
        arguments = psutil.Process(node.process.pid).cmdline()
        assert cluster.key not in " ".join(arguments), "everyone on this device may read them"
    path, output = write_job(cluster.folder, epochs=2), cluster.folder / "out.safetensors"
    job = hand_in(first, path, output)
    feeder = wait_until(lambda: feeder_of(first.process.pid))
    assert "EDGED_KEY" not in feeder.environ(), "the user's code is not to find it"
    events = follow(second, job)

    assert events[-1]["event"] == "finished"
    assert events[-1]["state_sha256"] == train_local(load(f"{path}:job")).state_sha256
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 9))
    plan = next(event for event in events if event["event"] == "plan")
    assert len(plan["routes"][0]["hops"]) == 3
    told = {event["event"] for event in follow(first, "small")}
    assert told - {"waiting", "decision"} == {"started", "plan", "step", "finished"}  # a slow feeder is waited for
    assert output.exists()

    status = wait_until(lambda: (s := third.ask("status"))["job"]["state"] == "finished" and s)
    assert (status["job"]["step"], status["job"]["steps"]) == (8, 8)
    assert {member["name"] for member in status["members"]} == {"a", "b", "c"}
    assert status["view"]["loss"][-1][0] == 8
    assert third.ask("jobs")["jobs"][0]["name"] == "small"

    copy = cluster.folder / "copy.safetensors"
    exported = first.ask("export", job="small", output=str(copy))
    assert (exported["step"], exported["state_sha256"]) == (8, events[-1]["state_sha256"])
    assert copy.read_bytes() == output.read_bytes()
    with pytest.raises(JobFailedError, match="a is the source of job small now"):
        second.ask("export", job="small", output=str(copy))
    wait_until(lambda: not children(first.process.pid))

    asked = time.monotonic()
    assert second.ask("leave")["name"] == "b"
    assert second.process.wait(PATIENCE_SECONDS) == 0
    assert first.end(signal.SIGTERM) == 0
    assert time.monotonic() - asked < 60
    assert not (first.home / "node.sock").exists()
    wait_until(lambda: sum(m["state"] == "alive" for m in third.ask("status")["members"]) == 1)


def long_job(folder: Path) -> Path:
    """48 steps of about a tenth of a second."""
    return write_job(folder, trouble="import time; time.sleep(0.01)", epochs=12)


def whole(version: int, stored: list[list[int]]) -> bool:
    """Whether a node has all layers: its own, and a replica of the other's."""
    return any(versions.count(version) > 1 for versions in stored)


@pytest.mark.long
@pytest.mark.slow
def test_a_cluster_that_was_switched_off_goes_on_from_what_lies_on_disk(cluster: Cluster) -> None:
    nodes = cluster.start("a", "b")
    wait_until(cluster.settled)
    path = long_job(cluster.folder)
    job = hand_in(nodes[0], path, replicate_every="4")
    held = [node.home / "held" / job for node in nodes]
    wait_until(lambda: all(len(list(folder.glob("4-*"))) > 1 for folder in held))  # own layers, and the other's
    for node in nodes:
        node.process.send_signal(signal.SIGKILL)
    stored = [[int(path.name.partition("-")[0]) for path in folder.glob("[0-9]*-*")] for folder in held]
    newest = max((version for version in stored[0] if version in stored[1] and whole(version, stored)), default=0)
    assert newest >= 4
    cluster.seed = ""
    first, _second = cluster.start("a", "b")
    events = follow(first, job)
    assert events[-1]["event"] == "finished"
    assert events[-1]["state_sha256"] == train_local(load(f"{path}:job")).state_sha256
    assert next(event["step"] for event in events if event["event"] == "step") > newest


@pytest.mark.slow
def test_one_node_stops_exports_and_survives_broken_user_code(cluster: Cluster) -> None:
    (node,) = cluster.start("a")
    wait_until(cluster.settled)

    endless = hand_in(node, write_job(cluster.folder, trouble="import time; time.sleep(0.01)", epochs=1000))
    wait_until(lambda: (node.ask("status")["job"] or {}).get("step", 0) >= 2)
    exported = node.ask("export", job=endless, output=str(cluster.folder / "now.safetensors"))
    assert exported["step"] >= 2
    assert (cluster.folder / "now.safetensors").exists()
    assert node.ask("stop", job=endless, reason="enough") == {"job": endless, "state": "stopped"}
    assert follow(node, endless)[-1] == {"event": "failed", "reason": "enough"}
    assert not (node.home / "jobs" / endless).exists()

    path = write_job(cluster.folder)
    feeder = {"path": str(path), "function": "job", "set": {}}
    spec = submit(load(f"{path}:job"), node.home, feeder, None, source=node.ask("status")["node"])
    write_job(cluster.folder, trouble="assert index != 5, 'sample 5 is broken'")
    node.ask("submit", job=spec.job)
    failed = follow(node, spec.job)[-1]
    assert failed["event"] == "failed"
    assert "sample 5 is broken" in failed["reason"]
    assert "in __getitem__" in failed["detail"]
    assert node.process.poll() is None

    with pytest.raises(JobFailedError, match="no job is called 'nothing'"):
        node.ask("stop", job="nothing")
    with pytest.raises(JobFailedError, match="submit"):
        node.ask("submit", job="abc123")
    with pytest.raises(ConfigError, match="'dance'"):
        node.ask("dance")
    lines = list(Client(node.home).stream("events"))
    assert any(line["event"]["type"] == "StopAsked" for line in lines)
    watch = Client(node.home).stream("watch", interval=0.1)
    assert [next(watch)["name"] for _ in range(3)] == ["a"] * 3
    watch.close()


def test_one_seed_with_another_key_is_no_reason_to_end_while_another_seed_may_come(cluster: Cluster) -> None:
    seed = f"127.0.0.1:{free_ports()}"
    stranger = Process(cluster.folder / "stranger", new_cluster_key())
    cluster.nodes.append(stranger)
    door = stranger.ready()["address"].removeprefix("tcp://")
    patient = with_constant("edged.daemon", "DOOR_SECONDS", 10 * PATIENCE_SECONDS)
    second = Process(cluster.folder / "b", cluster.key, door, "--seed", seed, program=patient)
    cluster.nodes.append(second)
    second.ready()
    wait_until(lambda: "not to this cluster key" in second.logged())
    cluster.nodes.append(Process(cluster.folder / "a", cluster.key, "", "--listen", seed))
    cluster.nodes[-1].ready()
    wait_until(lambda: sum(m["state"] == "alive" for m in second.ask("status")["members"]) == 2)


def test_a_second_signal_ends_at_once_and_leaves_no_socket(cluster: Cluster) -> None:
    (node,) = cluster.start("a")
    os.kill(node.process.pid, signal.SIGINT)
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.process.wait(PATIENCE_SECONDS) in {0, 130}
    assert not (node.home / "node.sock").exists()


def test_a_crashed_nodes_leftovers_do_not_stop_the_next_one(cluster: Cluster) -> None:
    (node,) = cluster.start("a")
    before = node.ask("status")["node"]
    node.end(signal.SIGKILL)
    assert (node.home / "node.sock").exists()
    cluster.seed = ""
    (again,) = cluster.start("a")
    assert again.ask("status")["node"] == before
    assert again.end() == 0


@pytest.mark.skipif(sys.platform == "darwin", reason="Apple devices may have one")
def test_a_device_that_is_not_there_ends_the_node(cluster: Cluster) -> None:
    node = Process(cluster.folder / "a", cluster.key, "", "--device", "mps")
    assert node.process.wait(PATIENCE_SECONDS) == 2
    node.end()
    assert "--device mps" in node.logged()


def test_a_damaged_vote_is_a_clear_error(cluster: Cluster) -> None:
    (cluster.folder / "a").mkdir()
    (cluster.folder / "a" / "vote.json").write_text("{")
    node = Process(cluster.folder / "a", cluster.key)
    cluster.nodes.append(node)
    assert node.process.wait(PATIENCE_SECONDS) == 2
    assert "vote.json is damaged" in node.logged()


async def test_a_node_closes_when_its_disk_has_what_was_put_down(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path,
        name="a",
        cluster="test",
        key=new_cluster_key(),
        listen=("127.0.0.1", 0),
        seeds=(),
        discovery=False,
        memory_bytes=10**9,
        threads=1,
        device="cpu",
        slowdown=1.0,
        replicas=1,
        forks=True,
        tui=False,
        log_format="json",
    )
    daemon, order = Daemon(settings, ComputeThread(), list), []

    class SlowKeeper:
        async def finish(self) -> None:
            daemon._disk.run(lambda: order.append("written"), order.append, order.append)
            await asyncio.sleep(0)
            order.append("finished")

    daemon._disk.start()
    daemon._keeper = SlowKeeper()
    await daemon.close()
    assert sorted(map(str, order[:2])) == ["finished", "written"]
    assert daemon._disk.stop()
