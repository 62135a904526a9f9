"""Memory is given out again only when nobody can see it any more."""

import ctypes

import psutil
import pytest
import torch

from edged.transport.buffers import ALIGNMENT, KEPT_BYTES, SMALLEST_KEPT_BYTES, TRIES, Rooms, aligned, copied

MEBIBYTE = 1 << 20


def address_of(view):
    return ctypes.addressof(ctypes.c_char.from_buffer(view))


@pytest.mark.parametrize("aligned", [aligned, Rooms().aligned], ids=["fresh", "rooms"])
@pytest.mark.parametrize("size", [0, 1, 63, 64, 65, MEBIBYTE, KEPT_BYTES, KEPT_BYTES + 1])
def test_memory_is_aligned_zero_and_of_the_size_asked_for(aligned, size):
    view = aligned(size)
    assert (view.nbytes, view.format, view.readonly) == (size, "B", False)
    assert bytes(view) == bytes(size)
    if size:
        assert address_of(view) % ALIGNMENT == 0


@pytest.mark.parametrize("size", [0, 5, MEBIBYTE])
def test_a_copy_is_equal_and_apart(size):
    source = bytearray(b"x" * size)
    copy = copied(memoryview(source))
    source[:1] = b"y"[:size]
    assert bytes(copy) == b"x" * size


def test_large_memory_is_taken_as_it_is_used_and_lives_as_long_as_what_is_made_from_it():
    before = psutil.Process().memory_info().rss
    view = aligned(1 << 30)
    assert psutil.Process().memory_info().rss - before < 64 << 20
    tensor = torch.frombuffer(view, dtype=torch.float32)
    del view
    tensor[-1] = 1.0
    assert tensor[-1] == 1.0


def test_memory_that_nothing_refers_to_is_given_out_again():
    rooms = Rooms()
    first = address_of(rooms.aligned(MEBIBYTE))
    assert address_of(rooms.aligned(MEBIBYTE)) == first


@pytest.mark.parametrize(
    "keep",
    [
        lambda view: view,
        lambda view: view[5:6],
        lambda view: view.cast("d"),
        lambda view: torch.frombuffer(view, dtype=torch.float32),
        lambda view: torch.frombuffer(view, dtype=torch.uint8)[100:].view(torch.int32).as_strided((2,), (7,)),
        lambda view: torch.frombuffer(view, dtype=torch.float32).detach().numpy()[3:].data,
        lambda view: torch.nn.Parameter(torch.frombuffer(view, dtype=torch.float32)).untyped_storage(),
    ],
    ids=["view", "slice", "cast", "tensor", "tensor of a tensor", "array", "storage"],
)
def test_whatever_is_made_from_a_view_keeps_its_memory(keep):
    rooms = Rooms()
    view = rooms.aligned(MEBIBYTE)
    address = address_of(view)
    kept = keep(view)
    del view
    others = [rooms.aligned(MEBIBYTE) for _ in range(2 * TRIES)]
    assert address not in map(address_of, others)
    del kept, others
    assert address in [address_of(rooms.aligned(MEBIBYTE)) for _ in range(2 * TRIES + 1)]


def test_memory_in_use_does_not_hide_memory_that_is_free():
    rooms = Rooms()
    lasting = [rooms.aligned(MEBIBYTE) for _ in range(TRIES - 1)]
    first = address_of(rooms.aligned(MEBIBYTE))
    assert {address_of(rooms.aligned(MEBIBYTE)) for _ in range(100)} == {first}
    assert len(set(map(address_of, lasting))) == TRIES - 1


def test_what_is_kept_is_bounded_and_the_size_not_seen_for_longest_goes_first():
    rooms = Rooms()
    sizes = [SMALLEST_KEPT_BYTES, MEBIBYTE, KEPT_BYTES // 2, MEBIBYTE + 1]
    held = []
    for number in range(200):
        size = sizes[number % len(sizes)]
        held = [*held[-20:], rooms.aligned(size)]
        known = [size for size, kept in rooms._kept.items() for _ in kept]
        assert sum(known) == rooms._bytes <= KEPT_BYTES
        assert size in known
    for _ in range(100):
        held = [*held[-20:], rooms.aligned(2 * MEBIBYTE)]
    assert set(rooms._kept) == {2 * MEBIBYTE}


@pytest.mark.parametrize("size", [0, 1, SMALLEST_KEPT_BYTES - 1, KEPT_BYTES + 1])
def test_what_is_very_small_or_very_large_is_not_kept(size):
    rooms = Rooms()
    rooms.aligned(size)
    assert not rooms._kept
