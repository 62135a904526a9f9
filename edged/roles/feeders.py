"""The frames in which feeders, the processes that draw samples, hand them over.

::

    node -> feeder    length | {"draw": [version, phase, micro_batch]}
                      length | {"copy": [phase, first_row]}
    feeder -> node    length | {"work": [version, phase, micro_batch], "tensors": [...]} | buffers
                      length | {"rows": [phase, first_row, rows], "tensors": [...], "layouts": [...]} | buffers
                      length | {"uncopied": why}
                      length | {"changed": in what the data is not that which was submitted, "detail": traceback}
                      length | {"error": last line, "detail": traceback}

``length`` is four bytes, big-endian; a tensor is ``{name, dtype, shape, strides, size_bytes}``. A feeder is a child of
the node (``python -m edged.feeder``), or any process of the user that trains from Python. It runs the user's code, so
nothing in it can hurt the node: what it sends is checked, and its end is a fact like any other.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edged.core.job import Phase, Work
from edged.core.messages import TensorSpec
from edged.errors import UNREADABLE, MalformedError, brief
from edged.transport.buffers import aligned

HEADER_BYTES = 2**20
SAMPLE_BYTES = 2**32
PIECE_BYTES = 2**18
DRAW_SECONDS = 0.002
"""How long draws are gathered: a feeder that wakes up first would take the core that the next computation needs."""


@dataclass(frozen=True, slots=True)
class SomeRows:
    """Rows ``first_row`` and following of a data set; see ``DataParcel``."""

    phase: Phase
    first_row: int
    rows: int
    tensors: tuple[TensorSpec, ...]
    buffers: tuple[memoryview, ...]
    layouts: tuple[TensorSpec, ...]


Sample = tuple[tuple[TensorSpec, ...], tuple[memoryview, ...]]


class FeederLink:
    """One connection of a feeder. ``serve`` runs until it closes; what arrives goes to the callbacks."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        on_sample: Callable[[Work, Sample], None],
        on_error: Callable[[str, str], None],
        on_rows: Callable[[SomeRows | str], None],
        on_changed: Callable[[str, str], None],
    ) -> None:
        """``on_error`` gets the last line and the whole traceback of what the user's code raised.

        ``on_rows`` gets rows for a copy of the samples, or why there can be none. ``on_changed`` gets why nothing will
        be drawn, and what was raised meanwhile: the data is not that which was submitted.
        """
        self._reader = reader
        self._writer = writer
        self._on_sample = on_sample
        self._on_error = on_error
        self._on_rows = on_rows
        self._on_changed = on_changed
        self._asked = bytearray()

    def draw(self, work: Work) -> None:
        """Ask for one micro-batch."""
        self._say({"draw": [work.version, int(work.phase), work.micro_batch]})

    def copy(self, phase: Phase, first_row: int) -> None:
        """Ask for rows from this one on, when there is nothing better to do."""
        self._say({"copy": [int(phase), first_row]})

    def _say(self, request: dict[str, Any]) -> None:
        frame = json.dumps(request).encode()
        if not self._asked:
            asyncio.get_running_loop().call_later(DRAW_SECONDS, self._ask)
        self._asked += len(frame).to_bytes(4, "big") + frame

    def _ask(self) -> None:
        if not self._writer.is_closing():
            self._writer.write(bytes(self._asked))
        self._asked.clear()

    def close(self) -> None:
        """End the connection; a feeder exits when it sees that."""
        self._writer.close()

    async def serve(self) -> str:
        """Read frames until the feeder goes; returns why, empty for an ordinary end."""
        try:
            while True:
                await self._frame()
        except (asyncio.IncompleteReadError, ConnectionError):
            return ""
        except MalformedError as error:
            return f"it sent what is no frame: {error}"
        finally:
            self._writer.close()

    async def _frame(self) -> None:
        size = int.from_bytes(await self._reader.readexactly(4), "big")
        if size > HEADER_BYTES:
            raise MalformedError(f"a header of {size} bytes")
        document = _parse(await self._reader.readexactly(size))
        if "error" in document:
            self._on_error(str(document["error"]), str(document.get("detail", "")))
            return
        if "changed" in document:
            self._on_changed(str(document["changed"]), str(document.get("detail", "")))
            return
        if "uncopied" in document:
            self._on_rows(str(document["uncopied"]))
            return
        place, specs = _header(document)
        sample = specs, tuple([await self._buffer(spec.size_bytes) for spec in specs])
        if isinstance(place, Work):
            self._on_sample(place, sample)
        else:
            self._on_rows(SomeRows(*place, *sample, _layouts(document)))

    async def _buffer(self, size: int) -> memoryview:
        buffer = aligned(size)
        filled = 0
        while filled < size:
            piece = await self._reader.read(min(PIECE_BYTES, size - filled))
            if not piece:
                raise asyncio.IncompleteReadError(b"", size - filled)
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
        return buffer


def _parse(data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except UNREADABLE as error:
        raise MalformedError(f"a header that is no JSON ({brief(error)})") from error
    if not isinstance(document, dict):
        raise MalformedError("a header that is no object")
    return document


def _header(document: dict[str, Any]) -> tuple[Work | tuple[Phase, int, int], tuple[TensorSpec, ...]]:
    """A micro-batch, or the phase, first row and number of rows; and the tensors."""
    place: Work | tuple[Phase, int, int]
    try:
        if "rows" in document:
            phase, first_row, rows = (int(number) for number in document["rows"])
            place = Phase(phase), first_row, rows
        else:
            version, phase, micro_batch = (int(number) for number in document["work"])
            place = Work(version, Phase(phase), micro_batch)
        specs = tuple(_spec(tensor) for tensor in document["tensors"])
    except UNREADABLE as error:
        raise MalformedError(f"a header that lacks something ({brief(error)})") from error
    if sum(spec.size_bytes for spec in specs) > SAMPLE_BYTES:
        raise MalformedError(f"a micro-batch above {SAMPLE_BYTES} bytes")
    return place, specs


def _layouts(document: dict[str, Any]) -> tuple[TensorSpec, ...]:
    try:
        return tuple(_spec(tensor) for tensor in document["layouts"])
    except UNREADABLE as error:
        raise MalformedError(f"a header that lacks something ({brief(error)})") from error


def _spec(tensor: dict[str, Any]) -> TensorSpec:
    return TensorSpec(
        str(tensor["name"]),
        str(tensor["dtype"]),
        _sizes(tensor["shape"]),
        _sizes(tensor["strides"]),
        *_sizes([tensor["size_bytes"], tensor.get("offset", 0)]),
    )


def _sizes(numbers: Sequence[Any]) -> tuple[int, ...]:
    sizes = tuple(int(number) for number in numbers)
    if any(size < 0 for size in sizes):
        raise ValueError(f"a negative size in {sizes}")
    return sizes
