"""Memory for received tensors: aligned, because the bits of some kernels hang on it, and used again when it is free."""

from __future__ import annotations

import ctypes
import mmap
from collections import OrderedDict, deque

ALIGNMENT = 64
"""Bytes; the widest vector register. Frames as ZeroMQ delivers them practically never lie on a multiple of it."""

KEPT_BYTES = 32 << 20
"""Most memory that ``Rooms`` knows, in use or not."""

SMALLEST_KEPT_BYTES = 64 << 10
"""Less is cheap to have from the allocator, and would take long to look through."""

TRIES = 4
"""How many rooms of a size are asked whether they are free."""

EXAMPLE_BYTES = 8 << 20
"""Freed once, it has glibc keep up to twice as much of what is freed later."""


def aligned(size: int) -> memoryview:
    """A fresh writable view of ``size`` bytes (format "B") that begins at a multiple of ``ALIGNMENT``.

    The memory lives as long as the view, or anything made from it, does. Its content is zero; a large one is cleared by
    the system, page by page as it is used: to clear 256 MB at once would keep the loop for 150 ms.
    """
    if size > KEPT_BYTES:
        return memoryview(mmap.mmap(-1, size, access=mmap.ACCESS_COPY))
    return _view(bytearray(size + ALIGNMENT), size)


def copied(view: memoryview) -> memoryview:
    """The same bytes in memory of their own, aligned."""
    copy = aligned(view.nbytes)
    if view.nbytes:
        copy[:] = view.cast("B")
    return copy


def keep_freed_memory() -> None:
    """Have the allocator keep the memory of messages that have been read for the next ones, as ``Rooms`` does for ours.

    libzmq allocates each frame anew, and glibc returns large memory to the system at once until it has seen that such
    sizes come and go (mallopt(3), M_MMAP_THRESHOLD). Training shows it that sooner or later; this does at the start, by
    memory that is taken, never touched and freed. Other allocators do not care.
    """
    bytes(EXAMPLE_BYTES)


class Rooms:
    """Aligned memory that is given out again, for the same size, once nothing refers to its last view any more.

    The system hands out large memory page by page, each cleared first: for a mebibyte that costs more than filling it.
    What is given out again still holds what it held: whoever takes it fills all of it before showing it to anyone.
    """

    def __init__(self) -> None:
        """Nothing is kept."""
        self._kept: OrderedDict[int, deque[bytearray]] = OrderedDict()
        self._bytes = 0

    def aligned(self, size: int) -> memoryview:
        """A writable view as of ``aligned``, of memory that nobody else can see; its content is anything."""
        if not SMALLEST_KEPT_BYTES <= size <= KEPT_BYTES:
            return aligned(size)
        rooms = self._kept.setdefault(size, deque())
        self._kept.move_to_end(size)
        for _ in range(min(TRIES, len(rooms))):
            room = rooms[0]
            rooms.rotate(-1)
            if _is_free(room):
                return _view(room, size)
        room = bytearray(size + ALIGNMENT)
        rooms.append(room)
        self._bytes += size
        while self._bytes > KEPT_BYTES:
            self._forget_oldest()
        return _view(room, size)

    def _forget_oldest(self) -> None:
        size, rooms = next(iter(self._kept.items()))
        rooms.popleft()
        self._bytes -= size
        if not rooms:
            del self._kept[size]


def _view(room: bytearray, size: int) -> memoryview:
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    start = -address % ALIGNMENT
    return memoryview(room)[start : start + size]


def _is_free(room: bytearray) -> bool:
    """Whether no view of it lives: Python does not let a bytearray change its size while one does."""
    try:
        room.append(room.pop())
    except BufferError:
        return False
    return True
