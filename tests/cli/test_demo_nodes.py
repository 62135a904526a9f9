"""The demo's nodes end with whoever started them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from edged.telemetry.paths import local_socket_path
from tests.cli.shell import PATIENCE_SECONDS, wait_until

STARTER = """
import sys, time
from contextlib import ExitStack
from pathlib import Path
from edged.cli.demo_nodes import start_nodes
with ExitStack() as stack:
    print(*(node.process.pid for node in start_nodes(stack, Path(sys.argv[1]), [1.0, 1.0])), flush=True)
    time.sleep(600)
"""


def is_gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE  # its new parent may be slow to collect it
    except psutil.NoSuchProcess:
        return True


def test_nodes_leave_when_their_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    with starter:
        nodes = [int(pid) for pid in starter.stdout.readline().split()]
        sockets = [local_socket_path(home) for home in tmp_path.iterdir()]
        assert [(is_gone(pid), socket.exists()) for pid, socket in zip(nodes, sockets, strict=True)] == [
            (False, True)
        ] * 2
        starter.kill()
    wait_until(lambda: all(is_gone(pid) for pid in nodes))
    assert not any(socket.exists() for socket in sockets), "a node did not take its leave"


def test_a_node_whose_starter_is_gone_before_it_is_ready_ends(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edged", "join", "--leave-at-eof", "--home", str(tmp_path), "--no-tui"]
    command += ["--listen", "127.0.0.1:0", "--no-discovery"]
    ended = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert ended.returncode in {0, -signal.SIGTERM}, ended.stderr
