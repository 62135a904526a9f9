"""Which two nodes are kept apart, from when, until when."""

import pytest

from edged.core.effects import Log
from edged.core.events import MemberChanged, MessageReceived, TimerFired
from edged.core.links import BREAK_SECONDS, LAPSE_SECONDS, REST_SECONDS, Links, pair_of
from edged.core.messages import MemberState, Unreachable
from tests.core.job_sample import A, B, C, member


@pytest.fixture
def links():
    made = Links({node: member(node) for node in (A, B, C)})
    yield made
    made.check()


def say(links, sender, *nodes, now=0.0):
    return [e.text for e in links.handle(MessageReceived(sender, Unreachable(nodes)), now) if isinstance(e, Log)]


def test_who_cannot_be_reached_is_kept_apart_from_who_says_so(links):
    assert say(links, B, A) == ["pi-a and pi-b cannot reach each other: they are kept apart"]
    assert links.apart(A, B)
    assert links.apart(B, A)
    assert not links.apart(A, C)
    assert say(links, B, A, now=1.0) == []
    assert say(links, B, now=2.0) == ["pi-a and pi-b may work together again"]
    assert not links.pairs
    assert links.deadline() is None


def test_one_of_two_who_say_so_is_enough(links):
    say(links, A, B)
    say(links, B, A)
    say(links, A, now=1.0)
    assert links.apart(A, B)
    say(links, B, now=1.0)
    assert not links.apart(A, B)


def test_a_word_that_is_not_repeated_lapses(links):
    say(links, A, B)
    assert links.deadline() == LAPSE_SECONDS
    links.handle(TimerFired(), LAPSE_SECONDS)
    assert not links.pairs


@pytest.mark.parametrize("gone", [A, B])
def test_the_dead_are_forgotten(links, gone):
    say(links, A, B)
    links.broke(A, B, 0.0)
    links.broke(B, A, 1.0)
    links.handle(MemberChanged(member(gone, MemberState.DEAD), MemberState.ALIVE, ""), 2.0)
    assert not links.pairs
    links.broke(A, B, 3.0)
    assert not links.pairs


def test_a_connection_that_breaks_twice_rests(links):
    links.broke(A, B, 0.0)
    assert not links.pairs
    (log,) = links.broke(B, A, 30.0)
    assert log.level == "warning"
    assert links.pairs == {pair_of(A, B)}
    assert links.deadline() == 30.0 + REST_SECONDS
    links.handle(TimerFired(), 30.0 + REST_SECONDS)
    assert not links.pairs


def test_a_rest_ends_at_once_where_nothing_is_possible_without_it(links):
    links.broke(A, B, 0.0)
    links.broke(A, B, 1.0)
    say(links, A, C, now=1.0)
    (log,) = links.retry(2.0)
    assert log.text == "pi-a and pi-b may work together again"
    assert links.pairs == {pair_of(A, C)}


def test_connections_that_seldom_break_are_used(links):
    for n in range(20):
        links.broke(A, B, n * BREAK_SECONDS)
    assert not links.pairs


def test_who_reach_each_other_again_need_no_rest(links):
    say(links, A, B)
    links.broke(A, B, 1.0)
    links.broke(A, B, 2.0)
    say(links, A, now=3.0)
    assert not links.pairs
    links.broke(A, B, 4.0)
    assert not links.pairs
