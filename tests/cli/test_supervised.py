"""A real node, started as a service manager starts one: it is told what the manager must know, and watched over."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from edged.client import Client
from edged.telemetry.paths import local_socket_path
from edged.transport.security import read_cluster_key
from tests.cli.shell import JOBS, PATIENCE_SECONDS, edged, wait_until

WATCHDOG_SECONDS = 6.0
ALONE = ("--unattended", "--no-discovery", "--listen", "127.0.0.1:0", "--threads", "1")

HANGING = """
import sys, time
from edged.cli.main import run
from edged.roles.commands import NodeCommands

def hang_for_ever(self):
    time.sleep(1000)

NodeCommands.status = hang_for_ever
sys.exit(run(sys.argv[1:]))
"""
"""A node whose loop hangs as soon as it is asked for its status."""


class Systemd:
    """Starts a node with a notification socket, and hears what it says, with the moment of each datagram."""

    def __init__(self, home: Path, address: str, program: tuple[str, ...] = ("-m", "edged")) -> None:
        self.home = home
        self.heard: list[tuple[float, str]] = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self._log = (home / "log.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, *program, "join", "--home", str(home), *ALONE],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NOTIFY_SOCKET": address, "WATCHDOG_USEC": str(int(WATCHDOG_SECONDS * 1e6))},
            start_new_session=True,
        )
        threading.Thread(target=self._listen, daemon=True).start()

    def said(self, line: str) -> list[float]:
        """When a line was said."""
        return [moment for moment, lines in self.heard if line in lines.splitlines()]

    def wait_for(self, line: str, times: int = 1) -> None:
        wait_until(lambda: len(self.said(line)) >= times)

    @property
    def statuses(self) -> list[str]:
        lines = [line for _, lines in self.heard for line in lines.splitlines()]
        return [line.removeprefix("STATUS=") for line in lines if line.startswith("STATUS=")]

    def logged(self) -> str:
        return (self.home / "log.txt").read_text()

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.close()
        self._log.close()

    def _listen(self) -> None:
        try:
            while datagram := self.socket.recv(4096):
                self.heard.append((time.monotonic(), datagram.decode()))
        except OSError:
            return  # closed


@pytest.fixture(params=["file", "kernel"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Systemd]:
    address = str(tmp_path / "notify") if request.param == "file" else f"@edged-{uuid.uuid4().hex}"
    manager = Systemd(tmp_path, address)
    yield manager
    manager.close()


def test_a_service_says_when_it_can_be_reached_what_it_does_and_when_it_goes(manager: Systemd) -> None:
    manager.wait_for("READY=1")
    status = Client(manager.home).ask("status")  # at once: that is what it has said
    assert not manager.said("STOPPING=1")
    wait_until(lambda: f"1 node alive, {status['name']} leads; no job" in manager.statuses)

    job = edged("train", f"{JOBS}:slow", "--detach", home=manager.home).out.strip()
    wait_until(lambda: any("; slow: step " in each for each in manager.statuses))
    (feeder,) = wait_until(lambda: psutil.Process(manager.process.pid).children())
    assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC"} & set(feeder.environ()), "only the node speaks for itself"
    manager.wait_for("WATCHDOG=1", times=4)
    beats = manager.said("WATCHDOG=1")
    pauses = [later - earlier for earlier, later in pairwise(beats)]
    assert sum(pauses) / len(pauses) > 0.3 * WATCHDOG_SECONDS
    assert min(pauses) < WATCHDOG_SECONDS
    edged("stop", job, home=manager.home)

    manager.process.send_signal(signal.SIGTERM)
    assert manager.process.wait(PATIENCE_SECONDS) == 0
    assert manager.said("STOPPING=1")
    assert "leaving: saying goodbye; a second signal ends this node at once" in manager.logged()
    assert not local_socket_path(manager.home).exists()
    assert not feeder.is_running()


def test_the_key_of_a_new_home_stays_out_of_the_log_of_a_service(tmp_path: Path) -> None:
    manager = Systemd(tmp_path, str(tmp_path / "notify"))
    try:
        manager.wait_for("READY=1")
        wait_until(lambda: '"event": "ready"' in manager.logged())
        key = read_cluster_key(tmp_path)
        assert key
        assert key not in manager.logged()
        assert "`edged key join-command` prints the line to share" in manager.logged()
        ready = next(line for line in manager.logged().splitlines() if line.startswith("{"))
        assert json.loads(ready)["event"] == "ready"
    finally:
        manager.close()


def test_a_loop_that_hangs_is_not_heard_of_any_more_and_the_log_says_where_it_hung(tmp_path: Path) -> None:
    manager = Systemd(tmp_path, str(tmp_path / "notify"), program=("-c", HANGING))
    try:
        manager.wait_for("READY=1")
        manager.wait_for("WATCHDOG=1", times=2)
        with Client(tmp_path).connect() as asking:
            asking.sendall(b'{"command": "status"}\n')
            hung_at = time.monotonic()
            # What a service manager does: it waits for the next beat, and no longer than it has said.
            wait_until(lambda: time.monotonic() - max(*manager.said("WATCHDOG=1"), hung_at) > WATCHDOG_SECONDS)
            assert manager.process.poll() is None
            manager.process.send_signal(signal.SIGABRT)
            assert manager.process.wait(PATIENCE_SECONDS) == -signal.SIGABRT
        assert "in hang_for_ever" in manager.logged()
        assert not manager.said("STOPPING=1")
    finally:
        manager.close()
    assert edged("status", home=tmp_path).status == 3
    again = Systemd(tmp_path, str(tmp_path / "notify-2"))
    try:
        again.wait_for("READY=1")  # what the dead one has left behind is not in the way
    finally:
        again.close()


def test_a_start_that_is_refused_was_never_ready(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('device = "tpu"\n')
    manager = Systemd(tmp_path, str(tmp_path / "notify"))
    try:
        assert manager.process.wait(PATIENCE_SECONDS) == 2
        assert "config.toml: device" in manager.logged()
        assert manager.heard == []
    finally:
        manager.close()
