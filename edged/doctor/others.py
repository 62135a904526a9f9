"""Other nodes, looked at where no node runs in this home: who is heard, whose door opens to the key, and how soon."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from edged.core.ids import PROTOCOL_VERSION, NodeId
from edged.doctor.amounts import seconds_in_words
from edged.doctor.finding import Finding, Level
from edged.errors import ConfigError
from edged.transport.contacts import Reach
from edged.transport.discovery import Announcement
from edged.transport.identity import look_at_node
from edged.transport.private import look_at_private
from edged.transport.search import Address, read_names, read_peers
from edged.transport.security import ClusterKey, parse_token, read_cluster_key
from edged.transport.sockets import Context, new_context
from edged.transport.trial import Trial, listen, try_door

MOST_TRIED = 32
LISTEN_SECONDS = 3.0
SHOWN = {
    Reach.OPEN: "answers",
    Reach.CLOSED: "nobody listens there",
    Reach.SILENT: "no answer within a second",
    Reach.UNKNOWN_NAME: "the name is unknown here",
    Reach.NO_ROUTE: "there is no route from here",
}
THERE = "start `edged join` there, or let its three ports through the firewall there, as `edged doctor` says there"
THAT_KEY = "edged join --key ..., as `edged key join-command` prints it on that device"


class Source(Enum):
    """Why a door was tried."""

    HEARD = "heard"
    NAMED = "named"
    REMEMBERED = "remembered"


@dataclass(frozen=True, slots=True)
class Other:
    """Another node, or a place where one should be. ``node`` may be empty; ``said`` is what it announces."""

    source: Source
    name: str
    node: str
    places: tuple[Address, ...]
    said: Announcement | None = None
    trials: tuple[Trial, ...] = ()

    @property
    def best(self) -> Trial:
        """What the best of its places showed."""
        return min(self.trials, key=lambda trial: (trial.reach is not Reach.OPEN, not trial.opens, trial.seconds))


@dataclass(frozen=True, slots=True)
class OthersFacts:
    """``node`` is that of this home, if it ever had one; ``tag`` what its nodes announce, empty without a key."""

    node: str
    tag: str
    listened: bool
    others: tuple[Other, ...]


async def measure_others(
    home: Path, token: str, cluster: str, addresses: Iterable[str], seeds: Iterable[Address], *, discovery: bool
) -> OthersFacts:
    """Listen for three seconds, and try every door that is heard, named or remembered.

    ``token``: the key that was given, empty for that of the home; ``addresses``: where to listen.
    """
    key, names = _key(home, token), read_names(home, look_at_private)
    search = _Search(new_context(), key)
    for seed in seeds:
        search.begin(Other(Source.NAMED, "", "", (seed,)))
    for node, place in read_peers(home, look_at_private):
        search.begin(Other(Source.REMEMBERED, names.get(node, ""), node, (place,)))

    def heard(said: Announcement) -> None:
        places = tuple((host, said.door_port) for host in said.addresses)
        if places:
            search.begin(Other(Source.HEARD, names.get(NodeId(said.node), ""), said.node, places, said))

    if discovery:
        await listen(addresses, LISTEN_SECONDS, heard)
    return OthersFacts(look_at_node(home), key.tag(cluster) if key else "", discovery, await search.end())


def _key(home: Path, token: str) -> ClusterKey | None:
    try:
        kept = token or read_cluster_key(home, look_at_private)
        return parse_token(kept) if kept else None
    except ConfigError:  # which other findings tell
        return None


class _Search:
    """Doors that are being tried, each once."""

    def __init__(self, context: Context, key: ClusterKey | None) -> None:
        self._context = context
        self._key = key
        self._trials: dict[Address, asyncio.Task[Trial]] = {}
        self._others: list[Other] = []

    def begin(self, other: Other) -> None:
        """Try its places, but for those that are being tried."""
        new = [place for place in other.places if place not in self._trials]
        if len(self._trials) + len(new) <= MOST_TRIED:
            self._trials |= {place: asyncio.create_task(try_door(self._context, self._key, place)) for place in new}
            self._others.append(other)

    async def end(self) -> tuple[Other, ...]:
        """What the doors showed, once for each node: who was heard may be named or remembered as well."""
        await asyncio.gather(*self._trials.values())
        self._context.destroy(linger=0)
        ended = [
            replace(other, trials=tuple(self._trials[place].result() for place in other.places))
            for other in self._others
        ]
        named = {place for other in ended if other.source is Source.NAMED for place in other.places}
        heard = {other.node: other for other in ended if other.source is Source.HEARD}
        places = {place for other in heard.values() for place in other.places}
        rest = [other for other in ended if other.node not in heard and places.isdisjoint(other.places)]
        return (*(other if named.isdisjoint(other.places) else _named(other) for other in heard.values()), *rest)


def _named(other: Other) -> Other:
    return replace(other, source=Source.NAMED)


def judge_others(facts: OthersFacts) -> list[Finding]:
    """Who is there, and what stands between this home and the others."""
    twins, rest = _parted(facts.others, lambda other: bool(other.node) and other.node == facts.node and _open(other))
    old, rest = _parted(rest, lambda other: other.said is not None and other.said.protocol != PROTOCOL_VERSION)
    silent, rest = _parted(rest, lambda other: not _open(other))
    strange, rest = _parted(rest, lambda other: _is_strange(other, facts.tag))
    findings = [_present(rest, facts)] if rest or not facts.others else []
    if twins:
        what = f"a node with the identity of this home runs at {_where(twins[0])}: one home is a copy of the other"
        findings.append(Finding("others-twin", Level.PROBLEM, what, "rm identity.json in the home that is the copy"))
    if old:
        what = "; ".join(f"{_called(other)} speaks protocol {other.said.protocol}" for other in old if other.said)
        upgrade = "pip install --upgrade . in a newer checkout, on the device with the older edged"
        findings.append(Finding("others-version", Level.WARNING, f"{what}; this edged {PROTOCOL_VERSION}", upgrade))
    if silent:
        expected = any(other.source is not Source.REMEMBERED for other in silent)
        what = "; ".join(f"{_called(other)} ({other.source.value}): {SHOWN[other.best.reach]}" for other in silent)
        findings.append(Finding("others-silent", Level.WARNING if expected else Level.NOTE, what, THERE))
    if strange:
        expected = any(other.source is not Source.HEARD for other in strange)
        what = f"{', '.join(map(_called, strange))} belong{'s' * (len(strange) == 1)} to another cluster"
        level = Level.PROBLEM if expected else Level.NOTE
        findings.append(Finding("others-key", level, f"{what}, or has another key than this home", THAT_KEY))
    return findings


def _present(others: list[Other], facts: OthersFacts) -> Finding:
    """Who could be joined as things are."""
    if not others:
        tried = "nobody is heard, named or remembered" if facts.listened else "nobody is named or remembered"
        return Finding("others", Level.NOTE, tried, "edged join there; or edged join --seed HOST:PORT")
    shown = ", ".join(f"{_called(other)} answers in {seconds_in_words(other.best.seconds)}" for other in others)
    if not facts.tag:
        return Finding("others", Level.NOTE, f"{shown}; this home has no key", THAT_KEY)
    slow = [other for other in others if other.best.opens is None]
    if slow:
        what = f"{shown}; whether {', '.join(map(_called, slow))} would open to the key did not show in time"
        return Finding("others", Level.NOTE, what)
    return Finding("others", Level.OK, f"{shown}; the key opens {'their doors' if len(others) > 1 else 'its door'}")


def _is_strange(other: Other, tag: str) -> bool:
    if not tag:
        return False
    return other.best.opens is False or (other.said is not None and other.said.tag != tag)


def _open(other: Other) -> bool:
    return other.best.reach is Reach.OPEN


def _called(other: Other) -> str:
    return f"{other.name} at {_where(other)}" if other.name else _where(other)


def _where(other: Other) -> str:
    host, port = other.best.address
    return f"{host}:{port}"


def _parted(others: Iterable[Other], chosen: Callable[[Other], bool]) -> tuple[list[Other], list[Other]]:
    """Those for which it holds, and the rest."""
    known = list(others)
    return [other for other in known if chosen(other)], [other for other in known if not chosen(other)]
