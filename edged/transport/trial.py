"""Looking at others without joining them: who announces itself, and whether a door opens to a key.

Nothing that is done here makes this device known to a cluster: nothing is announced, and the handshake with a door is
broken off before the first word.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edged.transport.contacts import Reach
from edged.transport.discovery import Announcement, Discovery
from edged.transport.identity import new_identity
from edged.transport.probe import reach
from edged.transport.road import Attempt, Outcome
from edged.transport.search import Address
from edged.transport.security import ClusterKey
from edged.transport.sockets import DOOR_KIND, Context

HANDSHAKE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Trial:
    """What a door showed: what a plain connect met, after how many ``seconds``, and whether the key ``opens`` it.

    ``opens`` is ``None`` without a key, or where the handshake did not end in time.
    """

    address: Address
    reach: Reach
    seconds: float
    opens: bool | None


async def listen(addresses: Iterable[str], seconds: float, heard: Callable[[Announcement], None]) -> None:
    """Hear nodes announce themselves on these of the own addresses, and say nothing."""
    nobody = Announcement("", 0, "", tuple(addresses), 1)
    discovery = Discovery(nobody, heard, lambda _gone: None, lambda _reason, _text: None, announces=False)
    discovery.open()
    try:
        await asyncio.sleep(seconds)
    finally:
        await discovery.close()


async def try_door(context: Context, key: ClusterKey | None, address: Address) -> Trial:
    """Connect to a door; with a ``key``, also begin the handshake that only its holders get through."""
    begun = time.monotonic()
    shown = await reach(address)
    seconds = time.monotonic() - begun
    opens = await _opens(context, key, address) if shown is Reach.OPEN and key is not None else None
    return Trial(address, shown, seconds, opens)


async def _opens(context: Context, key: ClusterKey, address: Address) -> bool | None:
    told: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()

    def ended(_attempt: Attempt, outcome: Outcome) -> None:
        if not told.done():
            told.set_result({Outcome.UP: True, Outcome.STRANGER: False, Outcome.DENIED: False}.get(outcome))

    attempt = Attempt(context, DOOR_KIND, new_identity(), key.door_public, address, ended)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            return await told
    except TimeoutError:
        return None
    finally:
        attempt.close()
