"""Captured frames as what was said: TCP streams put together, datagrams; and a search for secrets in them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ETHERNET, IPV4, TCP, UDP = 14, 0x0800, 6, 17
WRAP = 1 << 32

Stream = tuple[bytes, int, bytes, int]
"""Source and its port, destination and its port."""


def frames_in(path: Path) -> Iterator[bytes]:
    """What ``sniffer.py`` has written."""
    data = path.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size


def said(frames: Iterable[bytes]) -> tuple[list[bytes], list[bytes]]:
    """The TCP streams (one for each direction), and the datagrams. What was sent twice or seen twice counts once."""
    segments: dict[Stream, dict[int, bytes]] = {}
    datagrams: dict[bytes, None] = {}
    for frame in frames:
        (kind,) = struct.unpack_from(">H", frame, 12)
        if kind != IPV4:
            continue
        packet = frame[ETHERNET:]
        head, total, protocol = 4 * (packet[0] & 15), struct.unpack_from(">H", packet, 2)[0], packet[9]
        body = packet[head : total or len(packet)]
        if protocol == UDP:
            datagrams[body[8:]] = None
        elif protocol == TCP:
            near, far, number = struct.unpack_from(">HHI", body)
            known = segments.setdefault((packet[12:16], near, packet[16:20], far), {})
            data = body[4 * (body[12] >> 4) :]
            if len(data) > len(known.get(number, b"")):
                known[number] = data
    return [_joined(known) for known in segments.values() if known], list(datagrams)


def _joined(segments: Mapping[int, bytes]) -> bytes:
    """A stream from its segments, by sequence number; the first that was seen is where counting begins."""
    base = next(iter(segments))
    stream, end = bytearray(), None
    for number, data in sorted(((number - base + WRAP // 2) % WRAP, data) for number, data in segments.items()):
        known = 0 if end is None else max(0, end - number)
        stream += data[known:]
        end = max(number + len(data), end or 0)
    return bytes(stream)


def forms(secret: bytes) -> set[bytes]:
    """How a secret may look on a wire: as it is, in hexadecimal digits, in base64 wherever it may begin there."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        text = base64.b64encode(bytes(before) + secret)
        whole = text[-(-8 * before // 6) : 8 * (before + len(secret)) // 6]
        found |= {whole, whole.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def betrayed(secrets: Mapping[str, bytes], texts: Iterable[bytes]) -> set[str]:
    """The names of the secrets that can be read somewhere, in any form."""
    everything = list(texts)
    return {
        name for name, secret in secrets.items() if any(form in text for form in forms(secret) for text in everything)
    }
