import pytest

from edged.errors import BrokenInvariantError
from edged.transport import pieces
from edged.transport.codec import encode
from edged.transport.pieces import BACKGROUND_PIECE_BYTES, PIECE_BYTES, cut, is_background, prepare
from tests.transport.nodes import activation, assembly, data, program, replica, samples


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


def test_replicas_and_samples_travel_behind_and_state_that_is_waited_for_does_not():
    assert is_background(replica(3))
    assert is_background(samples(3))
    assert not is_background(replica(3, replica=False))
    assert not is_background(activation(3))
    assert not is_background(program(3))


@pytest.mark.parametrize("parcel", [replica, samples])
def test_what_travels_behind_is_cut_small(parcel):
    assert len(list(cut(1, prepare(parcel(BACKGROUND_PIECE_BYTES), data(BACKGROUND_PIECE_BYTES))))) == 1
    size = PIECE_BYTES
    messages = list(cut(1, prepare(parcel(size), data(size))))
    assert [sum(map(len, parts[1:])) for parts in messages[1:]] == [BACKGROUND_PIECE_BYTES] * 4
    receiver = assembly()
    done = [receiver.take(parts) for parts in messages]
    assert done[-1] == (parcel(size), tuple(data(size)))
