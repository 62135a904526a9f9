"""A parcel as messages, and messages as a parcel; no sockets here.

A parcel is a header and a stream: its buffers one after the other. Every message on a bulk socket begins with a prefix
frame::

    kind u8 | parcel number u64 | offset in the stream u64      (big-endian)

    OPEN   prefix, header, data...     data only where the whole stream is at most 1 MiB: then it is all of it
    PIECE  prefix, data...             the stream's next bytes, at most 1 MiB, in at most 64 frames
    DROP   prefix                      the parcel of this number will not be finished
    ACK    prefix                      back to the sender: "number" is the bytes taken from this connection in all

The offset in the OPEN of a connection's parcel 1 is the connection's number, which grows with each that the sender
begins; in every other it is 0.

Pieces of one parcel follow each other without gaps. There are two classes of parcels, and one of each may be under way:
between two pieces of a replica a whole activation passes. Data frames may cut the stream anywhere.

There is no checksum in the prefix: CURVE authenticates every frame (Poly1305, 128 bits), and libzmq ends a connection
on which one does not verify. A CRC on top cost a fifth of the throughput and could only find errors in the sender's or
receiver's own memory; those are the business of the digest that a snapshot carries.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from edged.core.messages import DataParcel, Parcel, ProgramParcel, SoundingParcel, StateParcel
from edged.errors import BrokenInvariantError, MalformedError
from edged.transport.codec import encode
from edged.transport.kinds import FRAME_BYTES

PIECE_BYTES = 1 << 20
"""Most bytes of a piece. A stream of at most so many may travel with its header."""

BACKGROUND_PIECE_BYTES = 256 << 10
"""Pieces of parcels that travel behind the others: what is being sent cannot be overtaken, so it is kept short."""

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


def is_background(header: Parcel) -> bool:
    """The class of a parcel: whether it travels behind all others, because no computation waits for it."""
    return isinstance(header, DataParcel) or (isinstance(header, StateParcel) and header.replica)


def sizes_of(header: Parcel) -> tuple[int, ...]:
    """Bytes of each buffer that a header announces, in order."""
    if isinstance(header, ProgramParcel | SoundingParcel):
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
    most = BACKGROUND_PIECE_BYTES if is_background(parcel.header) else PIECE_BYTES
    if parcel.size <= most and len(parcel.views) <= MOST_FRAMES:
        yield [Prefix(OPEN, number).pack(), parcel.encoded, *parcel.views]
        return
    yield [Prefix(OPEN, number).pack(), parcel.encoded]
    offset = 0
    for data in _pieces(parcel.views, most):
        yield [Prefix(PIECE, number, offset).pack(), *data]
        offset += sum(map(len, data))


def _pieces(views: Sequence[memoryview], most: int) -> Iterator[list[View]]:
    piece: list[View] = []
    room = most
    for view in views:
        position = 0
        while position < len(view):
            taken = view[position : position + room]
            piece.append(taken)
            position += len(taken)
            room -= len(taken)
            if room == 0 or len(piece) == MOST_FRAMES:
                yield piece
                piece, room = [], most
    if piece:
        yield piece
