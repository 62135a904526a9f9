"""Versions that two plans have computed are told apart, and never mixed."""

from __future__ import annotations

from dataclasses import replace

from edged.core.holdings import Entry, Holdings
from edged.core.inventory import newest_complete
from edged.core.messages import Holding, HoldingKind, Inventory
from edged.core.origins import UNKNOWN, is_stale, of_one_origin, origin_at, origin_under
from tests.core.job_sample import A, B, C, plan, stamp

OLD, NEW = (1, 1), (1, 2)
SECOND = replace(plan(stamp(version=2), (A, B)), start=3, origin=OLD)


def inventory(*holdings: tuple[int, int, int, tuple[int, int]]) -> Inventory:
    return Inventory(
        stamp(), tuple(Holding(f, l, v, HoldingKind.SNAPSHOT, origin) for f, l, v, origin in holdings), True, True
    )


def entry(version: int) -> Entry:
    return Entry(HoldingKind.SNAPSHOT, stamp(version=version), 0.1, 100)


def test_what_a_plan_begins_with_keeps_its_origin():
    assert origin_under(SECOND, stamp(version=2), 3) == OLD
    assert origin_under(SECOND, stamp(version=2), 4) == NEW
    assert origin_under(SECOND, stamp(version=1), 4) == OLD


def test_a_plan_makes_versions_above_its_beginning_anew():
    assert [is_stale(SECOND, OLD, v) for v in (2, 3, 4)] == [False, False, True]
    assert not is_stale(SECOND, NEW, 4)
    assert is_stale(SECOND, (1, 0), 3)
    assert not is_stale(SECOND, UNKNOWN, 9)


def test_pieces_of_two_origins_do_not_make_a_version():
    there = {A: inventory((0, 1, 8, OLD), (0, 1, 4, OLD)), B: inventory((2, 3, 8, NEW), (2, 3, 4, OLD))}
    assert newest_complete(4, there) == 8
    assert newest_complete(4, of_one_origin(there)) == 4
    assert origin_at(of_one_origin(there), 4) == OLD


def test_of_two_origins_the_one_that_covers_more_stays_and_of_equals_the_newer():
    more = {A: inventory((0, 3, 8, OLD)), B: inventory((2, 3, 8, NEW))}
    assert origin_at(of_one_origin(more), 8) == OLD
    equal = {A: inventory((0, 3, 8, OLD)), B: inventory((0, 3, 8, NEW))}
    assert of_one_origin(equal)[A].holdings == ()
    assert origin_at(of_one_origin(equal), 8) == NEW


def test_what_is_written_to_a_disk_keeps_its_origin_and_takes_the_place_of_another():
    holdings = Holdings()
    holdings.begin(replace(SECOND, stamp=stamp(version=1), start=0, origin=UNKNOWN))
    holdings.keep((0, 1, 4), entry(version=1))
    assert holdings.store(4)
    holdings.disk.written(4, "")
    holdings.begin(SECOND)
    assert (0, 1, 4) not in holdings.disk.sure(), "the newer plan makes version 4 anew"
    holdings.disk.found([Holding(0, 1, 4, HoldingKind.DISK, OLD)])  # as after a restart
    holdings.keep((0, 1, 4), entry(version=2))
    assert holdings.origin(4) == NEW
    assert holdings.store(4), "what lies there is of another plan"
    holdings.disk.written(4, "")
    assert holdings.disk.sure() == {(0, 1, 4): NEW}
    assert not holdings.store(4)


def test_a_version_that_is_written_while_the_same_number_of_another_plan_is_under_way_comes_after_it():
    holdings = Holdings()
    holdings.begin(replace(SECOND, stamp=stamp(version=1), start=0, origin=UNKNOWN))
    holdings.keep((0, 1, 4), entry(version=1))
    assert holdings.store(4)
    assert holdings.begin(SECOND) == (4,)
    holdings.keep((0, 1, 4), entry(version=2))
    assert not holdings.store(4)
    assert holdings.disk.written(4, ""), "once more"
    assert holdings.disk.sure() == {}, "and it takes the place of what is there"
    assert not holdings.disk.written(4, "")
    assert holdings.disk.sure() == {(0, 1, 4): NEW}


def test_what_another_plan_has_computed_of_the_beginning_itself_counts_no_more():
    holdings = Holdings()
    for version, origin in ((2, OLD), (3, (1, 0)), (4, OLD)):
        holdings.disk.found([Holding(0, 1, version, HoldingKind.DISK, origin)])
    holdings.begin(SECOND)
    assert set(holdings.disk.sure()) == {(0, 1, 2)}


def test_what_was_read_from_a_disk_without_origin_goes_with_any_other():
    there = {A: inventory((0, 1, 8, UNKNOWN)), B: inventory((2, 3, 8, NEW)), C: inventory((0, 0, 8, OLD))}
    assert newest_complete(4, of_one_origin(there)) == 8
    assert origin_at(of_one_origin(there), 8) == NEW
    assert of_one_origin(there)[C].holdings == ()


def test_a_node_lets_go_of_what_the_newest_plan_makes_anew_and_of_what_is_copied_too_late():
    held = Holdings()
    assert held.begin(plan(stamp(version=1), (A, B))) == ()
    for version in (3, 4, 5):
        assert held.keep((0, 1, version), entry(1)) == ()
    assert held.begin(SECOND) == (4, 5)
    assert held.keep((0, 1, 6), entry(1)) == (6,)
    assert held.keep((0, 1, 3), entry(2)) == ()
    assert held.keep((0, 1, 4), entry(2)) == ()
    assert held.begin(SECOND) == ()
    origins = {each.version: each.origin for each in held.listed()}
    assert origins == {3: OLD, 4: NEW}
    held.check()
