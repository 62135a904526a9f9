"""Expelling: the order reaches the leader, the mark wins over everything and spreads."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from edged.core.effects import Admit, Depart, Effect, Expel, Log, SendMessage, TellMember
from edged.core.events import ExpelAsked, LeaderChanged, MessageReceived, PeerMet, TimerFired
from edged.core.expelling import REPEAT_SECONDS, Expelling
from edged.core.membership import Membership, MembershipOptions
from edged.core.messages import Exchange, ExpelOrder, Gossip, MemberRecord, MemberState, Ping
from edged.core.roster import overrides
from tests.core.records import member, node_id

ME, LEADER, BAD = node_id(0), node_id(1), node_id(2)


def marked(record: MemberRecord) -> MemberRecord:
    return replace(record, state=MemberState.DEAD, proven=True, expelled=True)


class Orders:
    """Node 0 with a list of three."""

    def __init__(self, leader=LEADER) -> None:
        self.members = {node_id(i): member(i) for i in range(3)}
        self.machine = Expelling(ME, self.members)
        self.do(LeaderChanged(leader, 1), 0.0)

    def do(self, event, now: float) -> list[Effect]:
        effects = self.machine.handle(event, now)
        self.machine.check()
        return effects


def test_an_order_goes_to_the_leader_until_the_mark_is_seen() -> None:
    orders = Orders()
    assert orders.do(ExpelAsked(BAD), 0.0) == [SendMessage(LEADER, ExpelOrder(BAD))]
    assert orders.do(TimerFired(), 0.5) == []
    assert orders.machine.deadline() == REPEAT_SECONDS
    assert orders.do(TimerFired(), 1.0) == [SendMessage(LEADER, ExpelOrder(BAD))]
    orders.members[BAD] = marked(orders.members[BAD])
    assert orders.do(TimerFired(), 2.0) == []
    assert orders.machine.deadline() is None


def test_without_a_leader_the_order_waits_for_one() -> None:
    orders = Orders(leader=None)
    assert orders.do(ExpelAsked(BAD), 0.0) == []
    assert orders.do(LeaderChanged(LEADER, 2), 7.0) == [SendMessage(LEADER, ExpelOrder(BAD))]


@pytest.mark.parametrize("leader", [ME, BAD])
def test_the_leader_marks_and_so_does_whoever_wants_the_leader_out(leader) -> None:
    orders = Orders(leader)
    mark = SendMessage(ME, Gossip((marked(member(2)),)))
    assert orders.do(ExpelAsked(BAD), 0.0) == [mark]


def test_only_the_leader_obeys_an_order_and_none_against_itself() -> None:
    assert Orders(ME).do(MessageReceived(LEADER, ExpelOrder(BAD)), 0.0) == [
        SendMessage(ME, Gossip((marked(member(2)),)))
    ]
    assert Orders(LEADER).do(MessageReceived(LEADER, ExpelOrder(BAD)), 0.0) == []
    assert Orders(ME).do(MessageReceived(LEADER, ExpelOrder(ME)), 0.0) == []


@pytest.mark.parametrize("node", [ME, node_id(9)])
def test_what_cannot_be_expelled_is_told(node) -> None:
    (effect,) = Orders().do(ExpelAsked(node), 0.0)
    assert isinstance(effect, Log)


def test_the_mark_wins_over_every_boot_and_incarnation() -> None:
    bad = member(2)
    assert overrides(marked(bad), replace(bad, boot=9, incarnation=9))
    assert not overrides(replace(bad, boot=9, incarnation=9), marked(bad))


class List:
    """The member list of node 0, with nodes 1 and 2 on it."""

    def __init__(self, known=None) -> None:
        known = (member(1), member(2)) if known is None else known
        self.machine = Membership(member(0), MembershipOptions(), Random(3), known)
        self.do(TimerFired())

    def do(self, event) -> list[Effect]:
        effects = self.machine.handle(event, 1.0)
        self.machine.check()
        return effects

    def hear(self, sender: int, message) -> list[Effect]:
        return self.do(MessageReceived(node_id(sender), message))


def test_a_marked_member_is_told_shut_out_and_dead_to_the_other_machines() -> None:
    mark = marked(member(2))
    effects = List().hear(1, Gossip((mark,)))
    told = [type(effect) for effect in effects]
    assert effects[:2] == [SendMessage(BAD, Gossip((mark,))), Expel(mark)]
    (changed,) = [effect for effect in effects if isinstance(effect, TellMember)]
    assert (changed.record.state, changed.reason) == (MemberState.DEAD, "it was expelled")
    assert told.count(Expel) == 1


def test_nothing_brings_a_marked_member_back() -> None:
    shut = List(known=(member(1), marked(member(2))))
    again = member(2, boot=7, incarnation=3)
    assert not any(isinstance(effect, Admit) for effect in shut.do(PeerMet(again)))
    assert shut.hear(2, Ping(1, ME, (again,))) == []
    shut.hear(1, Exchange((again,), True))
    assert shut.machine.members[BAD].expelled
    shut.machine._ledger.expire(1e9, 1.0)
    assert shut.machine.members[BAD].expelled


def test_a_mark_on_somebody_never_seen_is_kept_and_passed_on() -> None:
    shut = List(known=(member(1),))
    mark = marked(member(2))
    assert Expel(mark) in shut.hear(1, Gossip((mark,)))
    assert shut.machine.members[BAD].expelled


def test_who_comes_back_is_told_at_once_who_was_expelled() -> None:
    mark = marked(member(2))
    shut = List(known=(member(1, state=MemberState.DEAD), mark))
    effects = shut.hear(3, Gossip((member(1, incarnation=1),)))
    assert SendMessage(LEADER, Gossip((mark,))) in effects


def test_who_hears_of_its_own_mark_departs_against_its_will() -> None:
    (depart,) = [e for e in List().hear(1, Gossip((marked(member(0, boot=4)),))) if isinstance(e, Depart)]
    assert depart.failed
    assert "expelled" in depart.reason
