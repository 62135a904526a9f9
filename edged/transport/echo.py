"""Whether multicast works here: this device announces something on mDNS, on each address, and listens for it itself.

It is done as nodes do it, under another name, so that no node takes it for one. What comes back has passed this
device's firewall both ways. That the network carries it to others, as client isolation does not, only another device
can show.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterable, Mapping

from edged.transport.contacts import Reason
from edged.transport.discovery import Announcement, Discovery

SERVICE = "_edged-probe._tcp.local."


async def echoes(addresses: Iterable[str], seconds: float) -> Mapping[str, str]:
    """For each address: empty if its own announcement came back within ``seconds``, else why not."""
    asked = list(addresses)
    told = await asyncio.gather(*(_echo(address, seconds) for address in asked))
    return dict(zip(asked, told, strict=True))


async def _echo(address: str, seconds: float) -> str:
    came: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def heard(said: Announcement) -> None:
        if said.node == own.node and not came.done():
            came.set_result("")

    def impossible(_reason: Reason, text: str) -> None:
        if not came.done():
            came.set_result(text)

    own = Announcement("", 0, f"probe-{secrets.token_hex(8)}", (address,), 1)
    discovery = Discovery(own, heard, lambda _gone: None, impossible, SERVICE)
    discovery.open()
    try:
        return await asyncio.wait_for(came, seconds)
    except TimeoutError:
        return f"what is sent from {address} does not come back within {seconds:.0f} s"
    finally:
        await discovery.close()
