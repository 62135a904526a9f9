"""Ctrl-C in a real terminal, typed: once leaves gracefully, twice at once; nothing is left behind in either case."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from edged.client import Client
from edged.telemetry.paths import local_socket_path
from tests.cli.shell import JOBS, PATIENCE_SECONDS, edged, wait_until, with_constant
from tests.cli.terminal import ALTERNATE_SCREEN_OFF, CTRL_C, Terminal
from tests.cli.test_node import LONELY


def family(terminal: Terminal) -> list[psutil.Process]:
    """The node's process and all that it has started."""
    node = psutil.Process(terminal.process.pid)
    return [node, *node.children(recursive=True)]


def nothing_is_left(home: Path, processes: list[psutil.Process]) -> bool:
    wait_until(lambda: not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in processes))
    assert not local_socket_path(home).exists()
    assert not [path for path in home.rglob("*") if path.suffix == ".part"]
    return True


def begin(home: Path, function: str, *more: str) -> str:
    """Hand a job in, and return when its samples are drawn."""
    job = edged("train", f"{JOBS}:{function}", "--detach", *more, home=home).out.strip()
    wait_until(lambda: edged("jobs", "--json", home=home).object["jobs"][-1]["state"] == "running")
    return job


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Path]:
    """The home of a node that the one in the terminal joins."""
    home = tmp_path / "other"
    process = subprocess.Popen(
        [sys.executable, "-m", "edged", "join", "--home", str(home), "--leave-at-eof", "--no-tui", *LONELY],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: edged("status", home=home).status == 0)
    yield home
    process.kill()
    process.communicate()


def test_one_ctrl_c_leaves_and_says_so(tmp_path: Path) -> None:
    with Terminal("join", "--home", tmp_path, "--no-tui", *LONELY) as terminal:
        terminal.wait_for('"event": "ready"')
        begin(tmp_path, "slow")
        processes = family(terminal)
        assert len(processes) > 1, "somebody draws samples"
        terminal.type(CTRL_C)
        terminal.wait_for("edged: leaving: ")
        assert terminal.end() == 0
    assert "press Ctrl-C again to leave at once" in terminal.shown
    assert "this node has left" in terminal.shown
    assert "Traceback" not in terminal.shown
    assert nothing_is_left(tmp_path, processes)


def test_a_second_ctrl_c_does_not_wait_for_layers_to_move(tmp_path: Path, other: Path) -> None:
    home, gate = tmp_path / "home", tmp_path / "gate"
    line = edged("key", "join-command", home=other).out.split()[2:]
    with Terminal("join", "--home", home, *line, *LONELY) as terminal:
        terminal.wait_for("2 of 2 nodes alive")
        wait_until(lambda: all(each["slowness"] for each in Client(home).ask("status")["members"]))
        job = begin(home, "sleepy", "--set", f"gate={gate}")
        wait_until(lambda: all(each["layers"] for each in Client(other).ask("status")["members"]))
        processes = family(terminal)
        assert len(processes) > 1, "somebody draws samples"
        gate.touch()  # the step under way does not end, so that nothing moves
        terminal.type(CTRL_C)
        terminal.wait_for("leaving: moving layers first")  # an event in the live view
        terminal.type(CTRL_C)
        assert terminal.end() == 130
    after = terminal.raw.rpartition(ALTERNATE_SCREEN_OFF)[2]
    assert "edged: left at once, without a goodbye" in after
    assert "Traceback" not in terminal.shown
    assert nothing_is_left(home, processes)
    wait_until(lambda: job in {each["job"] for each in edged("jobs", "--json", home=other).object["jobs"]})
    edged("stop", job, home=other)


def test_a_signal_during_the_start_leaves_nothing(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "edged", "join", "--home", str(tmp_path), "--no-tui", *LONELY],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until((tmp_path / "node.lock").exists)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode in {0, -signal.SIGTERM}  # the latter before it has anything
    assert "Traceback" not in said
    assert not local_socket_path(tmp_path).exists()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="asks Linux for the signals that a process takes")
def test_a_signal_while_it_waits_for_a_network_ends_the_wait(tmp_path: Path) -> None:
    arguments = ["--unattended", "--no-discovery", "--listen", "203.0.113.7:0", "--home", str(tmp_path)]
    process = subprocess.Popen(
        [sys.executable, *with_constant("edged.daemon", "NETWORK_SECONDS", 3600.0), "join", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        wait_until((tmp_path / "identity.json").exists)
        wait_until(lambda: _handles(process.pid, signal.SIGTERM))
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=PATIENCE_SECONDS)
    finally:
        process.kill()  # it would wait for an hour
    assert process.returncode == 2
    assert "203.0.113.7" in said


def _handles(process: int, number: signal.Signals) -> bool:
    """Whether a process has its own answer to a signal."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    caught = next(line for line in lines if line.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)
