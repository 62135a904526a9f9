"""State waits on the shelf until it is wanted."""

from edged.core.ids import JobId, Stamp
from edged.core.messages import StateParcel
from edged.roles.shelf import Shelf

STAMP = Stamp(JobId("a"), 1, 1)


def parcel(first: int, last: int, version: int) -> StateParcel:
    return StateParcel(STAMP, first, last, version, (), b"")


def test_state_is_given_once_by_version_in_the_order_of_layers() -> None:
    shelf = Shelf()
    for header in (parcel(2, 3, 0), parcel(0, 1, 0), parcel(0, 1, 5), parcel(0, 1, 0)):
        shelf.put(header, [memoryview(b"x")])
    assert [header.first_layer for header, _ in shelf.take(STAMP, 0)] == [0, 2]
    assert shelf.take(STAMP, 0) == ()
    assert [header.version for header, _ in shelf.take(STAMP, 5)] == [5]


def test_the_end_of_a_plan_clears_its_state() -> None:
    shelf = Shelf()
    shelf.put(parcel(0, 1, 0), [])
    shelf.drop(STAMP)
    shelf.drop(STAMP)
    assert shelf.take(STAMP, 0) == ()
