"""A parcel as messages, and messages as a parcel; no sockets here.

A parcel is a header and a stream: its buffers one after the other. Every message on a bulk socket begins with a prefix
frame::

    kind u8 | parcel number u64 | offset in the stream u64      (big-endian)

    OPEN   prefix, header, data...     data only where the whole stream is at most 1 MiB: then it is all of it
    PIECE  prefix, data...             the stream's next bytes, at most 1 MiB, in at most 64 frames
    DROP   prefix                      the parcel under way will not be finished
    ACK    prefix                      back to the sender: "number" is the bytes taken from this connection in all

Pieces of one parcel follow each other without gaps, and parcels do not mix. Data frames may cut the stream anywhere.

There is no checksum in the prefix: CURVE authenticates every frame (Poly1305, 128 bits), and libzmq ends a connection
on which one does not verify. A CRC on top cost a fifth of the throughput and could only find errors in the sender's or
receiver's own memory; those are the business of the digest that a snapshot carries.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from edged.core.messages import Parcel, ProgramParcel
from edged.errors import BrokenInvariantError, MalformedError
from edged.transport.buffers import Rooms
from edged.transport.codec import decode, encode
from edged.transport.kinds import FRAME_BYTES, PARCEL_BYTES

PIECE_BYTES = 1 << 20
SMALL_BYTES = PIECE_BYTES
"""A stream of at most this many bytes travels with its header."""

MOST_FRAMES = 64
BULK_FRAME_BYTES = FRAME_BYTES + 4096
"""Most bytes of any frame on a bulk socket, encryption included."""

OPEN, PIECE, DROP, ACK = 1, 2, 3, 4
PREFIX = struct.Struct(">BQQ")

View = bytes | memoryview


class Prefix(NamedTuple):
    """The first frame of a bulk message."""

    kind: int
    number: int
    offset: int = 0

    def pack(self) -> bytes:
        """The frame."""
        return PREFIX.pack(*self)


def parse_prefix(frame: View) -> Prefix:
    """Read a first frame. Raises ``MalformedError``."""
    if len(frame) != PREFIX.size:
        raise MalformedError("a bulk message without its prefix")
    return Prefix(*PREFIX.unpack(frame))


def sizes_of(header: Parcel) -> tuple[int, ...]:
    """Bytes of each buffer that a header announces, in order."""
    if isinstance(header, ProgramParcel):
        return (header.size_bytes,)
    return tuple(spec.size_bytes for spec in header.tensors)


class Prepared(NamedTuple):
    """A parcel that is fit to be sent: its header, the same as bytes, and its buffers as bytes."""

    header: Parcel
    encoded: bytes
    views: tuple[memoryview, ...]
    size: int


def prepare(header: Parcel, buffers: Sequence[memoryview]) -> Prepared:
    """Check a parcel. Nothing is copied.

    Raises ``BrokenInvariantError`` if the buffers are not what the header says, or no peer would accept the header.
    """
    views = tuple(view.cast("B") if view.nbytes else memoryview(b"") for view in buffers)
    if tuple(len(view) for view in views) != sizes_of(header):
        raise BrokenInvariantError("the buffers do not have the sizes that the header names")
    return Prepared(header, encode(header), tuple(view for view in views if len(view)), sum(map(len, views)))


def cut(number: int, parcel: Prepared) -> Iterator[list[View]]:
    """The messages of one parcel, in order. Data frames are views of its buffers: nothing is copied."""
    return _messages(number, parcel.encoded, parcel.views)


def _messages(number: int, header: bytes, views: Sequence[memoryview]) -> Iterator[list[View]]:
    if sum(map(len, views)) <= SMALL_BYTES and len(views) <= MOST_FRAMES:
        yield [Prefix(OPEN, number).pack(), header, *views]
        return
    yield [Prefix(OPEN, number).pack(), header]
    offset = 0
    for data in _pieces(views):
        yield [Prefix(PIECE, number, offset).pack(), *data]
        offset += sum(map(len, data))


def _pieces(views: Sequence[memoryview]) -> Iterator[list[View]]:
    piece: list[View] = []
    room = PIECE_BYTES
    for view in views:
        position = 0
        while position < len(view):
            taken = view[position : position + room]
            piece.append(taken)
            position += len(taken)
            room -= len(taken)
            if room == 0 or len(piece) == MOST_FRAMES:
                yield piece
                piece, room = [], PIECE_BYTES
    if piece:
        yield piece


class Assembly:
    """The receiver's side of one connection: takes messages in order, gives back complete parcels.

    ``accept`` is asked before any memory is taken. A parcel that it refuses, or that breaks, is passed over quietly
    until its last piece; what cannot come from an honest sender raises ``MalformedError`` each time.
    """

    def __init__(self, accept: Callable[[Parcel], bool], rooms: Rooms) -> None:
        """Nothing is under way. Memory comes from ``rooms``."""
        self._accept = accept
        self._rooms = rooms
        self._number = 0
        self._header: Parcel | None = None
        self._buffers: tuple[memoryview, ...] = ()
        self._position = 0
        self._index = 0
        self._filled = 0
        self.total = 0
        self.refused = 0

    @property
    def under_way(self) -> bool:
        """Whether a parcel has been accepted whose end is still to come."""
        return self._header is not None

    def take(self, frames: Sequence[View]) -> tuple[Parcel, tuple[memoryview, ...]] | None:
        """One message: ``(header, buffers)`` if it completes a parcel. Raises ``MalformedError``."""
        prefix = parse_prefix(frames[0] if frames else b"")
        if prefix.kind == OPEN:
            return self._open(prefix, frames[1:])
        if prefix.kind == PIECE:
            return self._piece(prefix, frames[1:])
        if prefix.kind == DROP:
            self._forget()
            return None
        raise MalformedError("unknown kind of bulk message")

    def _open(self, prefix: Prefix, rest: Sequence[View]) -> tuple[Parcel, tuple[memoryview, ...]] | None:
        unfinished = self._header is not None
        self._forget()
        if prefix.number <= self._number or not rest:
            raise MalformedError("a parcel's number does not grow, or it has no header")
        self._number = prefix.number
        if unfinished:
            raise MalformedError("a parcel began before the one before it had ended")
        header = decode(rest[0])
        if not isinstance(header, Parcel):
            raise MalformedError("a control message on a bulk socket")
        sizes = sizes_of(header)
        total = sum(sizes)
        if total > PARCEL_BYTES:
            raise MalformedError("a parcel beyond all bounds")
        small = len(rest) > 1 or total == 0
        if small and (total > SMALL_BYTES or sum(map(len, rest[1:])) != total):
            raise MalformedError("a small parcel whose data is not what its header says")
        if not self._accept(header):
            self.refused += 1
            return None
        self._header, self.total = header, total
        self._buffers = tuple(map(self._rooms.aligned, sizes))
        return self._fill(prefix, rest[1:]) if small else None

    def _piece(self, prefix: Prefix, data: Sequence[View]) -> tuple[Parcel, tuple[memoryview, ...]] | None:
        if prefix.number != self._number:
            self._forget()
            raise MalformedError("a piece of a parcel that was never opened")
        if self._header is None:
            return None
        return self._fill(prefix, data)

    def _fill(self, prefix: Prefix, data: Sequence[View]) -> tuple[Parcel, tuple[memoryview, ...]] | None:
        size = sum(map(len, data))
        gap = prefix.offset != self._position or self._position + size > self.total
        if gap or size > PIECE_BYTES or len(data) > MOST_FRAMES or (size == 0 and self.total):
            self._forget()
            raise MalformedError("a piece out of its place")
        for frame in data:
            self._write(memoryview(frame))
        self._position += size
        if self._position < self.total or self._header is None:
            return None
        done = self._header, self._buffers
        self._forget()
        return done

    def _write(self, data: memoryview) -> None:
        while len(data):
            buffer = self._buffers[self._index]
            room = min(len(buffer) - self._filled, len(data))
            buffer[self._filled : self._filled + room] = data[:room]
            self._filled += room
            data = data[room:]
            if self._filled == len(buffer):
                self._index += 1
                self._filled = 0

    def _forget(self) -> None:
        self._header = None
        self._buffers = ()
        self._position = self._index = self._filled = self.total = 0
