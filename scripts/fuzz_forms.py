"""Changing what bytes mean: mutations of msgpack and JSON values, for a fuzzer that is to come past the first check.

A fuzzer that changes bytes is thrown out by the parser nearly always. This one takes the values apart, changes some
(exchanges, drops, doubles, moves, takes from another input, repeats a thousand times, buries in brackets), and packs
them again. Every third time bytes are changed all the same: that is the parser's own test.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from edged.errors import UNREADABLE

PLACE = "@@nest@@"
"""Stands in a value where brackets in brackets are to be: no packer makes them as deep as a stranger can."""

DEPTHS = (2, 5, 40, 600, 1100, 5000)
REPEATS = (2, 3, 17, 65, 1000)
MOST_CHANGES = 4

ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 63, 64, 1 << 16, (1 << 31) - 1, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1,
    -(1 << 63), 0.0, -0.0, 1.5, 1e308, math.inf, -math.inf, math.nan,
    "", "x", "x" * 300, "..", "\x00", "\n", "\u0663", "\u00e9" * 40,
    [], [[]], [None], [0] * 70, {}, {"": 0}, {"ref": "x"}, {"tuple": [1]}, {"pairs": [[1, 2]]},
)  # fmt: skip

MutateBytes = Callable[[bytes, int], bytes]
"""Changes bytes, which then are at most so many."""


@dataclass(frozen=True, slots=True)
class Form:
    """How an input is values. ``unpack`` and ``pack`` raise ``ValueError`` or the like for what is not of the form.

    ``mark``: how ``PLACE`` looks in bytes; ``nest``: so many brackets in each other, to be put there.
    """

    unpack: Callable[[bytes], Any]
    pack: Callable[[Any], bytes]
    mark: bytes
    nest: Callable[[int], bytes]


def packed(head: int) -> Form:
    """Msgpack after so many bytes of something else, which stand first in the values."""

    def unpack(data: bytes) -> Any:
        return [data[:head], msgpack.unpackb(data[head:], strict_map_key=False)]

    def pack(value: Any) -> bytes:
        first, rest = value
        body: bytes = msgpack.packb(rest)
        return _raw(first) + body

    return Form(unpack, pack, bytes(msgpack.packb(PLACE)), lambda depth: b"\x91" * depth + b"\xc0")


def written(head: int = 0) -> Form:
    """JSON. With ``head``, its length comes first in so many bytes, and something else behind it."""

    def unpack(data: bytes) -> Any:
        if not head:
            return json.loads(data)
        size = head + int.from_bytes(data[:head], "big")
        return [json.loads(data[head:size]), data[size:]]

    def pack(value: Any) -> bytes:
        if not head:
            return json.dumps(value).encode()
        text = json.dumps(value[0]).encode()
        return len(text).to_bytes(head, "big") + text + _raw(value[1])

    return Form(unpack, pack, json.dumps(PLACE).encode(), lambda depth: b"[" * depth + b"]" * depth)


def _raw(value: Any) -> bytes:
    """What has to be bytes; a number would be so many of them."""
    if not isinstance(value, bytes):
        raise TypeError("not bytes")
    return value


def mutated(
    form: Form | None, data: bytes, most: int, rng: random.Random, others: Sequence[bytes], mutate_bytes: MutateBytes
) -> bytes:
    """Another input of at most ``most`` bytes. ``others``: inputs to take something from."""
    if form is not None and rng.randrange(3):
        made = data
        try:
            for _ in range(rng.randrange(1, MOST_CHANGES + 1)):
                if len(made) <= most:  # each change is packed: what is repeated twice must not take all memory
                    value = changed(form.unpack(made), rng, lambda: form.unpack(rng.choice(others)), mutate_bytes)
                    made = form.pack(value)
            made = made.replace(form.mark, form.nest(rng.choice(DEPTHS)), 1)
        except (*UNREADABLE, msgpack.UnpackException):
            made = b""
        if 0 < len(made) <= most:
            return made
    return mutate_bytes(data, most)


Place = tuple[Any, Any]
"""A list or a dict, and where in it."""


def places(value: Any) -> list[Place]:
    """Every place in a tree, however deep it is."""
    found: list[Place] = []
    waiting = [value]
    while waiting:
        inside = waiting.pop()
        keys = range(len(inside)) if isinstance(inside, list) else list(inside) if isinstance(inside, dict) else ()
        for key in keys:
            found.append((inside, key))
            waiting.append(inside[key])
    return found


def changed(value: Any, rng: random.Random, other: Callable[[], Any], mutate_bytes: MutateBytes) -> Any:
    """The value, in one place another; what was given may be changed. ``other`` makes a value to take from."""
    there = places(value)
    if not there:
        return rng.choice(ODD)
    inside, key = rng.choice(there)
    inner = inside[key]
    match rng.randrange(10):
        case 0:
            inside[key] = rng.choice(ODD)
        case 1:
            del inside[key]
        case 2:
            _add(inside, inner, rng)
        case 3:
            _repeat(inside, key, rng)
        case 4:
            inside[key] = PLACE
        case 5:
            _borrow(inside, key, places(other()), rng)
        case 6:
            taken, where = rng.choice(there)
            inside[key], taken[where] = taken[where], inner
        case 7:
            inside[key] = [inner]
        case _:
            inside[key] = nearby(inner, rng, mutate_bytes)
    return value


def nearby(value: Any, rng: random.Random, mutate_bytes: MutateBytes) -> Any:
    """A value much like this one, of the same type."""
    match value:
        case bool():
            return not value
        case int():
            return rng.choice([value + 1, value - 1, -value, 2 * value, value ^ (1 << rng.randrange(64)), float(value)])
        case float():
            return rng.choice([-value, value / 2, value * 1e300, value + 1e-9, math.nan])
        case str():
            return mutate_bytes(value.encode(errors="replace"), len(value) + 8).decode(errors="replace")
        case bytes():
            return mutate_bytes(value, len(value) + 8)
        case _:
            return rng.choice(ODD)


def _add(inside: Any, item: Any, rng: random.Random) -> None:
    if isinstance(inside, list):
        inside.insert(rng.randrange(len(inside) + 1), item)
    else:
        inside[rng.choice(["", "x", "tuple", "pairs", "ref"])] = item


def _borrow(inside: Any, key: Any, others: Sequence[Place], rng: random.Random) -> None:
    """Take a value of another input: in the place of one, or beside it, as it stands there, with its key."""
    alike = [(taken, where) for taken, where in others if type(taken) is type(inside)]
    if alike and rng.randrange(2):
        taken, where = rng.choice(alike)
        if isinstance(inside, list):
            inside.insert(key, taken[where])
        else:
            inside[where] = taken[where]
    else:
        taken, where = rng.choice(others or [([None], 0)])
        inside[key] = taken[where]


def _repeat(inside: Any, key: Any, rng: random.Random) -> None:
    """Many times the same: in a list beside it, else in one of its own."""
    times = rng.choice(REPEATS)
    if isinstance(inside, list):
        inside[key:key] = [inside[key]] * times
    else:
        inside[key] = [inside[key]] * times
