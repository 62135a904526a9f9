"""The notification protocol, against a real datagram socket."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.telemetry.supervisor import LONGEST, Supervisor


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(120)
        yield listening


def test_names_and_values_come_as_one_datagram(listener: socket.socket, tmp_path: Path) -> None:
    listener.bind(str(tmp_path / "notify"))
    supervisor = Supervisor(str(tmp_path / "notify"))
    assert supervisor.tell({"READY": "1", "STATUS": "two\nlines\r\nmake  one"})
    assert listener.recv(4096) == b"READY=1\nSTATUS=two lines make one"
    assert supervisor.tell({"STATUS": "x" * 2 * LONGEST})
    assert listener.recv(4096) == b"STATUS=" + b"x" * LONGEST


def test_an_address_of_the_kernel_s_own_is_no_file(listener: socket.socket) -> None:
    name = f"edged-{uuid.uuid4().hex}"
    listener.bind(f"\0{name}")
    assert Supervisor(f"@{name}").tell({"WATCHDOG": "1"})
    assert listener.recv(4096) == b"WATCHDOG=1"


def test_the_environment_names_it_once(tmp_path: Path) -> None:
    environment = {"NOTIFY_SOCKET": str(tmp_path), "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "17", "HOME": "/"}
    supervisor = Supervisor.from_environment(environment, 17)
    assert (bool(supervisor), supervisor.watchdog_seconds) == (True, 3.0)
    assert environment == {"HOME": "/"}
    assert not Supervisor.from_environment(environment, 17)


@pytest.mark.parametrize(
    ("environment", "listens", "seconds"),
    [
        ({}, False, 0.0),
        ({"WATCHDOG_USEC": "3000000"}, False, 0.0),
        ({"NOTIFY_SOCKET": "vsock:2:1234", "WATCHDOG_USEC": "3000000"}, False, 0.0),
        ({"NOTIFY_SOCKET": "/run/notify"}, True, 0.0),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "500000"}, True, 0.5),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "500000", "WATCHDOG_PID": "18"}, True, 0.0),
        ({"NOTIFY_SOCKET": "@notify", "WATCHDOG_USEC": "soon"}, True, 0.0),
    ],
)
def test_only_what_is_meant_for_this_process_counts(environment: dict, listens: bool, seconds: float) -> None:
    supervisor = Supervisor.from_environment(dict(environment), 17)
    assert (bool(supervisor), supervisor.watchdog_seconds) == (listens, seconds)


def test_nobody_there_or_a_full_queue_is_no_error(listener: socket.socket, tmp_path: Path) -> None:
    assert not Supervisor(str(tmp_path / "missing")).tell({"READY": "1"})
    listener.bind(str(tmp_path / "notify"))
    supervisor = Supervisor(str(tmp_path / "notify"))
    told = 0
    while supervisor.tell({"STATUS": "x"}) and told < 100_000:
        told += 1
    assert 0 < told < 100_000
    assert listener.recv(4096) == b"STATUS=x"
    assert supervisor.tell({"STATUS": "y"})
