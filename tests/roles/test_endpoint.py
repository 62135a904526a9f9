"""The endpoint: right answers to a good question, none to a bad one, and no harm from whoever does not play along."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus

import pytest

from edged.errors import ConfigError
from edged.roles import endpoint as module
from edged.roles.endpoint import HEAD_BYTES, MOST_CONNECTIONS, Endpoint, Page

LONG = "x" * 2**24
PATIENCE_SECONDS = 60.0


@pytest.fixture
async def endpoint(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Endpoint]:
    monkeypatch.setattr(module, "EXCHANGE_SECONDS", PATIENCE_SECONDS)
    pages = {
        "/metrics": lambda: Page("a 1\n", content_type="text/plain; version=0.0.4"),
        "/readyz": lambda: Page("not ready: ünmeasured\n", HTTPStatus.SERVICE_UNAVAILABLE),
        "/long": lambda: Page(LONG),
    }
    made = Endpoint(("127.0.0.1", 0), pages)
    await made.open()
    yield made
    await made.close()


def address(endpoint: Endpoint) -> tuple[str, int]:
    host, port = endpoint.url.removeprefix("http://").split(":")
    return host, int(port)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(6000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it did not happen in time")


async def said(endpoint: Endpoint, data: bytes, *, eof: bool = False) -> bytes:
    """All that is answered to these bytes, until the connection ends."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        reader, writer = await asyncio.open_connection(*address(endpoint))
        try:
            writer.write(data)
            if eof:
                writer.write_eof()
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


async def get(endpoint: Endpoint, target: str, method: str = "GET") -> tuple[int, dict[str, str], str]:
    answer = await said(endpoint, f"{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = answer.decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    return int(first.split()[1]), dict(line.split(": ", 1) for line in lines), body


async def test_a_page_is_answered_and_the_connection_closed(endpoint: Endpoint) -> None:
    status, head, body = await get(endpoint, "/metrics?name=x")
    assert (status, body, head["Content-Type"]) == (200, "a 1\n", "text/plain; version=0.0.4")
    assert (head["Connection"], head["Content-Length"]) == ("close", "4")
    status, head, body = await get(endpoint, "/readyz")
    assert (status, body) == (503, "not ready: ünmeasured\n")
    assert int(head["Content-Length"]) == len(body.encode())
    status, _, body = await get(endpoint, "/long")
    assert (status, len(body)) == (200, len(LONG))


async def test_head_is_answered_without_a_body(endpoint: Endpoint) -> None:
    status, head, body = await get(endpoint, "/metrics", "HEAD")
    assert (status, head["Content-Length"], body) == (200, "4", "")


async def test_what_is_not_there_names_what_is(endpoint: Endpoint) -> None:
    for target in ("/", "/../secret", "/metrics/", "//metrics"):
        status, _, body = await get(endpoint, target)
        assert (status, body) == (404, "there are /metrics, /readyz, /long\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
async def test_nothing_can_be_told(endpoint: Endpoint, method: str) -> None:
    status, head, _ = await get(endpoint, "/metrics", method)
    assert (status, head["Allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"hello",
        b"GET /metrics",
        b"GET /metrics HTTP/2",
        b"GET http://x/ HTTP/1.1",
        b"get /metrics HTTP/1.1",
        b"GET /\xff HTTP/1.1",
        b"\x16\x03\x01\x00\xa5",
    ],
)
async def test_what_is_no_request_is_refused(endpoint: Endpoint, request_bytes: bytes) -> None:
    assert (await said(endpoint, request_bytes + b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")


async def test_a_head_that_does_not_end_is_refused(endpoint: Endpoint) -> None:
    answer = await said(endpoint, b"GET /metrics HTTP/1.1\r\nX: " + b"x" * (4 * HEAD_BYTES))
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_half_a_request_gets_no_answer(endpoint: Endpoint) -> None:
    assert await said(endpoint, b"GET /met", eof=True) == b""
    assert await said(endpoint, b"", eof=True) == b""


async def test_a_body_that_nobody_asked_for_does_not_harm(endpoint: Endpoint) -> None:
    assert (await said(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n" + b"x" * 1000)).endswith(b"\r\n\r\na 1\n")
    await said(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n" + b"x" * 2**22)
    assert (await get(endpoint, "/metrics"))[0] == 200


async def test_who_says_nothing_is_cut_off_and_others_are_served_meanwhile(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "EXCHANGE_SECONDS", 0.5)
    silent = asyncio.ensure_future(said(endpoint, b"GET /metrics HTTP/1.1\r\n"))
    await until(lambda: bool(endpoint._exchanges))
    monkeypatch.setattr(module, "EXCHANGE_SECONDS", PATIENCE_SECONDS)
    assert (await get(endpoint, "/metrics"))[0] == 200
    assert await silent == b""


async def test_who_does_not_read_is_cut_off(endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXCHANGE_SECONDS", 0.5)
    loop = asyncio.get_running_loop()
    with socket.socket() as slow:
        slow.setblocking(False)
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await loop.sock_connect(slow, address(endpoint))
        await loop.sock_sendall(slow, b"GET /long HTTP/1.1\r\n\r\n")
        await until(lambda: bool(endpoint._exchanges))
        await until(lambda: not endpoint._exchanges)


async def test_too_many_at_once_are_turned_away_until_the_others_are_gone(endpoint: Endpoint) -> None:
    crowd = [await asyncio.open_connection(*address(endpoint)) for _ in range(MOST_CONNECTIONS)]
    await until(lambda: len(endpoint._exchanges) == MOST_CONNECTIONS)
    assert await said(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n") == b""
    assert len(endpoint._exchanges) == MOST_CONNECTIONS
    for _, writer in crowd:
        writer.transport.abort()
    await until(lambda: not endpoint._exchanges)
    assert (await get(endpoint, "/metrics"))[0] == 200


async def test_the_loop_goes_round_while_hundreds_connect_and_go(endpoint: Endpoint) -> None:
    answers = await asyncio.gather(*[said(endpoint, b"GET /metrics HTTP/1.1\r\n\r\n") for _ in range(200)])
    assert {answer[:12] for answer in answers} <= {b"", b"HTTP/1.1 200"}
    await until(lambda: not endpoint._exchanges)
    assert (await get(endpoint, "/metrics"))[0] == 200


async def test_closing_ends_what_is_under_way() -> None:
    made = Endpoint(("127.0.0.1", 0), {"/": lambda: Page("")})
    await made.open()
    place = address(made)
    waiting = asyncio.ensure_future(said(made, b"GET"))
    await until(lambda: bool(made._exchanges))
    await made.close()
    assert await waiting == b""
    with pytest.raises(OSError, match=r"."):
        await asyncio.open_connection(*place)


async def test_an_address_that_cannot_be_had_is_told(endpoint: Endpoint) -> None:
    taken = address(endpoint)
    with pytest.raises(ConfigError, match=rf"--metrics-port: cannot listen on 127.0.0.1 port {taken[1]}: address "
                                          r"already in use; choose another port"):  # fmt: skip
        await Endpoint(taken, {}).open()
    with pytest.raises(ConfigError, match=r"cannot listen on nowhere.invalid port 80"):
        await Endpoint(("nowhere.invalid", 80), {}).open()


async def test_ipv6_is_written_as_urls_have_it() -> None:
    made = Endpoint(("::1", 0), {})
    try:
        await made.open()
    except ConfigError:
        pytest.skip("this machine has no IPv6 loopback")
    assert made.url.startswith("http://[::1]:")
    await made.close()
