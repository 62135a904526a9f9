"""The sounder: what a link carries, found out by sending something, where no job does.

A parcel goes to all peers at once, to see who takes one at all. Then parcels go to one peer after the other, each when
the one before is through, larger and larger until one takes a while: the link's times say the rest
(``transport/fitting.py``), as they do of a job's own parcels. It is done when somebody asks, never by itself: sixteen
nodes that sounded all their links would fill a Wi-Fi for a minute.

Who asks waits for the end, so there is one for the whole. Each peer has an equal share of what is left until then: a
slow one costs the others nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from dataclasses import dataclass

from edged.core.ids import NodeId
from edged.core.messages import MemberState, SoundingParcel
from edged.roles.observer import Observer
from edged.roles.outlook import WORKING
from edged.transport.interface import Transport

MOST_PEERS = 16
PARCELS = 12
FIRST_BYTES, LARGEST_BYTES = 1 << 13, 1 << 20
GROWTH = 4
WHILE_SECONDS = 0.1
"""Parcels that take so long are large enough for this link: a busy machine or Wi-Fi is late by less."""

PATIENCE_SECONDS = 2.0
"""A peer to which a parcel takes longer is left alone, and so is one ..."""

PEER_SECONDS = 3.0
"""... to which all of them have taken so long."""

ALL_SECONDS = 12.0
"""The whole takes no longer: who asks has to wait for it."""

LOOK_SECONDS = 0.001


@dataclass(frozen=True, slots=True)
class Sounding:
    """What came of it.

    ``measured``: what their links carry is known. ``silent``: not even a first parcel came through. ``late``: there was
    too little time for them, or none; whoever asks again begins with them.
    """

    measured: tuple[NodeId, ...] = ()
    silent: tuple[NodeId, ...] = ()
    late: tuple[NodeId, ...] = ()


class Sounder:
    """Sounds the links to all members that are there, unless a job runs: then its own parcels are timed."""

    def __init__(self, observer: Observer, transport: Transport) -> None:
        """Send by ``transport`` to whom ``observer`` knows."""
        self._observer = observer
        self._transport = transport
        self._under_way: asyncio.Task[Sounding] | None = None

    async def sound(self) -> Sounding:
        """What came of it; nothing beside a job. Who asks meanwhile waits for the same."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._sound_all())
        return await asyncio.shield(self._under_way)

    async def _sound_all(self) -> Sounding:
        end = self._now() + ALL_SECONDS
        if self._is_busy():
            return Sounding()
        own, members, known = self._observer.own_id, self._observer.members.values(), self._measured()
        peers = [each.node for each in members if each.node != own and each.state is MemberState.ALIVE]
        chosen = sorted(peers, key=lambda node: node in known)[:MOST_PEERS]
        silent = await self._send(chosen, FIRST_BYTES, end)  # the first one also waits for the connection
        there = [node for node in chosen if node not in silent]
        for number, node in enumerate(there):
            share = (end - self._now()) / (len(there) - number)
            await self._sound(node, self._now() + min(share, PEER_SECONDS))
        known = self._measured()
        measured = tuple(node for node in peers if node in known and node not in silent)
        late = () if self._is_busy() else tuple(node for node in peers if node not in known and node not in silent)
        return Sounding(measured, tuple(node for node in peers if node in silent), late)

    async def _sound(self, node: NodeId, end: float) -> None:
        size = FIRST_BYTES
        for number in range(PARCELS):
            begun = self._now()
            if begun >= end or self._is_busy() or await self._send([node], size // (1 + number % 2), end):
                return
            if self._now() - begun < WHILE_SECONDS and number % 2 == 0:
                size = min(GROWTH * size, LARGEST_BYTES)

    async def _send(self, nodes: Collection[NodeId], size: int, end: float) -> set[NodeId]:
        """Wait until all of these have a parcel, but neither too long nor beyond ``end``; returns who has it not."""
        end = min(end, self._now() + PATIENCE_SECONDS)
        for node in nodes:
            self._transport.send_parcel(node, SoundingParcel(size), [memoryview(bytes(size))])
        while waiting := self._waiting(nodes):
            if self._now() >= end:
                for node in waiting:
                    self._transport.drop_parcels(lambda header: isinstance(header, SoundingParcel), to=node)
                return waiting
            await asyncio.sleep(LOOK_SECONDS)
        return set()

    def _waiting(self, nodes: Collection[NodeId]) -> set[NodeId]:
        return {link.node for link in self._transport.statistics() if link.node in nodes and link.queued_bytes > 0}

    def _measured(self) -> set[NodeId]:
        return {link.node for link in self._transport.statistics() if link.fit(0.0) is not None}

    def _is_busy(self) -> bool:
        job = self._observer.current()
        return job is not None and job.state in WORKING

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()
