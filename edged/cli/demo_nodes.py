"""Starts and ends the processes of the demo. Nodes end with the program that started them, even if it is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from edged.client import Client
from edged.errors import JobFailedError
from edged.telemetry.paths import local_socket_path

NAMES = ("desk", "laptop", "pi-5", "pi-4", "jetson")
LEAVE_SECONDS = 5.0
WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class DemoNode:
    """One running node: its process, its home, its address, its id."""

    process: subprocess.Popen[str]
    home: Path
    address: str
    node: str


def start_nodes(stack: ExitStack, folder: Path, slowdowns: Sequence[float]) -> list[DemoNode]:
    """Start a node for each entry of ``slowdowns``; all join the first. ``stack`` ends them.

    Raises ``JobFailedError`` if one does not start.
    """
    from edged.transport.security import new_cluster_key

    key = new_cluster_key()
    first = _ready(_spawn(stack, folder, 0, key, ["--slowdown", str(slowdowns[0])]), folder, 0)
    rest = [
        _spawn(stack, folder, index, key, [*_seeded(first), "--slowdown", str(slowdown)])
        for index, slowdown in enumerate(slowdowns[1:], 1)
    ]
    return [first, *(_ready(process, folder, index) for index, process in enumerate(rest, 1))]


def add_node(stack: ExitStack, folder: Path, first: DemoNode, index: int, slowdown: float) -> subprocess.Popen[str]:
    """Start one more node, which joins by ``first``; it is not waited for. ``stack`` ends it."""
    key = (first.home / "key.txt").read_text(encoding="utf-8")
    return _spawn(stack, folder, index, key, [*_seeded(first), "--slowdown", str(slowdown)])


def wait_until_known(cluster: list[DemoNode]) -> None:
    """Return when every node sees all others, measured, and a leader. Raises ``JobFailedError`` after a minute."""
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        seen = [Client(node.home).ask("status") for node in cluster]
        ready = all(status["leader"] and len(_measured(status)) == len(cluster) for status in seen)
        if ready:
            return
        time.sleep(0.1)
    raise JobFailedError("the demo's nodes did not find each other within a minute; EDGED_DEBUG=1 keeps their logs")


def _measured(status: Mapping[str, Any]) -> list[Any]:
    return [m for m in status["members"] if m["state"] == "alive" and m["slowness"] > 0]


def run_edged(arguments: list[str]) -> subprocess.Popen[str]:
    """Run ``edged`` with one compute thread and standard output on a pipe, out of reach of the terminal's Ctrl-C."""
    return subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "edged", *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "EDGED_THREADS": "1"},
    )


def lines_of(process: subprocess.Popen[str]) -> Iterator[Mapping[str, Any]]:
    """The JSON objects that a process prints, until it ends."""
    assert process.stdout is not None
    try:
        for line in process.stdout:
            yield json.loads(line)
    except KeyboardInterrupt:
        process.kill()
        raise
    finally:
        finish(process)


def finish(process: subprocess.Popen[str]) -> None:
    """Ask a process to leave; kill it if it has not gone after a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(LEAVE_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            stream.close()


def kill(process: subprocess.Popen[str], home: Path) -> None:
    """End a node by SIGKILL, and tidy for it: it comes back no more."""
    process.kill()
    process.wait()
    local_socket_path(home).unlink(missing_ok=True)


def ending(process: subprocess.Popen[str], home: Path | None = None) -> Callable[..., None]:
    """What ends a process with an ``ExitStack``: in peace, but at once if somebody is waiting after Ctrl-C.

    ``home``: where it keeps a node, if it does.
    """

    def end(kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        if kind is KeyboardInterrupt and home is not None:
            kill(process, home)
        elif kind is KeyboardInterrupt:
            process.kill()
        finish(process)

    return end


def _seeded(first: DemoNode) -> list[str]:
    return ["--seed", first.address.removeprefix("tcp://")]


def _spawn(stack: ExitStack, folder: Path, index: int, key: str, more: list[str]) -> subprocess.Popen[str]:
    name = NAMES[index] if index < len(NAMES) else f"node-{index}"
    home = folder / name
    home.mkdir()
    (home / "key.txt").write_text(key, encoding="utf-8")
    (home / "key.txt").chmod(0o600)
    arguments = ["join", "--home", str(home), "--name", name, "--key-file", str(home / "key.txt"), "--cluster", "demo"]
    arguments += ["--listen", "127.0.0.1:0", "--no-discovery", "--no-tui", "--threads", "1", "--log-format", "json"]
    arguments += ["--leave-at-eof", *more]
    log = stack.enter_context((home / "log.jsonl").open("w", encoding="utf-8"))
    process = subprocess.Popen(  # noqa: S603 - our own program
        [sys.executable, "-m", "edged", *arguments],
        stdin=subprocess.PIPE,  # nothing is written: it is there to end
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        start_new_session=True,
    )
    stack.push(ending(process, home))
    return process


def _ready(process: subprocess.Popen[str], folder: Path, index: int) -> DemoNode:
    assert process.stdout is not None
    name = NAMES[index] if index < len(NAMES) else f"node-{index}"
    for line in process.stdout:
        event = json.loads(line)
        if event.get("event") == "ready":
            return DemoNode(process, folder / name, event["address"], event["node"])
    log = (folder / name / "log.jsonl").read_text(encoding="utf-8").strip().splitlines()
    raise JobFailedError(f"the demo's node {name} did not start: {log[-1] if log else 'it said nothing'}")
