"""Whether a port is closed: the one proof that a process is gone."""

from __future__ import annotations

import asyncio

PROBE_SECONDS = 1.0


async def refuses(address: tuple[str, int]) -> bool:
    """Whether a fresh connect is refused: not when it is accepted, and not when nothing comes back.

    A stopped process still accepts, so an accepted connect proves nothing.
    """
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return True
    except (OSError, TimeoutError):
        return False
    writer.close()
    return False
