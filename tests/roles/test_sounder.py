"""Links are sounded over real sockets, on request, and never beside a job."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from types import SimpleNamespace

import pytest

from edged.core.messages import JobState, MemberState, SoundingParcel
from edged.roles import sounder
from edged.roles.intake import Intake
from edged.roles.sounder import Sounder
from tests.transport.nodes import admit_stranger, build, pair, running


def observer_of(node, *peers, job=None):
    members = {each.node: each for each in (node.own_record(), *peers)}
    return SimpleNamespace(own_id=node.own_record().node, members=members, current=lambda: job)


def fit_of(node, peer):
    (link,) = [link for link in node.statistics() if link.node == peer.node]
    return link.fit(0.0), link.sent_bytes


async def test_a_link_that_nothing_has_used_is_measured_and_the_peer_keeps_nothing():
    async with pair() as (left, right):
        intake = Intake(None, None, None)
        right.expect(intake.expects)
        peer = right.own_record()
        assert fit_of(left, peer)[0] is None
        taken = []

        async def take():
            while True:
                came = await right.receive()
                taken.append(came.header)
                intake.take(came.sender, came.header, came.buffers, taken.clear)

        task = asyncio.create_task(take())
        assert await Sounder(observer_of(left, peer), left).sound() == 1
        fit, sent = fit_of(left, peer)
        assert fit is not None
        assert fit.bytes_per_second > 1e6
        assert sum(header.size_bytes for header in taken) <= sent <= 13 * sounder.LARGEST_BYTES
        assert {type(header) for header in taken} == {SoundingParcel}
        assert right.malformed == 0
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def test_beside_a_job_nothing_is_sent():
    async with pair() as (left, right):
        job = SimpleNamespace(state=JobState.RUNNING)
        assert await Sounder(observer_of(left, right.own_record(), job=job), left).sound() == 0
        assert fit_of(left, right.own_record()) == (None, 0)


async def test_whoever_is_not_there_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sounder, "PATIENCE_SECONDS", 0.3)
    async with running(build()) as (node,):
        silent = await admit_stranger(node, build()._identity)
        dead = SimpleNamespace(node="f" * 16, state=MemberState.DEAD)
        begun = asyncio.get_running_loop().time()
        assert await Sounder(observer_of(node, silent, dead), node).sound() == 1
        assert asyncio.get_running_loop().time() - begun < 5.0
        (link,) = node.statistics()
        assert link.queued_bytes == 0


async def test_who_asks_meanwhile_waits_for_the_same():
    async with pair() as (left, right):
        sounding = Sounder(observer_of(left, right.own_record()), left)
        assert await asyncio.gather(sounding.sound(), sounding.sound()) == [1, 1]
        assert fit_of(left, right.own_record())[1] <= 13 * sounder.LARGEST_BYTES
