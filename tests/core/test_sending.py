"""Copies on their way to their holders."""

from __future__ import annotations

from edged.core.effects import SendHeld
from edged.core.messages import Committed, Lying, Start
from edged.core.sending import DOUBT_SECONDS, RESEND_SECONDS, Sending
from tests.core.job_sample import A, B, C, stamp

LAYERS = (2, 3)


def start(*holders):
    return Start(stamp(), 0, 4, holders, "")


def copy(to, version=0):
    return SendHeld(to, stamp(), *LAYERS, version, replica=True)


def committed(version, *holders):
    return Committed(stamp(), version, 4, (Lying(*LAYERS, holders),), "")


def test_every_holder_gets_each_version_once():
    sending = Sending(start(A, C))
    assert sending.due({LAYERS: 0}, (), 0.0) == [copy(A), copy(C)]
    assert sending.due({LAYERS: 0}, (), 1.0) == []
    assert sending.due({LAYERS: 4}, (), 2.0) == [copy(A, 4), copy(C, 4)]
    assert sending.due({}, (), 3.0) == []


def test_a_holder_that_is_named_later_gets_the_newest_version():
    sending = Sending(start(A))
    sending.due({LAYERS: 4}, (), 0.0)
    sending.follow(start(A, C))
    assert sending.due({LAYERS: 4}, (), 1.0) == [copy(C, 4)]
    sending.follow(start(C))
    sending.follow(start(A, C))
    assert sending.due({LAYERS: 4}, (), 2.0) == [copy(A, 4)]


def test_what_was_lost_goes_again_a_little_later_to_whom_it_was_lost():
    sending = Sending(start(A, C))
    sending.due({LAYERS: 0}, (), 0.0)
    sending.lose(A, LAYERS, 0, 1.0)
    assert sending.due({LAYERS: 0}, (), 1.0) == []
    assert sending.resend_at == 1.0 + RESEND_SECONDS
    assert sending.due({LAYERS: 0}, (), 1.0 + RESEND_SECONDS) == [copy(A)]


def test_the_loss_of_a_version_that_a_newer_one_has_followed_is_nothing():
    sending = Sending(start(A))
    sending.due({LAYERS: 0}, (), 0.0)
    sending.due({LAYERS: 4}, (), 1.0)
    sending.lose(A, LAYERS, 0, 2.0)
    assert sending.due({LAYERS: 4}, (), 2.0 + RESEND_SECONDS) == []


def test_a_holder_that_is_gone_gets_nothing_until_it_is_back():
    sending = Sending(start(A))
    sending.due({LAYERS: 0}, (), 0.0)
    sending.forget(A)
    assert sending.due({LAYERS: 0}, {A}, 1.0) == []
    assert sending.due({LAYERS: 0}, (), 2.0) == [copy(A)]


def test_what_is_not_committed_for_long_goes_again_ever_more_rarely():
    sending, moments = Sending(start(B)), []
    assert sending.due({LAYERS: 0}, (), 0.0)
    for _ in range(3):
        moments.append(sending.resend_at)
        assert sending.due({LAYERS: 0}, (), sending.resend_at) == [copy(B)]
    assert moments == [DOUBT_SECONDS, 3 * DOUBT_SECONDS, 7 * DOUBT_SECONDS]
    sending.commit(committed(0, B))
    assert sending.resend_at is None


def test_a_holder_that_was_started_anew_is_sent_a_committed_version_until_it_is_named():
    sending = Sending(start(A, C))
    sending.due({LAYERS: 4}, (), 0.0)
    sending.commit(committed(4, B, A, C))
    assert sending.resend_at is None
    sending.forget(C)
    assert sending.due({LAYERS: 4}, (), 10.0) == [copy(C, 4)]  # which its new process has not heard of yet, and refuses
    sending.commit(committed(4, B, A))
    assert sending.resend_at == 10.0 + DOUBT_SECONDS
    assert sending.due({LAYERS: 4}, (), 10.0 + DOUBT_SECONDS) == [copy(C, 4)]
    sending.commit(committed(4, B, A, C))
    assert sending.resend_at is None
