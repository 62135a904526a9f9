"""A node as its local socket shows it: answers by a script, over a real Unix socket."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

from edged.telemetry.paths import local_socket_path

Script = Callable[[dict[str, Any], socket.socket, BinaryIO], None]


class ScriptedNode:
    """``script`` answers one connection's request; ``requests`` keeps them all."""

    def __init__(self, script: Script) -> None:
        self.requests: list[dict[str, Any]] = []
        self._script = script

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            request = json.loads(stream.readline())
            self.requests.append(request)
            try:
                self._script(request, connection, stream)
            except OSError:
                return


@contextmanager
def running(home: Path, script: Script) -> Iterator[ScriptedNode]:
    """Listen at the home's socket until the block ends."""
    path = local_socket_path(home)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.unlink(missing_ok=True)
    node = ScriptedNode(script)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = Thread(target=node.serve, args=(listener,), daemon=True)
        thread.start()
        try:
            yield node
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(5)
            path.unlink(missing_ok=True)


def say(connection: socket.socket, answer: Any) -> None:
    """Send one JSON line."""
    connection.sendall(json.dumps(answer).encode() + b"\n")


def ask_for(connection: socket.socket, work: list[int]) -> None:
    """Ask a feeder for one micro-batch."""
    text = json.dumps({"draw": work}).encode()
    connection.sendall(len(text).to_bytes(4, "big") + text)


def receive(stream: BinaryIO) -> tuple[dict[str, Any], list[bytes]]:
    """The next frame from a feeder: its header and buffers."""
    header = json.loads(stream.read(int.from_bytes(stream.read(4), "big")))
    return header, [stream.read(tensor["size_bytes"]) for tensor in header.get("tensors", [])]
