"""Talks to this device's node over its local socket: a JSON line asks, JSON lines answer. Blocking, light to import."""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any

from edged.errors import ConfigError, JobFailedError, KeyRefusedError, NoNodeError, UserError
from edged.roles.ending import last_end
from edged.telemetry.paths import local_socket_path

_CONNECT_SECONDS = 5.0
_CREDENTIALS = struct.Struct("iII")
"""Process, user and group of a Unix socket's other end, see unix(7)."""

_SUPERUSER = 0
_ERRORS: dict[int, type[UserError]] = {
    error.exit_status: error for error in (JobFailedError, ConfigError, NoNodeError, KeyRefusedError)
}


class Client:
    """One home's node, as seen from another process of the same device. Every request takes a connection of its own."""

    def __init__(self, home: Path, patience_seconds: float | None = None) -> None:
        """Connect to nothing yet. ``patience_seconds``: of waiting for an answer; ``None``: as long as it takes."""
        self.home = home
        self._patience_seconds = patience_seconds

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its one answer.

        Raises ``NoNodeError`` if no node runs in this home, and the node's own refusal as the ``UserError`` of its exit
        status.
        """
        with closing(self.stream(command, **fields)) as answers:
            for answer in answers:
                return answer
        raise self._gone()

    def stream(self, command: str, **fields: Any) -> Generator[dict[str, Any], None, None]:
        """Send a request and yield its answers as they come, until the node closes the stream or the caller stops.

        Raises like ``ask``, at the first answer that is asked for; closing the iterator closes the connection.
        """
        with self.connect() as connection, connection.makefile("rb") as answers:
            try:
                connection.sendall(json.dumps({"command": command, **fields}).encode() + b"\n")
                for line in answers:
                    yield self._checked(line)
            except (ConnectionError, ValueError) as error:
                raise self._gone() from error
            except TimeoutError as error:
                raise NoNodeError(f"the node in {self.home} does not answer; its log may tell why") from error

    def connect(self) -> socket.socket:
        """A fresh connection. Raises ``NoNodeError``, and ``ConfigError`` if another user listens there."""
        path = local_socket_path(self.home)
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_CONNECT_SECONDS)
        try:
            connection.connect(str(path))
            _refuse_other_user(connection, path)
        except OSError as error:
            connection.close()
            start = f"no node is running in {self.home}: start one with `edged join --home {self.home}`"
            raise NoNodeError("; ".join(filter(None, (start, last_end(self.home))))) from error
        connection.settimeout(self._patience_seconds)
        return connection

    def _checked(self, line: bytes) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer and "event" not in answer:
            raise _ERRORS.get(answer.get("status", 1), JobFailedError)(str(answer["error"]))
        return answer

    def _gone(self) -> NoNodeError:
        return NoNodeError(f"the node in {self.home} went away: start it again with `edged join --home {self.home}`")


def _refuse_other_user(connection: socket.socket, path: Path) -> None:
    """The short path of a socket lies in a folder that all users share: who listens there may be anybody."""
    user = path.stat().st_uid
    if hasattr(socket, "SO_PEERCRED"):
        known = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        user = _CREDENTIALS.unpack(known)[1]
    if os.geteuid() not in {user, _SUPERUSER} and user != _SUPERUSER:
        connection.close()
        raise ConfigError(f"{path} is the socket of another user (number {user}): choose another --home")
