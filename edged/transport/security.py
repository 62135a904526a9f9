"""The cluster key: its token, and the keys and proofs derived from it.

The key opens only the door. It is 32 random bytes, written as 56 letters and digits with a checksum of 24 bits in
groups of seven (``abcdefg-...``). From it come, by HMAC-SHA256 with a label each (the expand step of HKDF, RFC 5869):
the door's CURVE secret, the key of the proofs, the tag shown on mDNS.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from edged.errors import ConfigError
from edged.telemetry.logs import topic_logger
from edged.transport.private import CLUSTER_KEY_NAME, read_private, write_private

RETIRED_NAME = "retired-keys"
KEY_BYTES = 32
CHECKSUM_BYTES = 3
TOKEN_LENGTH = 56
GROUP = 7
LOOK_ALIKES = str.maketrans({"0": "o", "1": "l", "8": "b"})
"""Digits that the alphabet (a-z, 2-7) lacks, as people mistype them."""


@dataclass(frozen=True, slots=True)
class ClusterKey:
    """What a node needs to open the door, or to keep it. Never printed.

    ``door_public`` and ``door_secret`` are Z85 text.
    """

    door_public: str = field(repr=False)
    door_secret: str = field(repr=False)
    proof_key: bytes = field(repr=False)
    tag_key: bytes = field(repr=False)

    def tag(self, cluster: str) -> str:
        """What mDNS shows: equal only for the same cluster name and key, and tells neither."""
        return hmac.digest(self.tag_key, cluster.encode(), "sha256")[:8].hex()

    def proof(self, role: bytes, joiner: str, keeper: str, nonces: bytes) -> bytes:
        """32 bytes that only a holder of the cluster key can make.

        ``role`` (who proves) keeps one side's proof from being sent back as the other's; ``joiner`` and ``keeper``
        are public keys in Z85; ``nonces`` is the joiner's and then the keeper's.
        """
        return hmac.digest(self.proof_key, b"|".join((role, joiner.encode(), keeper.encode(), nonces)), "sha256")


def equal(left: bytes, right: bytes) -> bool:
    """Compare proofs in constant time."""
    return hmac.compare_digest(left, right)


def new_cluster_key() -> str:
    """A fresh token."""
    key = secrets.token_bytes(KEY_BYTES)
    text = base64.b32encode(key + _checksum(key)).decode().lower()
    return "-".join(text[start : start + GROUP] for start in range(0, TOKEN_LENGTH, GROUP))


def parse_token(token: str) -> ClusterKey:
    """The keys that a token stands for. Capitals, spaces, hyphens and 0, 1, 8 for o, l, b do not matter.

    Raises ``ConfigError`` saying what is wrong with it (never repeating it).
    """
    text = "".join(token.split()).replace("-", "").lower().translate(LOOK_ALIKES)
    if len(text) != TOKEN_LENGTH:
        raise ConfigError(
            f"a cluster key has {TOKEN_LENGTH} letters and digits (hyphens aside), this one has {len(text)}; "
            "copy the whole line that `edged key join-command` prints"
        )
    try:
        data = base64.b32decode(text.upper())
    except ValueError:
        raise ConfigError("a cluster key holds only the letters a-z and the digits 2-7; copy it again") from None
    key, checksum = data[:KEY_BYTES], data[KEY_BYTES:]
    if not hmac.compare_digest(checksum, _checksum(key)):
        raise ConfigError("the cluster key's checksum is wrong, so a character is mistyped; copy it again")
    return _derive(key)


def read_cluster_key(home: Path, read: Callable[[Path], bytes | None] = read_private) -> str | None:
    """The token kept in this home, or ``None``. Raises ``ConfigError`` if the file holds no valid token."""
    path = home / CLUSTER_KEY_NAME
    data = read(path)
    if data is None:
        return None
    token = data.decode("ascii", "replace").strip()
    try:
        parse_token(token)
    except ConfigError as problem:
        raise ConfigError(f"{path}: {problem}") from problem
    return token


def write_cluster_key(home: Path, token: str) -> None:
    """Keep a token in this home (mode 0600). Raises ``ConfigError`` if it is none, or the home cannot be written."""
    parse_token(token)
    write_private(home / CLUSTER_KEY_NAME, token.encode("ascii") + b"\n")


def settle_cluster_key(home: Path, given: str, *, joins: bool) -> tuple[str, bool]:
    """The token that a node of this home uses, which is kept there, and whether it was made just now.

    ``given``: what its user gave, if anything; ``joins``: whether a cluster to join was named. Raises ``ConfigError``.
    """
    kept = read_cluster_key(home)
    token = given or kept
    if given and kept is not None and is_retired(home, given):
        topic_logger("daemon").warning("the key given was exchanged meanwhile; the newer one of this home is used")
        token = kept
    made = token is None
    if token is None and joins:
        raise ConfigError(
            "--seed names a node of a cluster, but no key is given to join it with: `edged key join-command` on that "
            "device prints the whole line to type here"
        )
    if token is None:
        token = new_cluster_key()
    if token != kept:
        write_cluster_key(home, token)
    return token, made


def retire_cluster_key(home: Path, token: str) -> None:
    """Remember that this token was exchanged, by a hash that tells nothing of it. Raises ``ConfigError``."""
    path = home / RETIRED_NAME
    write_private(path, (read_private(path) or b"") + _fingerprint(token).encode() + b"\n")


def exchange_cluster_key(home: Path, token: str) -> None:
    """Keep this token in place of another, which is retired. Raises ``ConfigError``; then it may be tried again.

    The old one is retired first: once the new one stands in its place, nobody knows it any more.
    """
    old = read_cluster_key(home)
    if old is not None and parse_token(old) != parse_token(token) and not is_retired(home, old):
        retire_cluster_key(home, old)
    write_cluster_key(home, token)


def is_retired(home: Path, token: str) -> bool:
    """Whether the cluster exchanged this token for another while this home's node was there."""
    known = read_private(home / RETIRED_NAME) or b""
    return _fingerprint(token) in known.decode("ascii", "replace").split()


def _fingerprint(token: str) -> str:
    return hashlib.sha256(b"edged retired key" + parse_token(token).proof_key).hexdigest()


def _checksum(key: bytes) -> bytes:
    return hashlib.sha256(b"edged cluster key" + key).digest()[:CHECKSUM_BYTES]


def _derive(key: bytes) -> ClusterKey:
    def expand(label: bytes) -> bytes:
        return hmac.digest(key, b"edged v1 " + label, "sha256")

    secret = z85.encode(expand(b"door"))
    return ClusterKey(zmq.curve_public(secret).decode(), secret.decode(), expand(b"proof"), expand(b"tag"))
