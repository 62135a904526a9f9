"""The endpoint: a few pages over HTTP for programs that watch a node. It answers questions, and nothing can be told.

One request a connection, ``GET`` or ``HEAD``, no body; the connection is closed after the answer. Nobody is trusted:
a head has few bytes, an exchange few seconds, and there are few exchanges at once; whoever comes on top is cut off.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from edged.errors import ConfigError

HEAD_BYTES = 8192
EXCHANGE_SECONDS = 5.0
MOST_CONNECTIONS = 16
MOST_READS = 8
"""After the answer; whoever sends more than that may lose it."""

_REQUEST = re.compile(rb"([A-Z]{1,20}) (/[!-~]*) HTTP/1\.[01]\r\n")
_END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Page:
    """An answer."""

    text: str
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = "text/plain; charset=utf-8"


class Endpoint:
    """Listens on one address and serves ``pages``: by path, what makes each."""

    def __init__(self, address: tuple[str, int], pages: Mapping[str, Callable[[], Page]]) -> None:
        """Nothing is bound yet. Port 0 takes any."""
        self._address = address
        self._pages = pages
        self._server: asyncio.Server | None = None
        self._exchanges: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens, once it is open."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def open(self) -> None:
        """Bind. Raises ``ConfigError`` if the address cannot be had."""
        host, port = self._address
        try:
            self._server = await asyncio.start_server(
                self._accept, host, port, limit=HEAD_BYTES, backlog=MOST_CONNECTIONS
            )
        except OSError as error:
            why = str(error.strerror)  # asyncio's is a sentence of its own
            if error.errno and not isinstance(error, socket.gaierror):
                why = os.strerror(error.errno)
            raise ConfigError(
                f"--metrics-port: cannot listen on {host} port {port}: {why.lower()}; choose another port, or 0 for any"
            ) from error

    async def close(self) -> None:
        """End all exchanges and stop listening."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._exchanges):
            task.cancel()
        await asyncio.gather(*self._exchanges, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            if len(self._exchanges) < MOST_CONNECTIONS:
                self._exchanges.add(task)
                async with asyncio.timeout(EXCHANGE_SECONDS):
                    await self._exchange(reader, writer)
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            return  # slow, gone, or half a request: nothing is owed to it
        except asyncio.CancelledError:
            return  # the node is leaving
        finally:
            self._exchanges.discard(task)
            writer.transport.abort()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = _REQUEST.match(await reader.readuntil(_END))
        except asyncio.LimitOverrunError:
            method, page = b"GET", _refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        else:
            method = request[1] if request else b"GET"
            page = self._page(method, request[2].decode()) if request else _refusal(HTTPStatus.BAD_REQUEST)
        writer.write(_answer(page, with_body=method != b"HEAD"))
        writer.write_eof()
        await writer.drain()
        for _ in range(MOST_READS):  # what is left unread would break the connection off, the answer included
            if not await reader.read(HEAD_BYTES):
                break
        writer.close()
        await writer.wait_closed()

    def _page(self, method: bytes, target: str) -> Page:
        if method not in {b"GET", b"HEAD"}:
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED)
        make = self._pages.get(target.partition("?")[0])
        if make is None:
            return Page(f"there are {', '.join(self._pages)}\n", HTTPStatus.NOT_FOUND)
        return make()


def _refusal(status: HTTPStatus) -> Page:
    return Page(f"{status.phrase}\n", status)


def _answer(page: Page, *, with_body: bool) -> bytes:
    body = page.text.encode(errors="replace")
    head = [
        f"HTTP/1.1 {page.status.value} {page.status.phrase}",
        f"Content-Type: {page.content_type}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if page.status is HTTPStatus.METHOD_NOT_ALLOWED:
        head.append("Allow: GET, HEAD")
    return "\r\n".join([*head, "", ""]).encode() + (body if with_body else b"")
