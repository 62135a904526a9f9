"""Large memory is given back to the system on another thread: 256 MB take some 27 ms, in which a loop hears nobody.

What numpy, torch and mmap hold is freed without Python's lock, so the loop goes on meanwhile.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

LARGE_BYTES: Final = 8 << 20
"""Less is freed at once: that takes a millisecond at most."""


def release(buffers: list[memoryview]) -> None:
    """Empty the list; nobody else should hold on to what is in it. Call it on the loop."""
    if sum(buffer.nbytes for buffer in buffers) >= LARGE_BYTES:
        with suppress(RuntimeError):  # where memory is short, the system may have none for a thread
            asyncio.get_running_loop().run_in_executor(None, _free, buffers)
            return
    buffers.clear()


def _free(buffers: list[memoryview]) -> None:
    """One after the other: between two of them the loop can have the lock."""
    while buffers:
        buffers.pop()
