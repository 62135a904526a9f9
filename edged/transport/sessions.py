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


class Sessions:
    """Which connection (by routing id) belongs to whom, and its descriptor."""

    def __init__(self) -> None:
        """None is known."""
        self._known: OrderedDict[tuple[bytes, NodeId], tuple[int, object]] = OrderedDict()

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

    def cut(self, node: NodeId) -> None:
        """End every known connection from ``node``."""
        for key in [key for key in self._known if key[1] == node]:
            descriptor, peer = self._known.pop(key)
            with suppress(OSError), socket.socket(fileno=os.dup(descriptor)) as copy:
                if copy.getpeername() == peer:  # the number may have been given to another connection since
                    copy.shutdown(socket.SHUT_RDWR)


def _peer(descriptor: int) -> object:
    with socket.socket(fileno=os.dup(descriptor)) as copy:
        return copy.getpeername()
