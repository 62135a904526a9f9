import random

import pytest

from edged.errors import BrokenInvariantError, MalformedError
from edged.transport import pieces
from edged.transport.assembly import Assembly
from edged.transport.buffers import Rooms
from edged.transport.codec import encode
from edged.transport.pieces import ACK, DROP, OPEN, PIECE, PIECE_BYTES, Prefix, cut, parse_prefix, prepare
from tests.transport.nodes import activation, message, program


def data(*sizes):
    return [memoryview(random.Random(size).randbytes(size)) for size in sizes]


def assembly(accept=lambda _header: True):
    return Assembly(accept, Rooms())


@pytest.mark.parametrize(
    "sizes",
    [
        (),
        (0,),
        (1,),
        (0, 5, 0),
        (PIECE_BYTES,),
        (PIECE_BYTES + 1,),
        (3, PIECE_BYTES, 0, 7),
        (10,) * 200,
        (3 * PIECE_BYTES, 9),
        (40_000,) * 100,
    ],
)
def test_a_parcel_is_cut_and_put_together_again(sizes):
    header, buffers, receiver = activation(*sizes), data(*sizes), assembly()
    messages = list(cut(1, prepare(header, buffers)))
    for parts in messages:
        assert sum(len(part) for part in parts[1:]) <= PIECE_BYTES + len(encode(header))
        assert len(parts) <= pieces.MOST_FRAMES + 2
    done = [receiver.take(parts) for parts in messages]
    assert done[:-1] == [None] * (len(messages) - 1)
    assert done[-1][0] == header
    assert [bytes(view) for view in done[-1][1]] == [bytes(view) for view in buffers]


def test_up_to_a_mebibyte_travels_in_one_message():
    assert len(list(cut(1, prepare(activation(PIECE_BYTES), data(PIECE_BYTES))))) == 1
    assert len(list(cut(1, prepare(activation(PIECE_BYTES + 1), data(PIECE_BYTES + 1))))) == 3


def test_nothing_is_copied_when_cutting():
    buffer = memoryview(bytearray(3 * PIECE_BYTES))
    messages = list(cut(1, prepare(program(len(buffer)), [buffer])))
    buffer[0] = 7
    assert messages[1][1][0] == 7


def test_buffers_of_another_size_are_the_senders_fault():
    with pytest.raises(BrokenInvariantError, match="sizes"):
        prepare(activation(3), data(4))


def test_no_memory_is_taken_before_the_header_is_accepted(monkeypatch):
    monkeypatch.setattr(Rooms, "aligned", None)
    receiver = assembly(lambda _header: False)
    for parts in cut(1, prepare(program(1 << 21), data(1 << 21))):
        assert receiver.take(parts) is None
    assert receiver.refused == 1


def broken(receiver, *parts):
    with pytest.raises(MalformedError):
        receiver.take(parts)


def test_broken_messages_drop_the_parcel_and_the_next_one_arrives():
    size = 2 * PIECE_BYTES + 5
    good = list(cut(1, prepare(program(size), data(size))))
    opened, first = good[0], good[1]
    breaks = [
        (Prefix(PIECE, 1, 1).pack(), first[1]),
        (Prefix(PIECE, 1, 0).pack(), bytes(PIECE_BYTES + 1)),
        (Prefix(PIECE, 1, 0).pack(), *[b"x"] * 65),
        (Prefix(PIECE, 1, 0).pack(),),
        (Prefix(PIECE, 2, 0).pack(), first[1]),
        (Prefix(OPEN, 1).pack(), opened[1]),
        (Prefix(OPEN, 2).pack(),),
        (Prefix(OPEN, 2).pack(), opened[1]),
        (Prefix(ACK, 2).pack(),),
        (Prefix(9, 2).pack(),),
        (b"short",),
        (),
    ]
    for parts in breaks:
        receiver = assembly()
        assert receiver.take(opened) is None
        broken(receiver, *parts)
        if parts and len(parts[0]) == pieces.PREFIX.size and parse_prefix(parts[0]).kind == PIECE:
            assert receiver.take(first) is None
        receiver.take([Prefix(DROP, 1).pack()])
        assert receiver.take(next(cut(5, prepare(program(3), data(3)))))[0] == program(3)


def test_headers_that_lie_are_refused():
    receiver = assembly()
    broken(receiver, Prefix(OPEN, 1).pack(), encode(message()))
    broken(receiver, Prefix(OPEN, 2).pack(), encode(program(3)), b"toolong")
    broken(receiver, Prefix(OPEN, 3).pack(), encode(program(PIECE_BYTES + 1)), bytes(PIECE_BYTES + 1))
    broken(receiver, Prefix(OPEN, 4).pack(), encode(activation(1 << 40, 1 << 40)))
    broken(receiver, Prefix(OPEN, 5).pack(), b"\x01noise")


def test_random_messages_never_raise_anything_else():
    rng = random.Random(11)
    receiver = assembly(lambda header: sum(pieces.sizes_of(header)) < 1 << 22)
    headers = [encode(activation(5, 6)), encode(program(1 << 21)), encode(program(0)), b"", b"\x01\x90"]
    for _ in range(10_000):
        prefix = Prefix(rng.randrange(6), rng.randrange(50), rng.choice([0, 5, 1 << 20, 1 << 60])).pack()
        parts = [prefix[: rng.choice([17, 17, 17, 3])], rng.choice(headers)]
        parts += [rng.randbytes(rng.choice([0, 5, 6, 11])) for _ in range(rng.randrange(3))]
        try:
            receiver.take(parts[: rng.randrange(4)])
        except MalformedError:
            continue
