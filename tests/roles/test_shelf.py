"""State waits on the shelf until it is wanted, and no longer."""

from edged.core.ids import JobId, Stamp
from edged.core.messages import StateParcel
from edged.roles.shelf import Shelf

STAMP = Stamp(JobId("a"), 1, 1)


def parcel(first: int, last: int, version: int) -> StateParcel:
    return StateParcel(STAMP, first, last, version, (), b"", replica=False)


def put(shelf: Shelf, *headers: StateParcel) -> None:
    for header in headers:
        shelf.put(header, [memoryview(b"x")])


def test_state_for_stages_is_given_once_by_version_in_the_order_of_layers() -> None:
    shelf = Shelf()
    put(shelf, parcel(2, 3, 0), parcel(0, 1, 0), parcel(0, 1, 5), parcel(0, 1, 0))
    assert [header.first_layer for header, _ in shelf.take(STAMP, 0)] == [0, 2]
    assert shelf.take(STAMP, 0) == ()
    assert [header.version for header, _ in shelf.take(STAMP, 5)] == [5]


def test_several_weights_are_written_of_the_same_state() -> None:
    shelf = Shelf()
    put(shelf, parcel(2, 3, 4), parcel(0, 1, 4))
    for _ in range(2):
        assert [header.first_layer for header, _ in shelf.read(STAMP, 4)] == [0, 2]


def test_an_export_beside_the_result_loses_nothing() -> None:
    shelf = Shelf()
    put(shelf, parcel(0, 1, 9), parcel(0, 1, 10), parcel(2, 3, 10))
    assert len(shelf.read(STAMP, 10)) == 2
    put(shelf, parcel(2, 3, 9))
    assert len(shelf.read(STAMP, 9)) == 2
    assert len(shelf.read(STAMP, 10)) == 2


def test_what_was_written_goes_when_a_later_version_comes() -> None:
    shelf = Shelf()
    put(shelf, parcel(0, 1, 4))
    shelf.read(STAMP, 4)
    put(shelf, parcel(0, 1, 6))
    assert shelf.read(STAMP, 4) == ()


def test_versions_that_were_given_up_do_not_heap_up() -> None:
    shelf = Shelf()
    for version in range(1, 20):
        put(shelf, parcel(0, 1, version))
    assert [version for version in range(20) if shelf.read(STAMP, version)] == [18, 19]


def test_what_comes_last_stays_however_old_its_version_is() -> None:
    shelf = Shelf()
    put(shelf, *(parcel(0, 1, version) for version in (20, 21, 4)), parcel(2, 3, 21), parcel(2, 3, 4))
    put(shelf, parcel(0, 1, 23))
    assert [version for version in range(30) if shelf.read(STAMP, version)] == [4, 23]


def test_the_end_of_a_plan_clears_its_state() -> None:
    shelf = Shelf()
    put(shelf, parcel(0, 1, 0), parcel(0, 1, 3))
    shelf.read(STAMP, 3)
    shelf.drop(STAMP)
    shelf.drop(STAMP)
    assert shelf.take(STAMP, 0) == shelf.read(STAMP, 3) == ()
