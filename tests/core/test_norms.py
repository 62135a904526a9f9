"""Everyone learns everyone's norms, whatever is lost."""

from __future__ import annotations

import pytest

from edged.core.effects import SendMessage
from edged.core.messages import GradientNorms
from edged.core.norms import NormExchange, Verdict
from edged.errors import BrokenInvariantError
from tests.core.miniature import STAMP, node

NODES = (node(0), node(1), node(2))


def told(version: int, *norms: tuple[int, float], again: bool = False, skip: bool = False) -> GradientNorms:
    return GradientNorms(STAMP, version, norms, again=again, skip=skip)


def say(*norms: tuple[int, float], skip: bool = False) -> Verdict:
    return Verdict(norms, skip)


def test_alone_there_is_nothing_to_wait_for():
    exchange = NormExchange(STAMP, node(0), (node(0),))
    assert exchange.tell(1, say((1, 3.0), (0, 2.0)), 0.0) == []
    assert exchange.joined() == say((0, 2.0), (1, 3.0))
    assert exchange.deadline() is None


def test_norms_are_joined_in_the_programs_order_once_all_are_here():
    exchange = NormExchange(STAMP, node(1), NODES)
    assert exchange.tell(1, say((2, 3.0)), 0.0) == [
        SendMessage(node(0), told(1, (2, 3.0))),
        SendMessage(node(2), told(1, (2, 3.0))),
    ]
    exchange.receive(node(2), told(1, (0, 1.0), (7, 1.5)), 1)
    assert exchange.joined() is None
    exchange.receive(node(0), told(1, (1, 2.0)), 1)
    assert exchange.joined() == say((0, 1.0), (1, 2.0), (2, 3.0), (7, 1.5))
    assert exchange.joined() is None


def test_norms_that_come_early_count():
    exchange = NormExchange(STAMP, node(0), NODES[:2])
    exchange.receive(node(1), told(1, (1, 2.0)), 1)
    exchange.receive(node(1), told(2, (1, 4.0)), 1)
    exchange.tell(1, say(), 0.0)
    assert exchange.joined() == say((1, 2.0))
    exchange.tell(2, say(), 0.0)
    assert exchange.joined() == say((1, 4.0))


def test_only_those_who_are_missing_are_asked_again_and_they_answer_even_when_they_are_one_step_ahead():
    slow, fast = NormExchange(STAMP, node(0), NODES), NormExchange(STAMP, node(1), NODES)
    slow.tell(1, say((0, 1.0)), 0.0)
    slow.receive(node(2), told(1), 1)
    assert slow.deadline() == 0.5
    assert slow.remind(0.4) == []
    assert slow.remind(0.5) == [SendMessage(node(1), told(1, (0, 1.0), again=True))]
    fast.tell(1, say((1, 1.0)), 0.0)
    fast.tell(2, say((1, 9.0)), 0.0)
    (answer,) = fast.receive(node(0), told(1, (0, 1.0), again=True), 2)
    assert answer == SendMessage(node(0), told(1, (1, 1.0)))
    assert slow.receive(node(1), told(1, (1, 1.0)), 1) == []
    assert slow.joined() == say((0, 1.0), (1, 1.0))


def test_who_is_asked_too_early_stays_silent():
    exchange = NormExchange(STAMP, node(0), NODES)
    assert exchange.receive(node(1), told(1, again=True), 1) == []


def test_norms_from_outside_the_plan_or_of_another_step_do_not_count():
    exchange = NormExchange(STAMP, node(0), NODES[:2])
    exchange.tell(3, say(), 0.0)
    assert exchange.receive(node(2), told(3, again=True), 3) == []
    exchange.receive(node(1), told(2), 3)
    exchange.receive(node(1), told(9), 3)
    assert exchange.joined() is None


def test_two_norms_for_one_parameter_are_our_own_fault():
    exchange = NormExchange(STAMP, node(0), NODES[:2])
    exchange.receive(node(1), told(1, (5, 1.0)), 1)
    exchange.tell(1, say((5, 1.0)), 0.0)
    with pytest.raises(BrokenInvariantError, match="two nodes sent a norm"):
        exchange.joined()


def test_one_node_that_wants_to_skip_is_enough():
    exchange = NormExchange(STAMP, node(0), NODES)
    exchange.tell(1, say(), 0.0)
    exchange.receive(node(1), told(1, skip=True), 1)
    exchange.receive(node(2), told(1), 1)
    assert exchange.joined() == say(skip=True)
    assert exchange.tell(2, say(skip=True), 1.0) == [SendMessage(other, told(2, skip=True)) for other in NODES[1:]]
