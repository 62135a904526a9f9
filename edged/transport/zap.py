"""Who may connect: the ZAP authenticator (ZeroMQ RFC 27), asked by libzmq at each handshake on any bound socket.

It runs in the node's own loop and is bound before any other socket. What it answers as user id is the ``NodeId`` that
belongs to the proven key; libzmq stamps it on every frame of the connection, and edged believes nothing else about a
sender.
"""

from __future__ import annotations

from collections.abc import Sequence

import zmq
from zmq.utils import z85

from edged.core.ids import NodeId
from edged.transport.identity import node_of
from edged.transport.pump import Pump

ENDPOINT = "inproc://zeromq.zap.01"
DOOR, CONTROL, BULK = b"door", b"control", b"bulk"
REQUEST_FRAMES = 9
"""Routing id, delimiter, version, request id, domain, address, routing id of the peer, mechanism, CURVE key."""


class Gate:
    """The set of admitted public keys, and the answers to libzmq."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Bind; from now on every handshake in this context waits for an answer from here."""
        self._admitted: dict[NodeId, str] = {}
        self.refused = 0
        socket = context.socket(zmq.ROUTER)
        socket.linger = 0
        socket.bind(ENDPOINT)
        self._pump = Pump(socket, self._asked)

    def admit(self, node: NodeId, public_key: str) -> None:
        """Let this key in on control and bulk."""
        self._admitted[node] = public_key

    def dismiss(self, node: NodeId) -> None:
        """Refuse the key at the next handshake. Connections that exist live on: close them elsewhere."""
        self._admitted.pop(node, None)

    def admits(self, node: NodeId) -> bool:
        """Whether frames of this node are to be looked at."""
        return node in self._admitted

    def close(self) -> None:
        """Stop answering."""
        self._pump.close()

    def _asked(self, frames: Sequence[zmq.Frame]) -> None:
        parts = [frame.bytes for frame in frames]
        if len(parts) != REQUEST_FRAMES or parts[2] != b"1.0":
            return
        domain, mechanism, key = parts[4], parts[7], z85.encode(parts[8]).decode()
        node = node_of(key)
        known = domain == DOOR or (domain in (CONTROL, BULK) and self._admitted.get(node) == key)
        allowed = mechanism == b"CURVE" and known
        self.refused += not allowed
        status = (b"200", b"OK", node.encode()) if allowed else (b"400", b"not a member", b"")
        self._pump.send([parts[0], b"", b"1.0", parts[3], *status, b""])
