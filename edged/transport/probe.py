"""What a plain connect shows. A closed port is the one proof that a process is gone."""

from __future__ import annotations

import asyncio
import socket

from edged.transport.contacts import Reach

PROBE_SECONDS = 1.0


async def reach(address: tuple[str, int]) -> Reach:
    """What a fresh connect to a host and port meets, within ``PROBE_SECONDS``."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            _, writer = await asyncio.open_connection(*address)
    except ConnectionRefusedError:
        return Reach.CLOSED
    except TimeoutError:
        return Reach.SILENT
    except (socket.gaierror, ValueError):  # what stands in a record may be no name at all: ``a..b``
        return Reach.UNKNOWN_NAME
    except OSError:
        return Reach.NO_ROUTE
    writer.close()
    return Reach.OPEN


async def refuses(address: tuple[str, int]) -> bool:
    """Whether a fresh connect is refused: not when it is accepted, and not when nothing comes back.

    A stopped process still accepts, so an accepted connect proves nothing.
    """
    return await reach(address) is Reach.CLOSED
