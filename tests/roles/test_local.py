"""The local socket, as a program of the same user meets it."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from edged.errors import ConfigError, NoNodeError
from edged.roles import local
from edged.roles.local import LocalServer


class Echo:
    """A few commands."""

    def __init__(self) -> None:
        self.stopped = 0
        self.send = None

    async def answer(self, command, request):
        if command == "fail":
            raise NoNodeError("do this instead")
        return {"seen": request} if command == "one" else None

    def period(self, command, request):
        return (0.01, lambda: {"tick": 1}) if command == "watch" else None

    def subscribe(self, command, request, send, end):
        self.send = send
        if command != "stream":
            return None
        for number in range(3):
            send({"number": number})
        if not request.get("follow"):
            end()

        def stop() -> None:
            self.stopped += 1

        return stop

    async def feed(self, request, reader, writer):
        writer.write(await reader.readexactly(4))


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[tuple[Path, Echo]]:
    commands = Echo()
    server = LocalServer(tmp_path / "node.sock", commands)
    await server.open()
    yield tmp_path / "node.sock", commands
    await server.close()
    assert not (tmp_path / "node.sock").exists()


async def ask(path: Path, line: bytes, count: int | None = None) -> list[dict]:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(line + b"\n")
    answers = []
    async with asyncio.timeout(60):
        while count is None or len(answers) < count:
            answer = await reader.readline()
            if not answer:
                break
            answers.append(json.loads(answer))
    writer.close()
    await writer.wait_closed()
    return answers


async def test_a_question_gets_exactly_one_answer(server) -> None:
    path, _ = server
    assert await ask(path, b'{"command": "one", "x": 1}') == [{"seen": {"command": "one", "x": 1}}]


async def test_only_its_user_can_open_it(server) -> None:
    path, _ = server
    assert path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("mask", [0, 0o022, 0o077])
async def test_it_is_never_open_to_others_not_even_while_it_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mask: int
) -> None:
    """Whoever may connect between the birth of a socket and a change of its mode stays connected."""
    born: list[int] = []
    real = Path.chmod

    def chmod(path: Path, mode: int) -> None:
        born.append(path.lstat().st_mode & 0o777)
        real(path, mode)

    monkeypatch.setattr(Path, "chmod", chmod)
    before = os.umask(mask)
    try:
        server = LocalServer(tmp_path / "node.sock", Echo())
        await server.open()
    finally:
        os.umask(before)
    assert (tmp_path / "node.sock").lstat().st_mode & 0o777 == 0o600
    if sys.platform == "linux":
        assert born == [0o600]
    await server.close()


async def test_a_folder_that_everybody_may_write_into_is_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    with pytest.raises(ConfigError, match="others may write into it"):
        await LocalServer(tmp_path / "shared" / "node.sock", Echo()).open()


async def test_a_link_in_its_place_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "node.sock").symlink_to(tmp_path / "victim")
    server = LocalServer(tmp_path / "node.sock", Echo())
    await server.open()
    assert len(await ask(tmp_path / "node.sock", b'{"command": "one"}')) == 1
    await server.close()
    assert (tmp_path / "victim").read_text() == "precious"


async def test_errors_carry_what_to_do_and_the_exit_status(server) -> None:
    path, _ = server
    assert await ask(path, b'{"command": "fail"}') == [{"error": "do this instead", "status": 3}]


@pytest.mark.parametrize("line", [b"", b"nonsense", b"[1]", b'"text"', b"\xff\xfe", b"[" * 100_000])
async def test_what_is_no_request_is_told_so(server, line: bytes) -> None:
    path, _ = server
    (answer,) = await ask(path, line)
    assert "one line of JSON" in answer["error"]


async def test_an_unknown_command_hints_at_versions(server) -> None:
    path, _ = server
    (answer,) = await ask(path, b'{"command": "dance"}')
    assert "'dance'" in answer["error"]
    assert answer["status"] == ConfigError.exit_status


async def test_a_stream_ends_when_it_is_over(server) -> None:
    path, commands = server
    assert await ask(path, b'{"command": "stream"}') == [{"number": number} for number in range(3)]
    assert commands.stopped == 1


async def test_a_stream_is_stopped_when_its_reader_goes(server) -> None:
    path, commands = server
    assert len(await ask(path, b'{"command": "stream", "follow": true}', count=3)) == 3
    for _ in range(12_000):
        if commands.stopped:
            return
        await asyncio.sleep(0.005)
    raise AssertionError("the stream was not stopped")


async def test_watching_repeats_until_the_reader_goes(server) -> None:
    path, _ = server
    assert await ask(path, b'{"command": "watch"}', count=4) == [{"tick": 1}] * 4


async def test_a_feeder_takes_the_connection_over(server) -> None:
    path, _ = server
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"command": "feed"}\nabcd')
    assert await reader.read() == b"abcd"
    writer.close()


async def test_the_socket_of_a_dead_node_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "node.sock"
    path.write_text("left over")
    server = LocalServer(path, Echo())
    await server.open()
    assert len(await ask(path, b'{"command": "one"}')) == 1
    await server.close()


async def test_closing_ends_streams_that_are_open(tmp_path: Path) -> None:
    server = LocalServer(tmp_path / "node.sock", Echo())
    await server.open()
    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "node.sock"))
    writer.write(b'{"command": "stream", "follow": true}\n')
    await reader.readline()
    await server.close()
    async with asyncio.timeout(60):
        await reader.read()
    writer.close()


async def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--home"):
        await LocalServer(tmp_path / "file" / "node.sock", Echo()).open()


async def test_a_reader_that_does_not_read_is_cut_off_with_a_word(server, monkeypatch: pytest.MonkeyPatch) -> None:
    path, commands = server
    monkeypatch.setattr(local, "MOST_WAITING", 20)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b'{"command": "stream", "follow": true}\n')
    for _ in range(3):
        await reader.readline()
    for number in range(100):  # within one turn of the loop: nobody can write them meanwhile
        if not commands.stopped:
            commands.send({"number": number})
    assert commands.stopped == 1
    async with asyncio.timeout(60):
        rest = [json.loads(line) for line in (await reader.read()).splitlines()]
    assert "too slowly" in rest[-1]["error"]
    assert len(rest) <= 20
    writer.close()
