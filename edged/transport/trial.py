"""Looking at others without joining them: who announces itself, and whether a door opens to a key.

Nothing that is done here makes this device known to a cluster: nothing is announced, and the handshake with a door is
broken off before the first word. Names are resolved, and doors that cut the handshake judged, as ``search.py`` does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from edged.transport.contacts import Reach
from edged.transport.discovery import Announcement, Discovery
from edged.transport.identity import new_identity
from edged.transport.probe import reach
from edged.transport.road import Attempt, Outcome
from edged.transport.search import CUTS_OF_ANOTHER_KEY, FIRST_PAUSE_SECONDS, Address, resolve
from edged.transport.security import ClusterKey
from edged.transport.sockets import DOOR_KIND, Context

HANDSHAKE_SECONDS = 2.0
MOST_HOSTS = 4
"""So many numeric hosts behind one name are tried."""


@dataclass(frozen=True, slots=True)
class Trial:
    """What a door showed: what a plain connect met, after how many ``seconds``, and whether the key ``opens`` it.

    ``opens`` is ``None`` without a key, or where the handshake did not end in time. ``address`` is what was asked for,
    which may be a name; ``places`` are the numeric ones behind it.
    """

    address: Address
    reach: Reach
    seconds: float
    opens: bool | None
    places: tuple[Address, ...] = ()

    @property
    def rank(self) -> tuple[bool, bool, float]:
        """The less, the better."""
        return self.reach is not Reach.OPEN, not self.opens, self.seconds


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
    """Connect to a door; with a ``key``, also begin the handshake that only its holders get through.

    Of several hosts behind a name the best counts.
    """
    places = tuple((host, address[1]) for host in (await resolve(address))[:MOST_HOSTS])
    if not places:
        return Trial(address, Reach.UNKNOWN_NAME, 0.0, None)
    trials = await asyncio.gather(*(_try_place(context, key, place) for place in places))
    return replace(min(trials, key=lambda trial: trial.rank), address=address, places=places)


async def _try_place(context: Context, key: ClusterKey | None, place: Address) -> Trial:
    begun = time.monotonic()
    shown = await reach(place)
    seconds = time.monotonic() - begun
    opens = await _opens(context, key, place) if shown is Reach.OPEN and key is not None else None
    return Trial(place, shown, seconds, opens)


async def _opens(context: Context, key: ClusterKey, place: Address) -> bool | None:
    """Whether the key opens it. A handshake that is cut once may just have met a node that was ending."""
    pause = FIRST_PAUSE_SECONDS
    for cuts in range(CUTS_OF_ANOTHER_KEY):
        if cuts:
            await asyncio.sleep(pause)
            pause *= 2
        outcome = await _handshake(context, key, place)
        if outcome is not Outcome.STRANGER:
            return {Outcome.UP: True, Outcome.DENIED: False}.get(outcome) if outcome else None
    return False


async def _handshake(context: Context, key: ClusterKey, place: Address) -> Outcome | None:
    """What came of it; ``None``: nothing in time."""
    told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def ended(_attempt: Attempt, outcome: Outcome) -> None:
        if not told.done():
            told.set_result(outcome)

    attempt = Attempt(context, DOOR_KIND, new_identity(), key.door_public, place, ended)
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            return await told
    except TimeoutError:
        return None
    finally:
        attempt.close()
