"""The sounder: what a link carries, found out by sending something, where no job does.

Parcels go to one peer after the other, each when the one before is through, larger and larger until one takes a while:
the link's times say the rest (``transport/fitting.py``), as they do of a job's own parcels. It is done when somebody
asks, never by itself: sixteen nodes that sounded all their links would fill a Wi-Fi for a minute.
"""

from __future__ import annotations

import asyncio

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

LOOK_SECONDS = 0.001


class Sounder:
    """Sounds the links to all members that are there, unless a job runs: then its own parcels are timed."""

    def __init__(self, observer: Observer, transport: Transport) -> None:
        """Send by ``transport`` to whom ``observer`` knows."""
        self._observer = observer
        self._transport = transport
        self._under_way: asyncio.Task[int] | None = None

    async def sound(self) -> int:
        """To how many peers something was sent. Who asks meanwhile waits for the same."""
        if self._under_way is None or self._under_way.done():
            self._under_way = asyncio.create_task(self._sound_all())
        return await asyncio.shield(self._under_way)

    async def _sound_all(self) -> int:
        own = self._observer.own_id
        members = self._observer.members.values()
        peers = [each.node for each in members if each.node != own and each.state is MemberState.ALIVE][:MOST_PEERS]
        for number, node in enumerate(peers):
            if self._is_busy():
                return number
            await self._sound(node)
        return len(peers)

    def _is_busy(self) -> bool:
        job = self._observer.current()
        return job is not None and job.state in WORKING

    async def _sound(self, node: NodeId) -> None:
        size, taken = FIRST_BYTES, await self._send(node, FIRST_BYTES)  # the first one also waits for the connection
        end = asyncio.get_running_loop().time() + PEER_SECONDS
        for number in range(PARCELS):
            if taken is None or self._is_busy() or asyncio.get_running_loop().time() > end:
                return
            taken = await self._send(node, size // (1 + number % 2))
            if taken is not None and taken < WHILE_SECONDS and number % 2 == 0:
                size = min(GROWTH * size, LARGEST_BYTES)

    async def _send(self, node: NodeId, size: int) -> float | None:
        """How many seconds it took until the peer had it; ``None`` if it took too long."""
        begun = asyncio.get_running_loop().time()
        self._transport.send_parcel(node, SoundingParcel(size), [memoryview(bytes(size))])
        while self._waits(node):
            if asyncio.get_running_loop().time() - begun > PATIENCE_SECONDS:
                self._transport.drop_parcels(lambda header: isinstance(header, SoundingParcel), to=node)
                return None
            await asyncio.sleep(LOOK_SECONDS)
        return asyncio.get_running_loop().time() - begun

    def _waits(self, node: NodeId) -> bool:
        return any(link.queued_bytes > 0 for link in self._transport.statistics() if link.node == node)
