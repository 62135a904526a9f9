"""Real nodes for the system tests: processes with homes of their own, on loopback or in network namespaces."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import Any

import psutil

from edged.client import Client
from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.compute.submission import submit
from edged.errors import UserError
from edged.feeder import serve
from edged.job import Job
from edged.strategies import PLANNERS
from edged.transport.security import new_cluster_key

CHAIN = Path(__file__).with_name("chain.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
PATIENCE_SECONDS = 200.0
LOOK_SECONDS = 0.1
"""A look takes all nodes that are asked some of the time that is waited for."""


def wait_until(
    condition: Callable[[], Any], what: str, seconds: float = PATIENCE_SECONDS, look: float = LOOK_SECONDS
) -> Any:
    """The first true value of ``condition``, which may also not be able to answer yet."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            if found := condition():
                return found
        except UserError as error:
            what = f"{what} ({error})" if time.monotonic() >= deadline else what
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(look)


class Follower:
    """Follows a job from one node; notes when each event came.

    ``feeding`` draws its samples in this process. It shares torch's random state with whoever makes a model next, so
    the end of the job is told only after its own.
    """

    def __init__(self, client: Client, job: str, feeding: threading.Thread | None = None) -> None:
        self.job = job
        self._feeding = feeding
        self.events: list[tuple[float, dict[str, Any]]] = []
        self._news = threading.Condition()
        self._over = False
        self._thread = threading.Thread(target=self._follow, args=(client,), daemon=True)
        self._thread.start()

    def wait(
        self, kind: str, number: int = 1, seconds: float = PATIENCE_SECONDS, *, since: float = 0.0
    ) -> tuple[float, dict[str, Any]]:
        """The ``number``-th event of a kind that came ``since`` then, and when; fails if the job ends before."""

        def found() -> list[tuple[float, dict[str, Any]]]:
            return [event for event in self.events if event[1]["event"] == kind and event[0] >= since]

        with self._news:
            self._news.wait_for(lambda: len(found()) >= number or self._over, seconds)
            told = [event for event in self.events if event[1]["event"] != "step"] + self.events[-1:]
            assert len(found()) >= number, f"no {kind} event {number} of job {self.job}: {told[-20:]}"
            return found()[number - 1]

    def end(self, seconds: float = PATIENCE_SECONDS) -> tuple[float, dict[str, Any]]:
        """The job's last event, and when it came."""
        self._thread.join(seconds)
        if self._feeding is not None:
            self._feeding.join(seconds)
        assert self._over, f"job {self.job} is not over after {seconds:.0f} s: {self.events[-3:]}"
        assert self.events, f"nothing was heard of job {self.job}"
        assert self.events[-1][1]["event"] in {"finished", "failed"}, f"the node went away: {self.events[-3:]}"
        return self.events[-1]

    def _follow(self, client: Client) -> None:
        try:
            for event in client.stream("attach", job=self.job):
                with self._news:
                    self.events.append((time.monotonic(), event))
                    self._news.notify_all()
        except UserError:
            pass  # the node went away
        finally:
            with self._news:
                self._over = True
                self._news.notify_all()


class Node:
    """One node in a process of its own. ``prefix`` starts it elsewhere (``ip netns exec NAME``)."""

    def __init__(
        self,
        home: Path,
        key: str,
        arguments: Sequence[str],
        prefix: Sequence[str] = (),
        environment: Mapping[str, str] = ENVIRONMENT,
    ) -> None:
        self.home, self.name = home, home.name
        self.client = Client(home)
        self.id = self.address = ""
        home.mkdir(exist_ok=True)
        if key:
            (home / "key.txt").touch(mode=0o600)
            (home / "key.txt").write_text(key, encoding="utf-8")
            arguments = [*arguments, "--key-file", str(home / "key.txt")]
        self._log = (home / "log.jsonl").open("a", encoding="utf-8")
        common = ["--home", str(home), "--name", self.name, "--no-tui", "--threads", "1", "--log-format", "json"]
        common += ["--leave-at-eof"]
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "edged", "join", *common, *arguments],
            stdin=subprocess.PIPE,  # it ends with this process, however that ends
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env=dict(environment),
            start_new_session=True,
        )

    def ready(self) -> Node:
        """Wait until the node says that it can be used."""
        line = self.process.stdout.readline()
        assert line, self.logged()
        event = json.loads(line)
        self.id, self.address = event["node"], event["address"].removeprefix("tcp://")
        return self

    def logged(self) -> str:
        return (self.home / "log.jsonl").read_text(encoding="utf-8")

    def running(self) -> bool:
        return self.process.poll() is None

    def status(self) -> dict[str, Any]:
        return self.client.ask("status")

    def alive(self) -> set[str]:
        """Names of the members that this node believes in."""
        return {member["name"] for member in self.status()["members"] if member["state"] == "alive"}

    def children(self) -> list[psutil.Process]:
        """Its feeders."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def submit(self, path: Path = CHAIN, *, child: bool = False, **changes: str) -> Follower:
        """Hand in a job and follow it from here.

        Samples are drawn by a thread of this process, as ``edged.train`` does; ``child``: by a child of the node, as
        ``edged train`` has it, which takes some seconds to start.
        """
        changes = {"strategy": "spread", **changes}  # every node is to take part, though one might be faster
        job = load(f"{path}:job", changes)
        feeder = {"path": str(path), "function": "job", "set": changes} if child else None
        spec = submit(job, self.home, feeder, None, source=self.id, strategies=PLANNERS)
        self.client.ask("submit", job=spec.job)
        if child:
            return Follower(self.client, spec.job)
        feeding = threading.Thread(target=self._feed, args=(spec.job, job), daemon=True)
        feeding.start()
        return Follower(self.client, spec.job, feeding)

    def follow(self, job: str) -> Follower:
        """Follow a job that another node's user handed in."""
        wait_until(lambda: self._knows(job), f"{self.name} hears of job {job}")
        return Follower(self.client, job)

    def signal(self, number: int) -> float:
        """Send a signal to this process alone; the moment at which that was done."""
        self.process.send_signal(number)
        return time.monotonic()

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The exit status, once the process has ended."""
        status = self.process.wait(seconds)
        self.process.stdin.close()
        self.process.stdout.close()
        self._log.close()
        return status

    def _feed(self, job_id: str, job: Job) -> None:
        with suppress(OSError, ValueError, UserError):  # the node may die, which is the job's end to tell
            serve(self.client.connect(), job_id, job)

    def _knows(self, job: str) -> bool:
        return any(record["job"] == job for record in self.client.ask("jobs")["jobs"])


class Cluster:
    """Nodes with one key. All are ended with ``stack``, whatever state they are in."""

    def __init__(self, stack: ExitStack, folder: Path, common: Sequence[str] = ()) -> None:
        self.folder = folder
        self.key = new_cluster_key()
        self.nodes: dict[str, Node] = {}
        self.environment = dict(ENVIRONMENT)
        self.common = list(common) or ["--listen", "127.0.0.1:0", "--no-discovery"]
        stack.callback(self.end)

    def __getitem__(self, name: str) -> Node:
        return self.nodes[name]

    def running(self) -> list[Node]:
        return [node for node in self.nodes.values() if node.running()]

    def start(self, *names: str) -> list[Node]:
        """Start nodes (again); the first one alone when nobody runs, since the others need its address."""
        started = []
        for name in names:
            seeds = [argument for node in self.running() if node.address for argument in ("--seed", node.address)]
            self.nodes[name] = Node(self.folder / name, self.key, [*self.common, *seeds], (), self.environment)
            started.append(self.nodes[name])
            if not seeds:
                started[-1].ready()
        return [node if node.id else node.ready() for node in started]

    def complete(self, *names: str) -> None:
        """Start those of these nodes that do not run."""
        running = {node.name for node in self.running()}
        self.start(*(name for name in names if name not in running))

    def settle(self) -> str:
        """Wait until all know all, measured, and agree who leads; the leader's name."""

        def agreed() -> str:
            views = [node.status() for node in self.running()]
            names = {node.name for node in self.running()}
            leaders = {view["leader"] for view in views}
            for view in views:
                alive = {m["name"] for m in view["members"] if m["state"] == "alive" and m["slowness"] > 0}
                if alive != names or len(leaders) > 1 or None in leaders:
                    return ""
            return next((node.name for node in self.running() if node.id in leaders), "")

        return wait_until(agreed, "the nodes know each other and a leader")

    def named(self, plan: dict[str, Any]) -> list[str]:
        """Names of a plan's nodes, in the order of their hops."""
        return [hop["name"] for hop in plan["routes"][0]["hops"]]

    def end(self) -> None:
        """Let all leave at once; kill those that do not."""
        running = self.running()
        for node in running:
            node.signal(signal.SIGCONT)
            node.signal(signal.SIGINT)
        for node in self.nodes.values():
            try:
                node.wait()
            except subprocess.TimeoutExpired:
                node.signal(signal.SIGKILL)
                node.wait()


@cache
def undisturbed(blocks: int = 5, epochs: int = 1) -> str:
    """Fingerprint of the weights that the chain has after an undisturbed run on this device."""
    return train_local(load(f"{CHAIN}:job", {"blocks": str(blocks), "epochs": str(epochs)})).state_sha256
