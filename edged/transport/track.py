"""Parcels of one class to one peer: those that wait, and the one that is half sent."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from edged.core.messages import Parcel
from edged.transport import pieces
from edged.transport.pieces import DROP, Prefix, Prepared, View, parse_prefix


class Track:
    """A queue that shows its next message; whoever sends that says so with ``went``."""

    def __init__(self) -> None:
        """Empty."""
        self._queue: deque[Prepared] = deque()
        self._half: Prepared | None = None
        self._begun = False
        self._number = 0
        self._messages: Iterator[list[View]] = iter(())
        self._next: list[View] | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing is left to send."""
        return not self._queue and not self._begun

    @property
    def waiting_bytes(self) -> int:
        """Bytes of parcels that have not been sent yet."""
        waiting = sum(parcel.size for parcel in self._queue)
        if self._half is not None and self._next is not None:
            waiting += self._half.size - parse_prefix(self._next[0]).offset
        return waiting

    @property
    def beginning(self) -> Prepared | None:
        """The parcel that begins with the next message, if one does."""
        return self._queue[0] if self._queue and not self._begun else None

    def put(self, parcel: Prepared) -> None:
        """Queue a parcel."""
        self._queue.append(parcel)

    def head(self, number: int) -> list[View] | None:
        """The next message; if a parcel begins with it, as parcel ``number`` (others may take that before it goes)."""
        if not self._begun and self._queue:
            self._number = number
            self._messages = pieces.cut(number, self._queue[0])
            self._next = next(self._messages)
        return self._next

    def went(self) -> Parcel | None:
        """The message that ``head`` last showed is on its way: the parcel that it completes, if it does."""
        if not self._begun:
            self._half = self._queue.popleft()
            self._begun = True
        self._next = next(self._messages, None)
        if self._next is not None:
            return None
        whole = self._half
        self._half, self._begun = None, False
        return None if whole is None else whole.header

    def drop(self, predicate: Callable[[Parcel], bool], *, begun: bool) -> None:
        """Forget parcels that match; one that is half sent only if ``begun``: its end is the next message."""
        self._queue = deque(parcel for parcel in self._queue if not predicate(parcel.header))
        if begun and self._half is not None and predicate(self._half.header):
            self._half = None
            self._messages = iter(())
            self._next = [Prefix(DROP, self._number).pack()]
        elif not self._begun:
            self._next = None

    def lose_half(self) -> list[Parcel]:
        """The connection is gone, and with it the parcel that was half sent, which is returned, if there was one."""
        lost = [] if self._half is None else [self._half.header]
        self._half, self._next, self._messages, self._begun = None, None, iter(()), False
        return lost

    def lose_queue(self) -> list[Parcel]:
        """Forget what waits; returns it."""
        lost = [parcel.header for parcel in self._queue]
        self._queue.clear()
        return lost
