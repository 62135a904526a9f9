"""Who this node is: a CURVE key pair made once per home, and a counter of starts.

The node's id is a hash of its public key, so nobody can claim another's. ``(node, boot)`` names a process.
"""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from edged.core.ids import NodeId
from edged.errors import UNREADABLE, ConfigError
from edged.transport.private import look_at_private, read_private, write_private

FILE_NAME = "identity.json"
KEY_LENGTH = 40
"""Characters of a CURVE key in Z85."""

KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Identity:
    """A node's keys, as Z85 text, and the number of this start of its home."""

    node: NodeId
    public_key: str
    secret_key: str = field(repr=False)
    boot: int = 0


def node_of(public_key: str) -> NodeId:
    """The id that belongs to a public key (Z85): the first 16 hexadecimal digits of its SHA-256."""
    return NodeId(hashlib.sha256(public_key.encode()).hexdigest()[:16])


def is_key_of(node: NodeId, public_key: str) -> bool:
    """Whether this is a CURVE key (Z85), and the node's own: what members tell of each other may be anything."""
    try:
        decoded = z85.decode(public_key.encode())
    except (ValueError, KeyError, struct.error):
        return False
    return len(public_key) == KEY_LENGTH and len(decoded) == KEY_BYTES and node_of(public_key) == node


def new_identity(boot: int = 1) -> Identity:
    """A fresh key pair, on no disk."""
    public, secret = zmq.curve_keypair()
    return Identity(node_of(public.decode()), public.decode(), secret.decode(), boot)


def load_identity(home: Path) -> Identity:
    """This home's identity, made on the first call; every call counts as one start and is on the disk on return.

    Raises ``ConfigError`` if the file is damaged or the home cannot be written.
    """
    path = home / FILE_NAME
    data = read_private(path)
    identity = new_identity() if data is None else _parse(path, data)
    document = {"secret_key": identity.secret_key, "boot": identity.boot}
    write_private(path, json.dumps(document).encode() + b"\n")
    return identity


def look_at_node(home: Path) -> str:
    """The id of this home's node, which neither counts as a start nor changes anything; empty if it cannot be read."""
    try:
        data = look_at_private(home / FILE_NAME)
        return _parse(home / FILE_NAME, data).node if data is not None else ""
    except ConfigError:
        return ""


def _parse(path: Path, data: bytes) -> Identity:
    try:
        document = json.loads(data)
        secret, boot = document["secret_key"], document["boot"]
        sound = isinstance(secret, str) and len(secret) == KEY_LENGTH and type(boot) is int and boot >= 0
        public = zmq.curve_public(secret.encode()).decode() if sound else ""
    except (*UNREADABLE, zmq.ZMQError) as problem:
        raise _damaged(path) from problem
    if not sound:
        raise _damaged(path)
    return Identity(node_of(public), public, secret, boot + 1)


def _damaged(path: Path) -> ConfigError:
    return ConfigError(f"{path} is damaged; move it away to give this home a new identity (a new node to others)")
