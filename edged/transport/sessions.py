"""Inbound connections by sender, so that an expelled member's can be cut.

ZeroMQ has no call for closing one connection of a ROUTER, and removing a key does not end what runs. But every frame
knows the descriptor that it came from: shutting that down makes libzmq see the end of the stream.
"""

from __future__ import annotations

import os
import socket
from collections import OrderedDict
from contextlib import suppress

import zmq

from edged.core.ids import NodeId

MOST = 4096

_Connection = tuple[int, object]
"""Descriptor, and the address at its other end."""


class Sessions:
    """Which connection (by routing id) belongs to whom, and its descriptor."""

    def __init__(self) -> None:
        """None is known."""
        self._known: OrderedDict[tuple[bytes, NodeId], _Connection | None] = OrderedDict()

    def note(self, routing_id: bytes, sender: NodeId, frame: zmq.Frame) -> None:
        """Remember where ``frame`` came from."""
        key = (routing_id, sender)
        if key in self._known:
            return
        with suppress(OSError, zmq.ZMQError):
            descriptor = int(frame.get(zmq.SRCFD))
            self._known[key] = (descriptor, _peer(descriptor))
        while len(self._known) > MOST:
            self._known.popitem(last=False)

    def turn_away(self, routing_id: bytes, sender: NodeId, frame: zmq.Frame) -> None:
        """End the connection of a ``sender`` that is not admitted (any more) and sent ``frame`` all the same.

        The handshake asks for the key once, so a connection made just before the key was refused gets through it.
        """
        self.note(routing_id, sender, frame)
        self._cut((routing_id, sender))

    def cut(self, node: NodeId) -> None:
        """End every known connection from ``node``."""
        for key in [key for key in self._known if key[1] == node]:
            self._cut(key)

    def _cut(self, key: tuple[bytes, NodeId]) -> None:
        known = self._known.get(key)
        if known is None:
            return
        self._known[key] = None  # what it sent before still comes, and its descriptor may be another's by then
        descriptor, peer = known
        with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
            if copy.getpeername() == peer:
                copy.shutdown(socket.SHUT_RDWR)


def _peer(descriptor: int) -> object:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.getpeername()
