"""Frames between a node and its feeder."""

import asyncio
import json
import socket
from pathlib import Path

import psutil
import pytest

from edged.core.ids import JobId
from edged.core.job import Phase, Work
from edged.core.messages import TensorSpec
from edged.roles.feeder_processes import FeederProcess, FeederProcesses
from edged.roles.feeders import FeederLink
from edged.roles.spool import Feeder
from edged.transport.buffers import ALIGNMENT

WORK = Work(3, Phase.TRAIN, 1)


def frame(document: object, *buffers: bytes) -> bytes:
    data = json.dumps(document).encode()
    return len(data).to_bytes(4, "big") + data + b"".join(buffers)


def tensor(name: str, size: int) -> dict:
    return {"name": name, "dtype": "uint8", "shape": [size], "strides": [1], "size_bytes": size}


class Line:
    """A link and the feeder's end of it."""

    async def open(self) -> "Line":
        near, far = socket.socketpair()
        reader, writer = await asyncio.open_connection(sock=near)
        self.reader, self.writer = await asyncio.open_connection(sock=far)
        self.samples: list = []
        self.errors: list = []
        self.rows: list = []
        self.changed: list = []
        self.link = FeederLink(
            reader,
            writer,
            lambda work, sample: self.samples.append((work, sample)),
            lambda *error: self.errors.append(error),
            self.rows.append,
            lambda *changed: self.changed.append(changed),
        )
        self.serving = asyncio.ensure_future(self.link.serve())
        return self

    async def close(self) -> str:
        self.writer.close()
        async with asyncio.timeout(60):
            return await self.serving


async def test_rows_are_asked_for_and_come_with_their_layouts_or_a_reason() -> None:
    line = await Line().open()
    line.link.copy(Phase.TRAIN, 7)
    size = int.from_bytes(await line.reader.readexactly(4), "big")
    assert json.loads(await line.reader.readexactly(size)) == {"copy": [1, 7]}
    rows = {"rows": [1, 7, 3], "tensors": [tensor("x", 3)], "layouts": [tensor("x", 2)]}
    line.writer.write(frame(rows, b"abc") + frame({"uncopied": "sample 2 differs"}))
    assert await line.close() == ""
    some, why = line.rows
    assert (some.phase, some.first_row, some.rows) == (Phase.TRAIN, 7, 3)
    assert [bytes(buffer) for buffer in some.buffers] == [b"abc"]
    assert some.layouts == (TensorSpec("x", "uint8", (2,), (1,), 2),)
    assert why == "sample 2 differs"
    assert not line.samples


async def test_rows_without_layouts_end_the_connection() -> None:
    line = await Line().open()
    line.writer.write(frame({"rows": [1, 7, 3], "tensors": []}))
    assert "layouts" in await line.close()


async def test_a_draw_is_asked_and_answered_in_aligned_memory() -> None:
    import ctypes

    line = await Line().open()
    line.link.draw(WORK)
    size = int.from_bytes(await line.reader.readexactly(4), "big")
    assert json.loads(await line.reader.readexactly(size)) == {"draw": [3, 1, 1]}
    large = bytes(range(256)) * 5000
    line.writer.write(frame({"work": [3, 1, 1], "tensors": [tensor("x", len(large)), tensor("y", 0)]}, large))
    assert await line.close() == ""
    ((work, (specs, buffers)),) = line.samples
    assert work == WORK
    assert specs[0] == TensorSpec("x", "uint8", (len(large),), (1,), len(large))
    assert (bytes(buffers[0]), bytes(buffers[1])) == (large, b"")
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffers[0])) % ALIGNMENT == 0


async def test_an_error_comes_with_its_traceback() -> None:
    line = await Line().open()
    line.writer.write(frame({"error": "ValueError: no", "detail": "Traceback ..."}))
    await line.close()
    assert line.errors == [("ValueError: no", "Traceback ...")]


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"work": [1, 1], "tensors": []}, "lacks something"),
        ({"work": [1, 9, 1], "tensors": []}, "lacks something"),
        ({"work": [1, 1, 1]}, "lacks something"),
        ({"work": [1, 1, 1], "tensors": [{"name": "x"}]}, "lacks something"),
        ({"work": [1, 1, 1], "tensors": [tensor("x", -1)]}, "lacks something"),
        ({"work": [1, 1, 1], "tensors": [tensor("x", 2**33)]}, "above"),
        ([1], "no object"),
    ],
)
async def test_nonsense_ends_the_connection_before_memory_is_taken(document: object, why: str) -> None:
    line = await Line().open()
    line.writer.write(frame(document))
    assert why in await line.close()
    assert line.samples == []


async def test_an_endless_header_is_refused() -> None:
    line = await Line().open()
    line.writer.write(b"\x7f\xff\xff\xff")
    assert "a header of" in await line.close()


async def test_a_feeder_that_goes_in_the_middle_is_an_ordinary_end() -> None:
    line = await Line().open()
    line.writer.write(frame({"work": [3, 1, 1], "tensors": [tensor("x", 100)]}, b"only this"))
    assert await line.close() == ""
    assert line.samples == []
    line.link.draw(WORK)


async def test_the_last_words_of_a_process_are_kept(tmp_path: Path) -> None:
    process = await FeederProcess.start(
        JobId("aa"), Feeder("/x.py", "job", (), "/"), tmp_path, tmp_path / "none", "edged.no_such"
    )
    async with asyncio.timeout(60):
        assert "edged.no_such" in await process.wait()
    assert "edged.no_such" in process.output()
    await process.stop()


async def test_a_start_that_is_given_up_leaves_no_process_behind(tmp_path: Path) -> None:
    before = set(psutil.Process().children())
    processes = FeederProcesses(tmp_path / "none")
    starting = asyncio.create_task(processes.start(JobId("aa"), Feeder("/x.py", "job", (), "/"), tmp_path))
    await asyncio.sleep(0)
    starting.cancel()
    assert isinstance((await asyncio.gather(starting, return_exceptions=True))[0], asyncio.CancelledError)
    await processes.close()
    assert set(psutil.Process().children()) <= before  # one of an earlier test may have ended meanwhile


async def test_whoever_waits_for_a_process_may_give_up(tmp_path: Path) -> None:
    processes = FeederProcesses(tmp_path / "none")
    process = await processes.start(JobId("aa"), Feeder("/x.py", "job", (), "/"), tmp_path)
    first = asyncio.create_task(process.wait())
    second = asyncio.create_task(process.wait())
    await asyncio.sleep(0)
    first.cancel()
    await processes.close()
    async with asyncio.timeout(60):
        assert "killed by signal 9" in await second
    assert first.cancelled()


@pytest.mark.parametrize(
    "header",
    [
        b"[" * 100_000,
        b'{"work": [Infinity, 1, 0], "tensors": []}',
        b'{"rows": [1, NaN, 2], "tensors": [], "layouts": []}',
        b'{"work": [1, 1, 0], "tensors": [{"name": "x", "dtype": "x", "shape": [Infinity]}]}',
        b'{"work": [1, 1, 0], "tensors": 5}',
        b'{"rows": [1, 0, 2], "tensors": [], "layouts": [[]]}',
        b'{"rows": [' + b"9" * 4000 + b', 0, 2], "tensors": [], "layouts": []}',
    ],
)
async def test_a_header_of_any_content_ends_the_connection_and_nothing_else(header: bytes) -> None:
    line = await Line().open()
    line.writer.write(len(header).to_bytes(4, "big") + header)
    told = await line.close()
    assert told.startswith("it sent what is no frame")
    assert len(told) < 500
