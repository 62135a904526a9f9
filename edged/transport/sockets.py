"""Every ZeroMQ socket that edged makes, with every option set here: encrypted, bounded, never lingering."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import zmq

from edged.errors import ConfigError
from edged.transport.identity import Identity
from edged.transport.kinds import FRAME_BYTES
from edged.transport.pieces import BULK_FRAME_BYTES
from edged.transport.zap import BULK, CONTROL, DOOR

Context = zmq.Context[zmq.Socket[bytes]]
Socket = zmq.Socket[bytes]

LAST_PORT = 65535
HANDSHAKE_MILLISECONDS = 5000
CONNECT_MILLISECONDS = 3000
SILENCE_MILLISECONDS = 4000
"""How long a cut link may leave data unacknowledged before TCP gives up."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the three kinds of socket: its ZAP domain, bounds, and I/O thread (a bit mask)."""

    domain: bytes
    frame_bytes: int
    queue_length: int
    heartbeats: bool
    affinity: int


DOOR_KIND = Kind(DOOR, 1 << 16, 64, heartbeats=False, affinity=1)
CONTROL_KIND = Kind(CONTROL, FRAME_BYTES + 64, 256, heartbeats=True, affinity=1)
BULK_KIND = Kind(BULK, BULK_FRAME_BYTES, 256, heartbeats=False, affinity=2)
"""Bulk encryption runs on an I/O thread of its own, so that votes do not wait for it."""


def new_context() -> Context:
    """A context with two I/O threads: one for door and control, one for bulk."""
    context: Context = zmq.Context(io_threads=2)
    context.set(zmq.MAX_SOCKETS, 4096)
    return context


def endpoint(host: str, port: int) -> str:
    """A ZeroMQ TCP address; IPv6 hosts in brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def bound_router(context: Context, kind: Kind, keys: tuple[str, str], host: str, port: int) -> tuple[Socket, int]:
    """A listening socket and its port; ``keys`` is (public, secret) of the server, ``port`` 0 takes any.

    Raises ``ConfigError`` if the address cannot be had.
    """
    if port > LAST_PORT:
        raise ConfigError(f"a node takes three ports in a row, so --listen {host}:PORT can be at most {LAST_PORT - 2}")
    socket = context.socket(zmq.ROUTER)
    _bound(socket, kind)
    socket.curve_server = True
    socket.curve_publickey, socket.curve_secretkey = keys[0].encode(), keys[1].encode()
    socket.zap_domain = kind.domain
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
    socket.ipv6 = ":" in host
    try:
        socket.bind(endpoint(host, port) if port else endpoint(host, 0).removesuffix("0") + "*")
    except zmq.ZMQError as problem:
        socket.close(linger=0)
        raise ConfigError(_bind_problem(host, port, problem)) from problem
    last = socket.getsockopt(zmq.LAST_ENDPOINT)
    text = last.decode() if isinstance(last, bytes) else ""
    return socket, int(text.rstrip("\0").rpartition(":")[2])


def new_dealer(context: Context, kind: Kind, identity: Identity, server_key: str, host: str) -> Socket:
    """A socket for one connection to ``host`` and no second one: whoever lost it decides what comes next."""
    socket = context.socket(zmq.DEALER)
    _bound(socket, kind)
    socket.setsockopt(zmq.RECONNECT_IVL, -1)
    socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_MILLISECONDS)
    socket.curve_serverkey = server_key.encode()
    socket.curve_publickey, socket.curve_secretkey = identity.public_key.encode(), identity.secret_key.encode()
    socket.ipv6 = ":" in host
    return socket


def _bound(socket: Socket, kind: Kind) -> None:
    socket.linger = 0
    socket.immediate = True
    socket.setsockopt(zmq.AFFINITY, kind.affinity)
    socket.setsockopt(zmq.MAXMSGSIZE, kind.frame_bytes)
    socket.setsockopt(zmq.SNDHWM, kind.queue_length)
    socket.setsockopt(zmq.RCVHWM, kind.queue_length)
    socket.setsockopt(zmq.HANDSHAKE_IVL, HANDSHAKE_MILLISECONDS)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 2)
    socket.setsockopt(zmq.TCP_KEEPALIVE_INTVL, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_CNT, 3)
    if kind.heartbeats:
        socket.setsockopt(zmq.HEARTBEAT_IVL, 1000)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENCE_MILLISECONDS)
        socket.setsockopt(zmq.HEARTBEAT_TTL, SILENCE_MILLISECONDS)
    else:
        socket.setsockopt(zmq.HEARTBEAT_IVL, 0)
        socket.setsockopt(zmq.TCP_MAXRT, SILENCE_MILLISECONDS)


def _bind_problem(host: str, port: int, problem: zmq.ZMQError) -> str:
    where = f"{host}:{port}" if port else host
    if problem.errno == zmq.EADDRINUSE:
        return (
            f"{where} is in use, perhaps by another node; a node takes three ports in a row, "
            "so choose another with --listen HOST:PORT (port 0: any)"
        )
    if problem.errno in (zmq.EADDRNOTAVAIL, errno.ENODEV, errno.EINVAL):
        return f"this device has no address {host}; name one of its own with --listen HOST:PORT (0.0.0.0: all)"
    return f"cannot listen on {where}: {problem.strerror}; choose another with --listen HOST:PORT"
