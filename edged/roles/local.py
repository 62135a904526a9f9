"""The local socket: how programs of this device's user talk to their node. JSON lines over a Unix socket of mode 0600.

A request is one line, ``{"command": NAME, ...}``. A one-shot command is answered by one object, a stream by an object
a line until either side closes. An error is ``{"error": text, "status": exit status}``. A connection that says ``feed``
carries feeder frames from then on.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from edged.errors import ConfigError, UserError
from edged.transport.private import private_folder

LINE_BYTES = 2**20
MOST_WAITING = 10_000
"""A reader of a stream that lets so many objects wait, beside those that it asked for at the start, is cut off."""

MODE = 0o600

Answer = Mapping[str, Any]
Send = Callable[[Answer], None]


class Commands(Protocol):
    """What the node does for its user. Each raises ``UserError`` with what to do instead."""

    async def answer(self, command: str, request: Answer) -> Answer | None:
        """The one answer of a one-shot command; ``None`` if there is no such command."""

    def subscribe(
        self, command: str, request: Answer, send: Send, end: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Begin a stream: ``send`` each object, ``end`` after the last. Returns what ends it early, or ``None``."""

    def period(self, command: str, request: Answer) -> tuple[float, Callable[[], Answer]] | None:
        """A stream that repeats itself: seconds between two objects, and what makes one; or ``None``."""

    async def feed(self, request: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a feeder until it goes."""


class LocalServer:
    """Listens on the socket and serves each connection."""

    def __init__(self, path: Path, commands: Commands) -> None:
        """Nothing is bound yet. The caller holds the home's lock, so a socket file that exists is a dead node's."""
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Bind. Raises ``ConfigError`` if the folder cannot be written, or others could."""
        private_folder(self._path.parent)
        try:
            self._path.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._accept, sock=_bound(self._path), limit=LINE_BYTES)
        except OSError as error:
            why = error.strerror or error
            raise ConfigError(f"cannot listen on {self._path}: {why}; choose another --home") from error

    async def close(self) -> None:
        """End all connections and remove the socket file."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        if self._connections:
            await asyncio.wait(tuple(self._connections), timeout=1.0)
        self._path.unlink(missing_ok=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            await self._serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            return  # the user's program went away; nothing is owed to it
        except asyncio.CancelledError:
            return  # the node is leaving
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await self._request(reader, writer)
        if request is None:
            return
        command = str(request.get("command", ""))
        try:
            if command == "feed":
                await self._commands.feed(request, reader, writer)
            elif (answer := await self._commands.answer(command, request)) is not None:
                _write(writer, answer)
                await writer.drain()
            elif (period := self._commands.period(command, request)) is not None:
                await self._repeat(*period, reader, writer)
            else:
                await self._stream(command, request, reader, writer)
        except UserError as error:
            _write(writer, _error(error))
            await writer.drain()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> dict[str, Any] | None:
        try:
            line = await reader.readline()
            request = json.loads(line) if line else None
        except (ValueError, RecursionError):
            request = ()
        if request is None or isinstance(request, dict):
            return request
        _write(writer, _error(ConfigError('a request is one line of JSON: {"command": "status"}')))
        return None

    async def _repeat(
        self, seconds: float, make: Callable[[], Answer], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        gone = asyncio.ensure_future(reader.read(1))
        try:
            while not gone.done():
                _write(writer, make())
                await writer.drain()
                await asyncio.wait({gone}, timeout=seconds)
        finally:
            gone.cancel()

    async def _stream(
        self, command: str, request: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        outbox = _Outbox()
        stop = self._commands.subscribe(command, request, outbox.put, outbox.end)
        if stop is None:
            raise ConfigError(f"this node knows no command {command!r}; is it of the same version as this program?")
        outbox.limit(MOST_WAITING, stop)
        gone = asyncio.ensure_future(reader.read(1))
        gone.add_done_callback(lambda _task: outbox.end())
        try:
            while (item := await outbox.next()) is not None:
                _write(writer, item)
                await writer.drain()
        finally:
            gone.cancel()
            outbox.close()


class _Outbox:
    """What a stream still has to write. Whoever does not read fast enough is told so and hears no more."""

    def __init__(self) -> None:
        self._waiting: deque[Answer | None] = deque()
        self._news = asyncio.Event()
        self._most = math.inf
        self._stop: Callable[[], None] | None = None

    def put(self, answer: Answer) -> None:
        if len(self._waiting) >= self._most:
            self._waiting.clear()
            self._waiting.append(_error(UserError("this program read too slowly to follow; ask again")))
            self.end()
            self.close()
        else:
            self._waiting.append(answer)
            self._news.set()

    def end(self) -> None:
        self._waiting.append(None)
        self._news.set()

    def limit(self, more: int, stop: Callable[[], None]) -> None:
        """Let at most ``more`` wait than do now; ``stop`` is called once, when the stream is over."""
        self._most, self._stop = len(self._waiting) + more, stop

    def close(self) -> None:
        stop, self._stop = self._stop, None
        if stop is not None:
            stop()

    async def next(self) -> Answer | None:
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        return self._waiting.popleft()


def _bound(path: Path) -> socket.socket:
    """A socket that nobody else can open, not even between its birth and a later change of its mode."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with suppress(OSError):  # Linux makes the file with the mode of the socket; macOS wants to have it changed
            os.fchmod(made.fileno(), MODE)
        made.bind(str(path))
        path.chmod(MODE)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _write(writer: asyncio.StreamWriter, answer: Answer) -> None:
    with suppress(RuntimeError):  # the transport is closed already
        writer.write(json.dumps(answer, ensure_ascii=False).encode() + b"\n")


def _error(error: UserError) -> Answer:
    return {"error": str(error), "status": error.exit_status}
