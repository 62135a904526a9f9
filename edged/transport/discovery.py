"""Finding others on the local network by mDNS: the service ``_edged._tcp``.

What is announced: a tag (equal only for the same cluster name and key), the protocol number, the node's id, the door's
port and the addresses. It is a hint for the door and nothing more; anyone may announce anything.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from zeroconf import Error as ZeroconfError
from zeroconf import IPVersion, NonUniqueNameException, ServiceStateChange, Zeroconf
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from edged.transport.contacts import Reason, announced_twice, deaf

SERVICE = "_edged._tcp.local."
QUESTION_MILLISECONDS = 3000
FAREWELL_SECONDS = 0.5
MOST_KNOWN = 256
"""Announcements whose end is noticed; anyone may announce anything."""


@dataclass(frozen=True, slots=True)
class Announcement:
    """What one node says of itself."""

    tag: str
    protocol: int
    node: str
    addresses: tuple[str, ...]
    door_port: int


class Discovery:
    """Announces this node and hears others, on the given addresses only."""

    def __init__(
        self,
        own: Announcement,
        heard: Callable[[Announcement], None],
        gone: Callable[[Announcement], None],
        impossible: Callable[[Reason, str], None],
        service: str = "",
        *,
        announces: bool = True,
    ) -> None:
        """Nothing is sent yet.

        ``heard`` is called in the loop, also for other clusters and versions, and for what this node says itself:
        what it sends comes back where multicast works. ``gone`` is called when one of them is withdrawn or out of
        date; ``impossible`` is told why mDNS does not work here. ``service``: another one than ``SERVICE``, for trials.
        Without ``announces`` it only listens.
        """
        self._own = own
        self._heard = heard
        self._gone = gone
        self._known: dict[str, Announcement] = {}
        self._impossible = impossible
        self._zeroconf: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._service = service or SERVICE
        self._announces = announces
        self._info = announced(own, self._service)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Announce and listen. Returns at once: mDNS takes a second to make sure that its name is free."""
        self._start(self._begin())

    async def _begin(self) -> None:
        try:
            self._zeroconf = AsyncZeroconf(interfaces=list(self._own.addresses), ip_version=IPVersion.V4Only)
            self._browser = AsyncServiceBrowser(self._zeroconf.zeroconf, self._service, handlers=[self._changed])
            if self._announces:
                await self._zeroconf.async_register_service(self._info)
        except NonUniqueNameException:
            self._impossible(Reason.TWIN, announced_twice())
        except (OSError, ZeroconfError) as problem:
            self._impossible(Reason.MULTICAST, deaf(str(problem)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Say goodbye, and stop, in half a second. Where that was broken off, the next call does the rest."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._zeroconf is not None:
            try:
                async with asyncio.timeout(FAREWELL_SECONDS):
                    browser, self._browser = self._browser, None
                    if browser is not None:
                        await browser.async_cancel()
                    await self._zeroconf.async_unregister_all_services()
            except TimeoutError:
                pass  # the others' records expire by themselves
            await self._zeroconf.async_close()

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Removed:
            announcement = self._known.pop(name, None)
            if announcement is not None:
                self._gone(announcement)
        elif name == self._info.name:
            self._heard(self._own)
        else:
            self._start(self._ask(zeroconf, service_type, name))

    async def _ask(self, zeroconf: Zeroconf, service_type: str, name: str) -> None:
        info = AsyncServiceInfo(service_type, name)
        if await info.async_request(zeroconf, QUESTION_MILLISECONDS):
            announcement = parse_announcement(info)
            if announcement is not None:
                if len(self._known) < MOST_KNOWN:
                    self._known[name] = announcement
                self._heard(announcement)


def announced(own: Announcement, service: str) -> AsyncServiceInfo:
    """The service record of what a node says of itself."""
    return AsyncServiceInfo(
        service,
        f"{own.node}-{own.door_port}.{service}",
        port=own.door_port,
        properties={"tag": own.tag, "protocol": str(own.protocol), "node": own.node},
        server=f"edged-{own.node}-{own.door_port}.local.",
        parsed_addresses=list(own.addresses),
    )


def parse_announcement(info: AsyncServiceInfo) -> Announcement | None:
    """What a service record says, or ``None`` where it is not edged's."""
    values = {key.decode("utf-8", "replace"): value for key, value in info.properties.items()}
    texts = {key: value.decode("utf-8", "replace")[:64] for key, value in values.items() if value is not None}
    protocol = texts.get("protocol", "")
    if not protocol.isdecimal() or not info.port or "tag" not in texts:
        return None
    addresses = tuple(info.parsed_addresses(IPVersion.V4Only))[:8]
    return Announcement(texts["tag"], int(protocol[:6]), texts.get("node", ""), addresses, info.port)
