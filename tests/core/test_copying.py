"""Copies of state: exactly at the version, once."""

from __future__ import annotations

from edged.core.copying import Copying
from edged.core.effects import SendMessage, SendState
from edged.core.messages import Refused, WantState
from tests.core.miniature import STAMP, node

WANT = WantState(STAMP, 0, 2, 5)


def test_a_want_is_met_when_the_version_comes():
    copying = Copying()
    copying.ask(node(1), WANT)
    assert copying.serve(4, trains=True) == []
    assert copying.serve(5, trains=False) == [SendState(node(1), STAMP, 0, 2, 5)]


def test_repeated_wants_are_met_once_for_each_who_asks():
    copying = Copying()
    for sender in (node(1), node(1), node(2)):
        copying.ask(sender, WANT)
    assert [effect.to for effect in copying.serve(5, trains=False)] == [node(1), node(2)]
    copying.ask(node(1), WANT)
    assert copying.serve(6, trains=False) == []


def test_who_comes_too_late_is_refused():
    for version, trains in ((5, True), (6, False)):
        copying = Copying()
        copying.ask(node(1), WANT)
        (refused,) = copying.serve(version, trains=trains)
        assert refused == SendMessage(node(1), Refused(STAMP.job, "version 5 of layers 0–2 has been trained on", 5))
        assert copying.serve(version, trains=trains) == []
