"""One receiving pump per socket.

A plain ZeroMQ socket and its file descriptor in the asyncio loop; no coroutine ever waits inside a receive, so nothing
can be cancelled half-way (a time-out around an awaited receive loses messages). The descriptor only signals a *change*,
so the socket is drained until it says EAGAIN, and looked at again after whatever may have swallowed a signal: every
send, also one that fails, and every question for the socket's state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress

import zmq

TURN_SECONDS = 0.002
"""Longest that one turn keeps the loop before others get theirs."""

READABLE, WRITABLE = int(zmq.POLLIN), int(zmq.POLLOUT)
AT_ONCE, MORE = int(zmq.DONTWAIT), int(zmq.SNDMORE)
"""As plain integers: arithmetic with the flags of an enumeration costs as much as the calls that take them."""

Frames = Sequence[zmq.Frame]


class Pump:
    """Owns a socket: hands each received message to ``on_message``, in the loop, until paused or closed."""

    def __init__(
        self,
        socket: zmq.Socket[bytes],
        on_message: Callable[[Frames], None],
        *,
        on_writable: Callable[[], None] | None = None,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        """Watch ``socket`` from the running loop.

        ``on_writable`` is called when a socket that had refused a send takes messages again, ``on_turn`` after each
        turn of receiving.
        """
        self.socket = socket
        self._on_message = on_message
        self._on_writable = on_writable
        self._on_turn = on_turn
        self._loop = asyncio.get_running_loop()
        self._descriptor = int(socket.getsockopt(zmq.FD))
        self._loop.add_reader(self._descriptor, self._look)
        self._scheduled = False
        self._paused = False
        self._blocked = False
        self.closed = False
        self._look_soon()

    def send(self, parts: Sequence[bytes | memoryview], *, copy: bool = True) -> bool:
        """Send one message at once, or not at all: ``False`` where the queue is full or the receiver is unknown."""
        if self.closed:
            return False
        try:
            for part in parts[:-1]:
                self.socket.send(part, AT_ONCE | MORE, copy=copy)
            self.socket.send(parts[-1], AT_ONCE, copy=copy)
        except zmq.Again:
            self._blocked = True
            self._look_soon()
            return False
        except zmq.ZMQError as problem:
            if problem.errno not in (zmq.EHOSTUNREACH, zmq.ENOTSUP, zmq.ENOTSOCK, zmq.ETERM):
                raise
            if problem.errno == zmq.EHOSTUNREACH:
                self._look_if_readable()
            return False
        self._look_if_readable()
        return True

    def pause(self) -> None:
        """Receive nothing more; what arrives waits in the socket, then at the sender."""
        self._paused = True

    def resume(self) -> None:
        """Receive again."""
        if self._paused:
            self._paused = False
            self._look_soon()

    def close(self) -> None:
        """Leave the loop and close the socket; what was queued in it is dropped."""
        if not self.closed:
            self.leave()
            self.socket.close(linger=0)

    def leave(self) -> None:
        """Leave the loop; whoever made the socket closes it."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._descriptor)

    def _look_soon(self) -> None:
        if not self._scheduled and not self.closed:
            self._scheduled = True
            self._loop.call_soon(self._look_again)

    def _look_again(self) -> None:
        self._scheduled = False
        self._look()

    def _look(self) -> None:
        if self.closed:
            return
        if not self._paused:
            self._drain()
        if not self.closed and self._blocked and self._state() & WRITABLE:
            self._blocked = False
            if self._on_writable is not None:
                self._on_writable()
        self._look_if_readable()

    def _look_if_readable(self) -> None:
        if not self.closed and not self._paused and self._state() & READABLE:
            self._look_soon()

    def _state(self) -> int:
        return int(self.socket.getsockopt(zmq.EVENTS))

    def _drain(self) -> None:
        if not self._state() & READABLE:
            return
        end = time.monotonic() + TURN_SECONDS
        with suppress(zmq.Again):  # a connection may end, and take with it what was readable
            while True:
                self._on_message(self._receive())
                if self.closed or self._paused or time.monotonic() > end or not self._state() & READABLE:
                    break
        if self._on_turn is not None and not self.closed:
            self._on_turn()

    def _receive(self) -> Frames:
        frame = self.socket.recv(AT_ONCE, copy=False)
        frames = [frame]
        while frame.more:
            frame = self.socket.recv(AT_ONCE, copy=False)
            frames.append(frame)
        return frames
