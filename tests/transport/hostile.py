"""Frames as nobody honest sends them, from a seed; used without a network and against a live node."""

import math

import msgpack

from edged.core.ids import PROTOCOL_VERSION
from edged.transport import kinds

ODD = [
    None, -1, 0, 1 << 63, (1 << 64) - 1, 1.5, math.nan, math.inf, "", "x", "x" * 70_000, b"x", [], [[]], [0] * 70, {},
    {"a": 1}, True, msgpack.ExtType(1, b"x"),
]  # fmt: skip
NESTED = 1200


def with_one_exchanged(rng, data):
    """A sound frame in which one value, anywhere in the tree, is another one, gone or doubled."""
    values = msgpack.unpackb(data[1:])
    places = [(values, i) for i in range(len(values))]
    for inside, i in places:
        if type(inside[i]) is list:
            places += [(inside[i], k) for k in range(len(inside[i]))]
    inside, i = rng.choice(places)
    choice = rng.randrange(8)
    if choice == 0:
        del inside[i]
    elif choice == 1:
        inside.insert(i, inside[i])
    elif choice == 2 and type(inside[i]) in (int, float):
        inside[i] = max(-inside[i] - 1, -(1 << 63))
    else:
        inside[i] = rng.choice(ODD)
    return data[:1] + msgpack.packb(values)


def bent(rng, data):
    """A sound frame cut short, with more at its end, with flipped bits, or with one value exchanged."""
    choice = rng.randrange(6)
    if choice == 0:
        return data[: rng.randrange(len(data))]
    if choice == 1:
        return data + rng.randbytes(rng.randrange(1, 50))
    if choice == 2:
        flipped = bytearray(data)
        for _ in range(rng.randrange(1, 8)):
            flipped[rng.randrange(len(flipped))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    return with_one_exchanged(rng, data)


def noise(rng):
    """What was never a frame: random bytes, promises of endless arrays, depth, unknown kinds."""
    version = bytes([PROTOCOL_VERSION])
    choice = rng.randrange(5)
    if choice == 0:
        return rng.randbytes(rng.randrange(200))
    if choice == 1:
        return version + rng.choice([b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff"]) * 3
    if choice == 2:
        return version + rng.choice([b"\x91", b"\x81\x01"]) * NESTED
    if choice == 3:
        return version + msgpack.packb([rng.choice([-1, 0, 9, 999, "1"]), *rng.choices(ODD, k=7)])
    return version + msgpack.packb([rng.choice(list(kinds.KINDS)), *rng.choices(ODD, k=rng.randrange(9))])


def large(rng, most):
    """A frame of up to ``most`` bytes: one long text, very many items, or random bytes."""
    size = rng.choice([most, most - 1, most // 2, most // 2 + rng.randrange(most // 4)])
    head = bytes([PROTOCOL_VERSION]) + rng.choice(
        [b"\xdb" + (size - 7).to_bytes(4), b"\xdd\x00\x0f\xff\xff", b"\x92\x01"]
    )
    return head + bytes([rng.choice([0x20, 0x90, 0xC0])]) * (size - len(head))


def hostile(rng, good, most=kinds.FRAME_BYTES):
    """Malformed, truncated, oversized (up to ``most`` bytes), bit-flipped and replayed frames, for ever."""
    while True:
        choice = rng.randrange(40)
        if choice == 0:
            yield large(rng, most)
        elif choice < 5:
            yield noise(rng)
        elif choice < 10:
            yield rng.choice(good)
        else:
            yield bent(rng, rng.choice(good))
