import random

import pytest

from edged.errors import MalformedError
from edged.transport import pieces
from edged.transport.buffers import Rooms
from edged.transport.codec import encode
from edged.transport.pieces import ACK, DROP, OPEN, PIECE, PIECE_BYTES, Prefix, cut, parse_prefix, prepare
from tests.transport.nodes import activation, assembly, data, message, program, replica, samples

LARGE = 2 * PIECE_BYTES + 5


def messages_of(number, header, size=LARGE):
    return list(cut(number, prepare(header, data(size))))


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
        (Prefix(OPEN, 2, 1).pack(), opened[1]),
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


def test_a_parcel_passes_between_the_pieces_of_one_that_travels_behind():
    receiver = assembly()
    behind = messages_of(1, replica(LARGE))
    for number, parts in enumerate(behind[:-1]):
        assert receiver.take(parts) is None
        whole = [receiver.take(each) for each in messages_of(2 + number, activation(LARGE, micro_batch=number))]
        assert whole[:-1] == [None] * 3
        assert whole[-1] == (activation(LARGE, micro_batch=number), tuple(data(LARGE)))
        assert receiver.under_way == (replica(LARGE),)
    assert receiver.take(behind[-1]) == (replica(LARGE), tuple(data(LARGE)))
    assert receiver.under_way == ()


def test_pieces_of_two_half_received_parcels_take_turns():
    receiver = assembly()
    first, second = messages_of(1, activation(LARGE)), messages_of(2, samples(LARGE))
    done = []
    while first or second:
        done += [receiver.take(half.pop(0)) for half in (first, second) if half]
    assert [each for each in done if each is not None] == [
        (activation(LARGE), tuple(data(LARGE))),
        (samples(LARGE), tuple(data(LARGE))),
    ]


@pytest.mark.parametrize(
    "third", [replica(LARGE, version=9), samples(LARGE), activation(LARGE, micro_batch=9), program(3)]
)
def test_a_third_parcel_under_way_is_malformed_and_nothing_is_kept(third):
    receiver = assembly()
    receiver.take(messages_of(1, replica(LARGE))[0])
    receiver.take(messages_of(2, activation(LARGE))[0])
    assert receiver.under_way == (replica(LARGE), activation(LARGE))
    broken(receiver, *messages_of(3, third, sum(pieces.sizes_of(third)))[0])
    assert receiver.under_way == ()


@pytest.mark.parametrize("kind", [PIECE, DROP])
def test_numbers_that_are_not_under_way_are_malformed(kind):
    receiver = assembly()
    receiver.take(messages_of(3, replica(LARGE))[0])
    receiver.take(messages_of(5, activation(LARGE))[0])
    for number in (0, 2, 4, 6):
        broken(receiver, Prefix(kind, number).pack(), b"x")
    receiver.take(messages_of(6, activation(LARGE, micro_batch=1))[0])
    broken(receiver, Prefix(kind, 5).pack(), b"x")


@pytest.mark.parametrize("dropped", [1, 2])
def test_a_drop_ends_the_parcel_that_it_names_and_no_other(dropped):
    receiver = assembly()
    halves = {1: messages_of(1, replica(LARGE)), 2: messages_of(2, activation(LARGE))}
    for parts in (halves[1][0], halves[2][0], halves[1][1], halves[2][1]):
        receiver.take(parts)
    assert receiver.take([Prefix(DROP, dropped).pack()]) is None
    kept = halves[3 - dropped]
    done = [receiver.take(parts) for parts in kept[2:]]
    assert done[-1][1] == tuple(data(LARGE))
    again = activation(3) if dropped == 2 else replica(3)
    assert receiver.take(messages_of(3, again, 3)[0]) == (again, tuple(data(3)))


@pytest.mark.parametrize("refused", [replica(LARGE), activation(LARGE)], ids=["replica", "activation"])
def test_a_refused_parcel_is_passed_over_while_one_of_the_other_class_arrives(refused):
    receiver = assembly(lambda header: header != refused)
    passed, other = messages_of(1, refused), activation(LARGE) if refused == replica(LARGE) else replica(LARGE)
    taken, done = messages_of(2, other), []
    while passed or taken:
        done += [receiver.take(half.pop(0)) for half in (passed, taken) if half]
    assert [each for each in done if each is not None] == [(other, tuple(data(LARGE)))]


def test_a_gap_in_one_parcel_forgets_both_and_more_of_either_is_passed_over():
    receiver = assembly()
    behind, urgent = messages_of(1, replica(LARGE)), messages_of(2, activation(LARGE))
    for parts in (behind[0], urgent[0], behind[1]):
        receiver.take(parts)
    broken(receiver, *behind[3])
    assert receiver.under_way == ()
    assert [receiver.take(parts) for parts in (*behind[2:], *urgent[1:])] == [None] * (len(behind) + len(urgent) - 3)
