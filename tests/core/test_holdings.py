"""What is held of a job, and what goes when there is too much."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.holdings import OTHERS_KEPT, Entry, Holdings
from edged.core.messages import Holding, HoldingKind
from tests.core.job_sample import stamp


def entry(kind=HoldingKind.SNAPSHOT, of=None):
    return Entry(kind, of or stamp(), 0.1, 100)


def keep(holdings, *versions, of=None):
    gone = [version for v in versions for version in holdings.keep((0, 1, v), entry(of=of))]
    holdings.check()
    return gone


def test_the_oldest_that_is_not_committed_goes_when_there_are_too_many():
    holdings = Holdings()
    assert keep(holdings, 0, 4, 8) == []
    assert keep(holdings, 12) == [0]
    assert holdings.versions() == {4, 8, 12}


def test_what_is_older_than_the_newest_two_committed_goes_with_a_commit():
    holdings = Holdings()
    keep(holdings, 0, 4, 8)
    assert holdings.commit(4) == ()
    assert holdings.commit(8) == (0,)
    assert keep(holdings, 12, 16, 20) == []
    assert keep(holdings, 24) == [12]
    assert holdings.versions() == {4, 8, 16, 20, 24}
    assert holdings.commit(24) == (4,)


def test_what_may_be_committed_yet_does_not_go_for_something_newer():
    holdings = Holdings()
    holdings.plan = stamp()
    assert keep(holdings, 0, 4, 8) == []
    assert keep(holdings, 12, 16) == [12, 16]
    holdings.every = 8
    assert keep(holdings, 24) == [4]
    assert holdings.commit(8) == ()
    assert keep(holdings, 32, 40) == [0]
    assert holdings.versions() == {8, 24, 32, 40}


def test_what_may_be_committed_yet_does_not_go_for_an_older_version_that_comes_late():
    """The leader was told of 7, 8 and 10, and of 9 never: a copy of 9 was long on its way."""
    holdings = Holdings()
    holdings.plan = stamp()
    assert keep(holdings, 7, 8, 10) == []
    assert holdings.keep((2, 2, 9), entry(HoldingKind.REPLICA)) == (9,)
    assert holdings.versions() == {7, 8, 10}


def test_what_an_older_plan_had_is_told_anew_and_the_latest_to_come():
    holdings = Holdings()
    keep(holdings, 8)
    holdings.follow(stamp(version=2))
    assert keep(holdings, 0, 7, of=stamp(version=2)) == []
    assert keep(holdings, 8, of=stamp(version=2)) == []
    assert keep(holdings, 9, of=stamp(version=2)) == [9]
    assert keep(holdings, 6, of=stamp(version=2)) == [6]


@pytest.mark.parametrize("known", [True, False])
def test_the_version_that_a_plan_begins_with_may_be_committed_whatever_the_interval(known):
    holdings = Holdings()
    holdings.follow(stamp())
    holdings.start = 10 if known else None
    holdings.every = 2
    assert keep(holdings, 10, 12, 14) == []
    holdings.every = 4
    assert keep(holdings, 16) == [14]
    assert holdings.versions() == {10, 12, 16}


def test_what_was_reached_under_the_newest_plan_goes_last_but_when_that_is_replaced():
    holdings = Holdings()
    holdings.plan = stamp()
    keep(holdings, 0, 4, 8)
    holdings.plan = stamp(version=2)
    assert keep(holdings, 9) == [0], "the state that a halt has copied stays"


def test_versions_that_an_older_plan_had_reached_go_before_those_of_the_newest():
    holdings = Holdings()
    keep(holdings, 32, 48, 64)
    assert keep(holdings, 16, of=stamp(version=2)) == [32]
    assert keep(holdings, 32, of=stamp(version=2)) == [48]
    assert holdings.versions() == {16, 32, 64}


def test_a_commit_below_another_means_that_the_job_was_rolled_back_behind_that():
    holdings = Holdings()
    keep(holdings, 16, 32)
    holdings.commit(16)
    holdings.commit(32)
    assert holdings.commit(24) == ()
    assert holdings.committed == (16, 24)
    assert holdings.versions() == {16, 32}


def test_a_piece_covers_every_part_of_it_but_two_do_not_cover_what_lies_across():
    holdings = Holdings()
    holdings.keep((0, 2, 4), entry())
    holdings.keep((3, 5, 4), entry())
    assert holdings.covers(1, 2, 4)
    assert not holdings.covers(2, 3, 4)
    assert not holdings.covers(1, 2, 8)
    assert not holdings.wants(0, 1, 4)
    assert holdings.wants(2, 3, 4)


def test_what_is_older_than_what_stays_is_not_wanted():
    holdings = Holdings()
    holdings.commit(8)
    assert holdings.wants(0, 1, 4)
    holdings.commit(16)
    assert not holdings.wants(0, 1, 4)
    assert holdings.wants(0, 1, 8)


def test_the_quickest_kind_of_a_piece_that_came_twice_counts():
    holdings = Holdings()
    for kind in (HoldingKind.REPLICA, HoldingKind.SNAPSHOT, HoldingKind.DISK):
        holdings.keep((0, 1, 4), entry(kind))
    assert holdings.listed() == (Holding(0, 1, 4, HoldingKind.SNAPSHOT),)
    holdings.keep((0, 3, 4), entry(HoldingKind.REPLICA))
    assert holdings.covering(0, 1)[4].kind is HoldingKind.SNAPSHOT


def test_a_version_is_stored_once_and_again_when_more_of_it_has_come():
    holdings = Holdings()
    assert not holdings.store(4)
    keep(holdings, 4)
    assert holdings.store(4)
    assert not holdings.store(4)
    holdings.keep((2, 3, 4), entry(HoldingKind.REPLICA))
    assert not holdings.store(4), "one write of a version at a time"
    assert holdings.disk.written(4, ""), "once more"
    holdings.keep((4, 4, 4), entry(HoldingKind.REPLICA))
    holdings.disk.written(4, "")
    assert holdings.store(4)


def test_what_is_within_a_larger_piece_is_not_written_besides():
    holdings = Holdings()
    for piece in [(0, 0, 4), (1, 1, 4), (0, 1, 4), (2, 2, 4), (1, 1, 3)]:
        holdings.keep(piece, entry())
    assert holdings.store(4)
    holdings.disk.written(4, "")
    assert set(holdings.disk.sure()) == {(0, 1, 4), (2, 2, 4)}


def test_what_was_taken_under_the_newest_plan_counts_before_a_larger_piece_of_an_older():
    holdings = Holdings()
    holdings.keep((0, 3, 4), entry(of=stamp()))
    holdings.keep((0, 1, 4), entry(HoldingKind.REPLICA, stamp(version=2)))
    assert holdings.covering(0, 1) == {4: entry(HoldingKind.REPLICA, stamp(version=2))}
    assert holdings.covering(2, 3) == {4: entry(of=stamp())}


def test_what_lay_on_disk_is_held_and_need_not_be_stored():
    holdings = Holdings()
    found = tuple(Holding(0, 1, version, HoldingKind.DISK) for version in (4, 8))
    holdings.disk.found(found)
    assert holdings.listed() == found
    assert keep(holdings, 8) == []
    assert not holdings.store(8)
    assert holdings.listed() == (found[0], Holding(0, 1, 8, HoldingKind.SNAPSHOT))


def test_what_memory_lets_go_is_held_as_long_as_it_lies_on_disk():
    holdings = Holdings()
    keep(holdings, 4)
    assert holdings.store(4)
    holdings.disk.written(4, "")
    holdings.commit(8)
    assert holdings.commit(12) == (4,)
    assert holdings.covers(0, 1, 4)
    assert not holdings.wants(0, 1, 4)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.integers(1, 3)), max_size=60))
def test_the_bounds_hold_whatever_comes(moves):
    holdings = Holdings()
    for commits, version, plan in moves:
        before = holdings.versions() | (set() if commits else {version})
        gone = holdings.commit(version) if commits else holdings.keep((0, 1, version), entry(of=stamp(version=plan)))
        holdings.check()
        assert holdings.versions() == before - set(gone)
        assert len(holdings.versions()) <= 2 + OTHERS_KEPT


@pytest.mark.parametrize("version", [0, 16])
def test_the_version_that_a_plan_begins_with_outlives_what_the_one_before_had_reached(version):
    holdings = Holdings()
    keep(holdings, 32, 48, 64)
    keep(holdings, version, of=stamp(version=2))
    assert version in holdings.versions()
