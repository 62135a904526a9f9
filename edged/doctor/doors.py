"""Doors of others, tried where no node runs in this home: those that are named, heard and remembered, in this order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path

from edged.core.ids import NodeId
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
"""Addresses. Those that were heard come before those that are remembered: of these there may be many, and old ones."""

MOST_PLACES = 4
"""Addresses of one node: it shall not take the room of others."""

LISTEN_SECONDS = 3.0


class Source(Enum):
    """Why a door was tried, the best reason first."""

    NAMED = "named"
    HEARD = "heard"
    REMEMBERED = "remembered"


_RANK = tuple(Source)


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
        return min(self.trials, key=lambda trial: trial.rank)

    @property
    def is_open(self) -> bool:
        """Whether somebody listens there."""
        return self.best.reach is Reach.OPEN

    @property
    def behind(self) -> frozenset[Address]:
        """Its places, and what is behind those that are names."""
        return frozenset((*self.places, *(place for trial in self.trials for place in trial.places)))

    def says(self, tag: str) -> bool:
        """Whether it announces this tag."""
        return self.said is not None and self.said.tag == tag


@dataclass(frozen=True, slots=True)
class OthersFacts:
    """``node`` is that of this home, if it ever had one; ``tag`` what its nodes announce, empty without a key.

    ``left_out``: how many others were not tried. ``invalid``: there is no ``tag`` because the key is none.
    """

    node: str
    tag: str
    listened: bool
    others: tuple[Other, ...]
    left_out: int = 0
    invalid: bool = False


async def measure_others(
    home: Path, token: str, cluster: str, addresses: Iterable[str], seeds: Iterable[Address], *, discovery: bool
) -> OthersFacts:
    """Listen for three seconds, and try every door that is heard, named or remembered, as far as there is room.

    ``token``: the key that was given, empty for that of the home; ``addresses``: where to listen.
    """
    key, invalid = _key(home, token)
    names, tag = read_names(home, look_at_private), key.tag(cluster) if key else ""
    search = _Search(new_context(), key)
    for seed in seeds:
        search.begin(Other(Source.NAMED, "", "", (seed,)))

    def heard(said: Announcement) -> None:
        places = tuple((host, said.door_port) for host in said.addresses)
        if places:
            search.begin(Other(Source.HEARD, names.get(NodeId(said.node), ""), said.node, places, said))

    if discovery:
        await listen(addresses, LISTEN_SECONDS, heard)
    for node, places in _remembered(home).items():
        search.begin(Other(Source.REMEMBERED, names.get(node, ""), node, places))
    others = gathered(await search.end(), tag)
    return OthersFacts(look_at_node(home), tag, discovery, others, search.left_out, invalid)


def _key(home: Path, token: str) -> tuple[ClusterKey | None, bool]:
    """The key to try, and whether there is none because it is invalid: what is wrong with it another finding tells."""
    try:
        kept = token or read_cluster_key(home, look_at_private)
        return (parse_token(kept) if kept else None), False
    except ConfigError:
        return None, True


def _remembered(home: Path) -> dict[NodeId, tuple[Address, ...]]:
    known: dict[NodeId, tuple[Address, ...]] = {}
    for node, place in read_peers(home, look_at_private):
        known[node] = (*known.get(node, ()), place)
    return known


class _Search:
    """Doors that are being tried, each once."""

    def __init__(self, context: Context, key: ClusterKey | None) -> None:
        self._context = context
        self._key = key
        self._trials: dict[Address, asyncio.Task[Trial]] = {}
        self._others: list[Other] = []
        self._left_out: set[str | Address] = set()

    @property
    def left_out(self) -> int:
        """How many there was no room for."""
        return len(self._left_out - {other.node for other in self._others})

    def begin(self, other: Other) -> None:
        """Try its places, but for those that are being tried, as far as there is room."""
        places = other.places[:MOST_PLACES]
        new = [place for place in places if place not in self._trials][: MOST_TRIED - len(self._trials)]
        self._trials |= {place: asyncio.create_task(try_door(self._context, self._key, place)) for place in new}
        tried = tuple(place for place in places if place in self._trials)
        if tried:
            self._others.append(replace(other, places=tried))
        else:
            self._left_out.add(other.node or places[0])

    async def end(self) -> list[Other]:
        """What the doors showed."""
        await asyncio.gather(*self._trials.values())
        self._context.destroy(linger=0)
        return [
            replace(other, trials=tuple(self._trials[place].result() for place in other.places))
            for other in self._others
        ]


def gathered(others: Iterable[Other], tag: str) -> tuple[Other, ...]:
    """One for each node, the named first: it may be heard and remembered as well, at several addresses.

    An address that was named belongs to the node that has it, first of all to one that announces this ``tag``.
    """
    nodes: dict[str, Other] = {}
    named: list[Other] = []
    for other in others:
        if not other.node:
            named.append(other)
        else:
            nodes[other.node] = _one(nodes[other.node], other, tag) if other.node in nodes else other
    known = sorted(nodes.values(), key=lambda other: not other.says(tag))
    for other in named:
        at = next((at for at, each in enumerate(known) if not each.behind.isdisjoint(other.behind)), len(known))
        known[at : at + 1] = [_one(each, other, tag) for each in known[at : at + 1]] or [other]
    return tuple(sorted(known, key=lambda other: _RANK.index(other.source)))


def _one(first: Other, second: Other, tag: str) -> Other:
    """The same node. Anyone may announce anything in its name: what has the right ``tag`` counts more."""
    said = [each.said for each in (first, second) if each.said is not None]
    return Other(
        source=min(first.source, second.source, key=_RANK.index),
        name=first.name or second.name,
        node=first.node or second.node,
        places=tuple(dict.fromkeys((*first.places, *second.places))),
        said=min(said, key=lambda each: each.tag != tag, default=None),
        trials=tuple(dict.fromkeys((*first.trials, *second.trials))),
    )
