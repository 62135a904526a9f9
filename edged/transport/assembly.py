"""Messages as parcels: the receiver's side of one bulk connection. See ``pieces.py`` for the messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from edged.core.messages import Parcel
from edged.errors import MalformedError
from edged.transport.buffers import Rooms
from edged.transport.codec import decode
from edged.transport.kinds import PARCEL_BYTES
from edged.transport.pieces import (
    DROP,
    MOST_FRAMES,
    OPEN,
    PIECE,
    PIECE_BYTES,
    Prefix,
    View,
    is_background,
    parse_prefix,
    sizes_of,
)

Whole = tuple[Parcel, tuple[memoryview, ...]]
"""A header and all of its buffers."""

NONE = -1
"""No parcel has this number."""


class _Half:
    """An accepted parcel whose end is still to come: its memory, and how far that is filled."""

    __slots__ = ("_filled", "_index", "_position", "_total", "buffers", "header")

    def __init__(self, header: Parcel, buffers: tuple[memoryview, ...]) -> None:
        self.header = header
        self.buffers = buffers
        self._total = sum(map(len, buffers))
        self._position = self._index = self._filled = 0

    def fill(self, offset: int, data: Sequence[View]) -> bool:
        """Write the stream's next bytes; whether it is whole with them. Raises ``MalformedError``."""
        size = sum(map(len, data))
        gap = offset != self._position or self._position + size > self._total
        if gap or size > PIECE_BYTES or len(data) > MOST_FRAMES or (size == 0 and self._total):
            raise MalformedError("a piece out of its place")
        for frame in data:
            self._write(memoryview(frame))
        self._position += size
        return self._position == self._total

    def _write(self, data: memoryview) -> None:
        while len(data):
            buffer = self.buffers[self._index]
            room = min(len(buffer) - self._filled, len(data))
            buffer[self._filled : self._filled + room] = data[:room]
            self._filled += room
            data = data[room:]
            if self._filled == len(buffer):
                self._index += 1
                self._filled = 0


class Assembly:
    """Takes the messages of one connection in order, gives back complete parcels.

    At most one parcel of each class (``is_background``) is half received. ``accept`` is asked before any memory is
    taken; the pieces of a parcel that it refuses are passed over. What cannot come from an honest sender raises
    ``MalformedError`` each time, and all that is half received is forgotten with it.
    """

    def __init__(self, accept: Callable[[Parcel], bool], rooms: Rooms) -> None:
        """Nothing is under way. Memory comes from ``rooms``."""
        self._accept = accept
        self._rooms = rooms
        self._half: dict[int, _Half] = {}
        self._latest = {False: NONE, True: NONE}
        self._newest = 0
        self.refused = 0

    @property
    def under_way(self) -> tuple[Parcel, ...]:
        """The parcels that have been accepted and whose end is still to come."""
        return tuple([half.header for half in self._half.values()])

    def take(self, frames: Sequence[View]) -> Whole | None:
        """One message: ``(header, buffers)`` if it completes a parcel. Raises ``MalformedError``."""
        try:
            return self._take(frames)
        except MalformedError:
            self._half.clear()
            raise

    def _take(self, frames: Sequence[View]) -> Whole | None:
        prefix = parse_prefix(frames[0] if frames else b"")
        if prefix.kind == OPEN:
            return self._open(prefix, frames[1:])
        if prefix.kind not in (PIECE, DROP):
            raise MalformedError("unknown kind of bulk message")
        if prefix.number not in (*self._latest.values(), self._newest):
            raise MalformedError("a piece or the end of a parcel that is not under way")
        if prefix.kind == DROP:
            self._half.pop(prefix.number, None)
            return None
        return self._fill(prefix, frames[1:]) if prefix.number in self._half else None

    def _open(self, prefix: Prefix, rest: Sequence[View]) -> Whole | None:
        if prefix.number <= self._newest or not rest:
            raise MalformedError("a parcel's number does not grow, or it has no header")
        if prefix.offset and prefix.number != 1:
            raise MalformedError("a connection's number where no connection begins")
        self._newest = prefix.number
        header = decode(rest[0])
        if not isinstance(header, Parcel):
            raise MalformedError("a control message on a bulk socket")
        background = is_background(header)
        if self._latest[background] in self._half:
            raise MalformedError("a parcel began before the one of its class before it had ended")
        self._latest[background] = prefix.number
        sizes = sizes_of(header)
        total = sum(sizes)
        if total > PARCEL_BYTES:
            raise MalformedError("a parcel beyond all bounds")
        small = len(rest) > 1 or total == 0
        if small and (total > PIECE_BYTES or sum(map(len, rest[1:])) != total):
            raise MalformedError("a small parcel whose data is not what its header says")
        if not self._accept(header):
            self.refused += 1
            return None
        self._half[prefix.number] = _Half(header, tuple(map(self._rooms.aligned, sizes)))
        return self._fill(Prefix(OPEN, prefix.number), rest[1:]) if small else None

    def _fill(self, prefix: Prefix, data: Sequence[View]) -> Whole | None:
        half = self._half[prefix.number]
        if not half.fill(prefix.offset, data):
            return None
        del self._half[prefix.number]
        return half.header, half.buffers
