"""What has come in and not yet been taken: bounded, so that a slow consumer slows the senders and not the memory."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from edged.transport.interface import Incoming, ReceivedParcel

MOST_ITEMS = 4096
MOST_BYTES = 64 << 20
"""Beyond either, the pumps stop until half has been taken."""


class Inbox:
    """A queue with one consumer. ``on_full`` and ``on_room`` are called when receiving should stop and go on."""

    def __init__(self, on_full: Callable[[], None], on_room: Callable[[], None]) -> None:
        """Empty."""
        self._items: deque[tuple[Incoming, int]] = deque()
        self._bytes = 0
        self._full = False
        self._on_full = on_full
        self._on_room = on_room
        self._waiting: asyncio.Future[None] | None = None

    def put(self, item: Incoming) -> None:
        """Never blocks; tells ``on_full`` when it should not be called for a while."""
        size = sum(view.nbytes for view in item.buffers) if isinstance(item, ReceivedParcel) else 0
        self._items.append((item, size))
        self._bytes += size
        if not self._full and (len(self._items) > MOST_ITEMS or self._bytes > MOST_BYTES):
            self._full = True
            self._on_full()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def take(self) -> Incoming:
        """The oldest item; waits for one. Cancelling it loses nothing."""
        while not self._items:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
        item, size = self._items.popleft()
        self._bytes -= size
        if self._full and len(self._items) <= MOST_ITEMS // 2 and self._bytes <= MOST_BYTES // 2:
            self._full = False
            self._on_room()
        return item
