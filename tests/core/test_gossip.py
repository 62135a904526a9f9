"""News: everything is told its number of times, fresh news first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edged.core.gossip import News, transmissions
from tests.core.records import member, node_id


@pytest.mark.parametrize(("members", "times"), [(1, 2), (2, 2), (5, 4), (10, 5), (1000, 13)])
def test_sendings_grow_with_the_logarithm_of_the_members(members: int, times: int) -> None:
    assert transmissions(members, 4.0) == times


def test_fresh_news_goes_before_what_was_told_already() -> None:
    news = News()
    news.add(member(1), 3)
    assert news.take(1) == (member(1),)
    news.add(member(2), 3)
    assert news.take(1) == (member(2),)


def test_a_newer_record_replaces_the_older_and_is_told_anew() -> None:
    news = News()
    news.add(member(1), 1)
    news.add(member(1, incarnation=5), 2)
    assert [news.take(8), news.take(8), news.take(8)] == [(member(1, incarnation=5),)] * 2 + [()]


def test_dropped_news_is_not_told() -> None:
    news = News()
    news.add(member(1), 3)
    news.drop(node_id(1))
    assert not news
    assert news.take(8) == ()


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), max_size=20), st.integers(1, 4), st.integers(1, 3))
def test_each_piece_is_told_as_often_as_asked(adds: list[tuple[int, int]], most: int, copies: int) -> None:
    news = News()
    for number, times in adds:
        news.add(member(number), times)
        news.check()
    wanted = dict(adds)
    told: dict[int, int] = {}
    while news:
        for record in news.take(most, copies):
            number = int(record.node, 16)
            told[number] = told.get(number, 0) + copies
        news.check()
    assert {n: -(-times // copies) * copies for n, times in wanted.items()} == told
