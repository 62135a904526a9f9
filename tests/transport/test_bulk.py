"""The sender's side of a bulk connection, on a road that only writes down what goes out, to an Assembly."""

import itertools
import math
import random
import time
from collections import deque
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.transport import bulk, pieces
from edged.transport.bulk import OVERTAKING_BYTES, BulkLane
from edged.transport.credit import BACKGROUND_BYTES, LARGEST_BYTES
from edged.transport.pieces import ACK, BACKGROUND_PIECE_BYTES, DROP, OPEN, PIECE, PIECE_BYTES, Prefix, parse_prefix
from edged.transport.road import Outcome
from tests.transport.nodes import activation, assembly, replica

MEBIBYTE = 1 << 20
NOISE = memoryview(random.Random(5).randbytes(5 * MEBIBYTE))


@pytest.fixture(autouse=True, scope="module")
def _turns_never_end():
    """There is no loop here to go on in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bulk, "TURN_SECONDS", math.inf)
        yield


class Road:
    """Takes ``room`` messages."""

    def __init__(self):
        self.up = True
        self.room = math.inf
        self.wanted = False
        self.out = deque()

    def send(self, parts, *, copy):
        if self.room == 0:
            return False
        self.room -= 1
        self.out.append([bytes(part) for part in parts])
        return True

    def want(self):
        self.wanted = True


class Scene:
    """A lane and its receiver."""

    def __init__(self):
        self.road = Road()
        self.lost = []
        self.lane = BulkLane(self.road, itertools.count(), lambda _size: None, self.lost.append)
        self.receiver = assembly()
        self.taken = 0
        self.got = []

    def send(self, header):
        """With content that its number decides: ``micro_batch`` or ``version``."""
        self.lane.send(header, buffers_of(header))

    def kinds(self):
        """What has gone out and was not received: (kind, number, offset)."""
        return [tuple(parse_prefix(parts[0])) for parts in self.road.out]

    def receive(self, messages=1):
        for _ in range(min(messages, len(self.road.out))):
            parts = self.road.out.popleft()
            self.taken += sum(map(len, parts))
            done = self.receiver.take(parts)
            if done is not None:
                header, buffers = done
                assert list(buffers) == buffers_of(header)
                self.got.append(header)

    def acknowledge(self):
        self.lane.acknowledged([SimpleNamespace(bytes=Prefix(ACK, self.taken).pack())])

    def receive_all(self):
        """Until nothing more comes."""
        self.acknowledge()
        while self.road.out:
            self.receive(len(self.road.out))
            self.acknowledge()

    def break_connection(self):
        self.road.up = False
        self.road.out.clear()
        self.lane.lost(Outcome.LOST)
        self.receiver, self.taken = assembly(), 0
        self.road.up = True
        self.lane.opened()


def number_of(header):
    return header.version if pieces.is_background(header) else header.work.micro_batch


def buffers_of(header):
    start = number_of(header) % 1000
    return [NOISE[start : start + size] for size in pieces.sizes_of(header)]


def test_what_is_queued_while_a_replica_is_half_sent_goes_at_once():
    scene = Scene()
    scene.send(replica(3 * MEBIBYTE))
    assert scene.kinds() == [(OPEN, 1, 0), (PIECE, 1, 0)], "with a third message there would be too much under way"
    scene.send(activation(3 * MEBIBYTE))
    scene.send(activation(5, micro_batch=1))
    assert scene.kinds()[2:4] == [(OPEN, 2, 0), (PIECE, 2, 0)]
    scene.receive_all()
    assert scene.got == [activation(3 * MEBIBYTE), activation(5, micro_batch=1), replica(3 * MEBIBYTE)]
    assert scene.lane.queued_bytes == 0


def test_little_of_a_replica_is_under_way():
    scene = Scene()
    scene.send(replica(3 * MEBIBYTE))
    sizes = []
    while scene.road.out:
        under_way = sum(len(part) for parts in scene.road.out for part in parts)
        sizes.append(under_way)
        assert scene.lane.queued_bytes >= under_way
        scene.receive()
        scene.acknowledge()
    assert BACKGROUND_PIECE_BYTES < max(sizes) <= BACKGROUND_BYTES
    assert scene.got == [replica(3 * MEBIBYTE)]


def test_a_replica_waits_while_others_are_under_way_and_leaves_their_window_alone():
    scene = Scene()
    scene.send(activation(MEBIBYTE))
    scene.send(replica(1, version=1))
    scene.send(replica(4 * MEBIBYTE, version=2))
    assert scene.kinds() == [(OPEN, 1, 0)]
    scene.receive()
    scene.acknowledge()
    assert scene.kinds() == [(OPEN, 2, 0), (OPEN, 3, 0), (PIECE, 3, 0)]
    window = scene.lane._credit.window
    scene.receive_all()
    assert scene.lane._credit.window == window


def test_a_link_that_is_never_idle_carries_a_replica_all_the_same():
    scene = Scene()
    scene.send(activation(MEBIBYTE))
    for number in range(1, 200):  # two are always under way
        scene.send(activation(MEBIBYTE, micro_batch=number))
        if number == 1:
            scene.send(replica(2 * BACKGROUND_PIECE_BYTES))
        scene.receive()
        scene.acknowledge()
    assert replica(2 * BACKGROUND_PIECE_BYTES) in scene.got
    turns = scene.got.index(replica(2 * BACKGROUND_PIECE_BYTES))
    assert 3 * OVERTAKING_BYTES // MEBIBYTE <= turns <= 3 * OVERTAKING_BYTES // MEBIBYTE + 4


def test_a_parcel_whose_first_message_finds_no_room_gets_the_number_after_the_one_that_overtakes_it():
    scene = Scene()
    scene.road.room = 0
    scene.send(replica(3))
    scene.send(activation(3))
    assert not scene.road.out
    scene.road.room = math.inf
    scene.lane.opened()
    assert scene.kinds() == [(OPEN, 1, 0), (OPEN, 2, 0)]
    scene.receive_all()
    assert scene.got == [activation(3), replica(3)]


@pytest.mark.parametrize("background", [True, False])
def test_a_half_sent_parcel_is_dropped_by_its_number_and_the_other_arrives(background):
    scene = Scene()
    scene.send(replica(4 * MEBIBYTE))
    scene.road.room = 2
    scene.send(activation(4 * MEBIBYTE))
    assert scene.kinds() == [(OPEN, 1, 0), (PIECE, 1, 0), (OPEN, 2, 0), (PIECE, 2, 0)]
    scene.lane.drop(lambda header: pieces.is_background(header) is background)
    scene.road.room = math.inf
    scene.lane.opened()
    scene.receive_all()
    assert scene.got == [activation(4 * MEBIBYTE) if background else replica(4 * MEBIBYTE)]
    assert scene.receiver.under_way == ()
    scene.send(replica(5, version=2))
    scene.send(activation(5, micro_batch=2))
    scene.receive_all()
    assert scene.got[1:] == [replica(5, version=2), activation(5, micro_batch=2)]


def test_a_dropped_parcel_of_which_nothing_was_sent_leaves_no_trace():
    scene = Scene()
    scene.road.room = 0
    scene.send(replica(3))
    scene.send(activation(3))
    scene.lane.drop(lambda _header: True)
    scene.road.room = math.inf
    scene.lane.opened()
    assert not scene.road.out
    assert scene.lane.queued_bytes == 0
    scene.send(activation(3))
    assert scene.kinds() == [(OPEN, 1, 0)]


def test_parcels_that_have_not_begun_to_travel_can_be_given_up_alone():
    scene = Scene()
    for version in range(4):
        scene.send(replica(MEBIBYTE, version=version))
    scene.receive()
    scene.lane.drop(lambda header: header.version < 3, begun=False)
    assert DROP not in [kind for kind, _, _ in scene.kinds()]
    scene.receive_all()
    assert [header.version for header in scene.got] == [0, 3]


def test_giving_up_thousands_of_queued_parcels_asks_once_for_each():
    scene = Scene()
    for version in range(3000):
        scene.send(replica(MEBIBYTE, version=version))
    asked = []
    scene.lane.drop(lambda header: asked.append(header.version) or True, begun=False)
    assert asked == list(range(1, 3000))


def test_a_connection_that_breaks_loses_what_is_half_sent_and_waits_of_both_classes():
    scene = Scene()
    scene.send(replica(3, version=0))
    scene.receive()
    scene.send(replica(4 * MEBIBYTE, version=1))
    scene.road.room = 3
    waiting = [activation(1, micro_batch=4), replica(1, version=5)]
    for header in (activation(3, micro_batch=2), activation(4 * MEBIBYTE, micro_batch=3), *waiting):
        scene.send(header)
    assert scene.kinds()[-3:] == [(OPEN, 3, 0), (OPEN, 4, 0), (PIECE, 4, 0)]
    scene.road.room = math.inf
    scene.break_connection()
    assert sorted(map(number_of, scene.lost)) == [0, 1, 2, 3, 4, 5]
    assert scene.lost[-2:] == waiting
    assert scene.lane.queued_bytes == 0
    scene.send(replica(7, version=6))
    scene.receive_all()
    assert scene.got[1:] == [replica(7, version=6)]


def test_without_a_connection_parcels_of_either_class_have_one_made_and_wait_for_it():
    scene = Scene()
    scene.road.up = False
    scene.send(replica(3))
    assert scene.road.wanted
    scene.road.wanted = False
    assert not scene.lane.lost(Outcome.UNREACHABLE)
    assert scene.road.wanted
    assert not scene.lost
    scene.road.up = True
    scene.lane.opened()
    scene.receive_all()
    assert scene.got == [replica(3)]


def test_a_peer_that_is_never_reached_loses_both_classes(monkeypatch):
    monkeypatch.setattr(bulk, "WAIT_SECONDS", 0.0)
    scene = Scene()
    scene.road.up = False
    scene.send(replica(3))
    scene.send(activation(3))
    began = time.monotonic()
    while time.monotonic() == began:
        pass
    assert scene.lane.lost(Outcome.UNREACHABLE)
    assert scene.lost == [activation(3), replica(3)]


@pytest.mark.parametrize("kept", [False, True])
def test_what_was_dropped_leaves_the_next_parcel_its_patience(monkeypatch, kept):
    now = [0.0]
    monkeypatch.setattr(bulk, "time", SimpleNamespace(monotonic=lambda: now[0]))
    scene = Scene()
    scene.road.up = False
    scene.send(activation(5))
    if kept:
        scene.send(replica(5))
    scene.lane.drop(lambda header: not pieces.is_background(header))
    assert not scene.lane.lost(Outcome.UNREACHABLE)
    now[0] = bulk.WAIT_SECONDS + 1.0
    scene.send(activation(5, micro_batch=1))
    assert scene.lane.lost(Outcome.UNREACHABLE) is kept, "only what has waited since is given up, with all behind it"
    assert scene.lost == ([activation(5, micro_batch=1), replica(5)] if kept else [])


SIZES = st.sampled_from([0, 3, BACKGROUND_PIECE_BYTES, BACKGROUND_PIECE_BYTES + 1, PIECE_BYTES + 1, 3 * MEBIBYTE])
ACTIONS = st.one_of(
    st.tuples(st.just("send"), st.booleans(), SIZES),
    st.tuples(st.sampled_from(["receive", "receive and say so"]), st.integers(1, 5)),
    st.tuples(st.just("room"), st.sampled_from([0, 1, 2, math.inf])),
    st.tuples(st.just("drop"), st.integers(2, 3), st.booleans()),
    st.just(("break",)),
)


class Judged(Scene):
    """Does one action after another, and remembers what should become of each parcel."""

    def __init__(self):
        super().__init__()
        self.count = 0
        self.sent = []
        self.dropped = set()
        self.kept = set()

    def act(self, action):
        match action:
            case ("send", background, size):
                header = replica(size, version=self.count) if background else activation(size, micro_batch=self.count)
                self.count += 1
                self.sent.append(header)
                self.send(header)
            case ("receive", messages):
                self.receive(messages)
            case ("receive and say so", messages):
                self.receive(messages)
                self.acknowledge()
            case ("room", room):
                self.road.room = room
                self.lane.opened()
            case ("drop", divisor, begun):
                self.dropped |= {n for n in map(number_of, self.sent) if n % divisor == 0}
                self.lane.drop(lambda header: number_of(header) % divisor == 0, begun=begun)
            case _:
                self.break_connection()
        credit = self.lane._credit
        assert credit.outstanding <= max(LARGEST_BYTES, PIECE_BYTES)
        assert len(self.receiver.under_way) <= 2
        assert len(set(map(pieces.is_background, self.receiver.under_way))) == len(self.receiver.under_way)


@given(st.lists(ACTIONS, max_size=40))
@settings(max_examples=150)
def test_every_parcel_arrives_whole_and_once_and_in_its_class_in_order_or_is_known_not_to(actions):
    scene = Judged()
    for action in actions:
        scene.act(action)
    scene.road.room = math.inf
    scene.lane.opened()
    scene.receive_all()
    got = list(map(number_of, scene.got))
    assert len(set(got)) == len(got)
    for background in (True, False):
        numbers = [number_of(header) for header in scene.got if pieces.is_background(header) is background]
        assert numbers == sorted(numbers)
    lost = set(map(number_of, scene.lost))
    assert set(got) | lost | scene.dropped == set(range(scene.count))
    assert scene.receiver.under_way == ()
    assert scene.lane.queued_bytes == 0
    assert not scene.lane._unacknowledged
