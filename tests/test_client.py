"""The client asks, streams, and turns a node's refusal into the error of its exit status."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from edged.client import Client
from edged.errors import ConfigError, JobFailedError, KeyRefusedError, NoNodeError, UserError
from tests.scripted import running, say


def test_no_node_is_told_with_what_to_type(tmp_path: Path) -> None:
    with pytest.raises(NoNodeError, match=f"start one with `edged join --home {tmp_path}`"):
        Client(tmp_path).ask("status")


def test_a_request_gets_its_one_answer(tmp_path: Path) -> None:
    def script(request: dict[str, Any], connection: Any, _stream: Any) -> None:
        say(connection, {"asked": request["command"], "job": request["job"]})

    with running(tmp_path, script) as node:
        assert Client(tmp_path).ask("stop", job="abc") == {"asked": "stop", "job": "abc"}
        assert node.requests == [{"command": "stop", "job": "abc"}]


def test_a_stream_goes_on_until_the_node_ends_it(tmp_path: Path) -> None:
    def script(_request: Any, connection: Any, _stream: Any) -> None:
        for number in range(3):
            say(connection, {"event": "failed" if number == 2 else "step", "error": number})

    with running(tmp_path, script):
        assert [answer["error"] for answer in Client(tmp_path).stream("attach", job="j")] == [0, 1, 2]


def test_closing_a_stream_closes_the_connection(tmp_path: Path) -> None:
    seen = []

    def script(_request: Any, connection: Any, stream: Any) -> None:
        say(connection, {"number": 0})
        seen.append(stream.read())

    with running(tmp_path, script):
        answers = Client(tmp_path).stream("watch")
        assert next(answers) == {"number": 0}
        answers.close()
        with pytest.raises(StopIteration):
            next(answers)
    assert seen in ([], [b""])


@pytest.mark.parametrize(
    ("status", "kind"),
    [(1, JobFailedError), (2, ConfigError), (3, NoNodeError), (4, KeyRefusedError), (99, JobFailedError)],
)
def test_a_refusal_is_the_error_of_its_status(tmp_path: Path, status: int, kind: type[UserError]) -> None:
    with (
        running(tmp_path, lambda _r, connection, _s: say(connection, {"error": "not today", "status": status})),
        pytest.raises(kind, match="^not today$"),
    ):
        Client(tmp_path).ask("leave")


@pytest.mark.parametrize("answer", [b"", b"{not json\n"])
def test_a_node_that_goes_away_is_told(tmp_path: Path, answer: bytes) -> None:
    with (
        running(tmp_path, lambda _r, connection, _s: connection.sendall(answer)),
        pytest.raises(NoNodeError, match="went away"),
    ):
        Client(tmp_path).ask("status")


def test_the_client_and_the_package_bring_no_torch() -> None:
    code = "import sys, edged, edged.client; sys.exit(sum(name in sys.modules for name in ('torch', 'zmq', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=False).returncode == 0


def test_the_package_exports_what_it_promises() -> None:
    import edged

    assert {"Job", "Result", "train", "train_local", "__version__"} <= set(dir(edged))
    assert all(getattr(edged, name) for name in dir(edged))
    with pytest.raises(AttributeError, match="has no attribute 'pipeline'"):
        _ = edged.pipeline


@contextmanager
def being(user: int) -> Iterator[None]:
    """Another user, as far as files and sockets go."""
    os.seteuid(user)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")
def test_the_socket_of_another_user_is_refused_before_anything_is_said() -> None:
    """Who makes the folder of a short socket's path first could answer in the node's place."""
    mine, other = 65534, 65533
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as trap:
        home = Path(folder)
        home.chmod(0o777)
        with being(other):
            trap.bind(str(home / "node.sock"))
            trap.listen()
        (home / "node.sock").chmod(0o777)
        with (
            being(mine),
            pytest.raises(ConfigError, match=f"the socket of another user .number {other}.: choose another"),
        ):
            Client(home).ask("submit", job="abc")
        near, _ = trap.accept()
        with near:
            assert near.recv(100) == b""
        with being(other):
            Client(home).connect().close()
