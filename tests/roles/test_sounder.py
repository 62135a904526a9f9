"""Links are sounded over real sockets, on request, and never beside a job."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from edged.core.messages import JobState, MemberState, SoundingParcel
from edged.doctor.examine import SOUND_SECONDS
from edged.roles import sounder
from edged.roles.intake import Intake
from edged.roles.sounder import Sounder, Sounding
from edged.transport.interface import LinkStatistics, unmeasured
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
        assert await Sounder(observer_of(left, peer), left).sound() == Sounding(measured=(peer.node,))
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
        assert await Sounder(observer_of(left, right.own_record(), job=job), left).sound() == Sounding()
        assert fit_of(left, right.own_record()) == (None, 0)


async def test_whoever_is_not_there_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sounder, "PATIENCE_SECONDS", 0.3)
    async with running(build()) as (node,):
        silent = await admit_stranger(node, build()._identity)
        dead = SimpleNamespace(node="f" * 16, state=MemberState.DEAD)
        begun = asyncio.get_running_loop().time()
        assert await Sounder(observer_of(node, silent, dead), node).sound() == Sounding(silent=(silent.node,))
        assert asyncio.get_running_loop().time() - begun < 5.0
        (link,) = node.statistics()
        assert link.queued_bytes == 0


async def test_who_asks_meanwhile_waits_for_the_same():
    async with pair() as (left, right):
        sounding = Sounder(observer_of(left, right.own_record()), left)
        once = Sounding(measured=(right.own_record().node,))
        assert await asyncio.gather(sounding.sound(), sounding.sound()) == [once, once]
        assert fit_of(left, right.own_record())[1] <= 13 * sounder.LARGEST_BYTES


ENOUGH = 4
"""Parcels that have to be through before something is known of a link."""


@dataclass
class Links:
    """Links that need ``seconds`` for a parcel and more for its bytes, on a clock that only sleeping moves."""

    seconds: dict[str, float]
    per_byte: float = 1e-7
    now: float = 0.0
    through: dict[str, list[float]] = field(default_factory=dict)
    dropped: list[str] = field(default_factory=list)

    def send_parcel(self, to, header, _buffers):
        self.through.setdefault(to, []).append(self.now + self.seconds[to] + header.size_bytes * self.per_byte)

    def drop_parcels(self, _predicate, *, to):
        self.dropped.append(to)
        self.through[to] = [at for at in self.through[to] if at <= self.now]

    def statistics(self):
        return tuple(self._link(node, ends) for node, ends in self.through.items())

    def _link(self, node, ends):
        done = [at for at in ends if at <= self.now]
        fit = unmeasured if len(done) < ENOUGH else lambda _way: done
        return LinkStatistics(node, 0.0, 0.0, len(ends) - len(done), fit=fit)

    async def sleep(self, _seconds):
        await asyncio.sleep(0)
        ends = [at for each in self.through.values() for at in each if at > self.now]
        self.now = min([*ends, self.now + 0.1])

    def sounder(self, monkeypatch):
        here = SimpleNamespace(time=lambda: self.now)
        clock = SimpleNamespace(
            sleep=self.sleep,
            get_running_loop=lambda: here,
            create_task=asyncio.create_task,
            shield=asyncio.shield,
        )
        monkeypatch.setattr(sounder, "asyncio", clock)
        members = {node: SimpleNamespace(node=node, state=MemberState.ALIVE) for node in self.seconds}
        return Sounder(SimpleNamespace(own_id="own", members=members, current=lambda: None), self)


NEVER = 1e9


async def test_many_who_are_silent_cost_the_patience_of_one(monkeypatch: pytest.MonkeyPatch):
    silent = tuple(f"silent-{number:02}" for number in range(15))
    links = Links({**dict.fromkeys(silent, NEVER), "there": 0.001})
    assert await links.sounder(monkeypatch).sound() == Sounding(("there",), silent)
    assert links.now < sounder.PATIENCE_SECONDS + sounder.PEER_SECONDS
    assert set(links.dropped) == set(silent)


async def test_whatever_the_peers_are_like_the_end_is_before_the_doctor_stops_waiting(monkeypatch: pytest.MonkeyPatch):
    """A parcel to each takes nearly as long as one is waited for; some are gone when theirs is sent."""
    slow = tuple(f"slow-{number:02}" for number in range(16))
    links = Links(dict.fromkeys(slow, sounder.PATIENCE_SECONDS - 0.1))
    sounding = await links.sounder(monkeypatch).sound()
    assert links.now <= sounder.ALL_SECONDS + 0.2 < SOUND_SECONDS - 2.0
    assert (sounding.measured, sounding.silent, sounding.late) == ((), (), slow)
    assert not [link for link in links.statistics() if link.queued_bytes]


async def test_a_slow_link_takes_no_time_from_the_others(monkeypatch: pytest.MonkeyPatch):
    slow, quick = ("slow-1", "slow-2", "slow-3", "slow-4"), tuple(f"quick-{number}" for number in range(12))
    links = Links({**dict.fromkeys(slow, 1.9), **dict.fromkeys(quick, 0.01)})
    sounding = await links.sounder(monkeypatch).sound()
    assert (sounding.measured, sounding.late) == (quick, slow)


async def test_those_that_were_left_out_come_first_when_it_is_asked_again(monkeypatch: pytest.MonkeyPatch):
    nodes = tuple(f"node-{number:02}" for number in range(sounder.MOST_PEERS + 4))
    sounding = Links(dict.fromkeys(nodes, 0.001)).sounder(monkeypatch)
    first = await sounding.sound()
    assert (first.measured, first.late) == (nodes[: sounder.MOST_PEERS], nodes[sounder.MOST_PEERS :])
    assert await sounding.sound() == Sounding(measured=nodes)
