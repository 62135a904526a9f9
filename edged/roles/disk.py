"""The disk's own thread: what waits for a disk never holds up the loop, and happens in the order it was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from edged.compute.thread import ComputeThread
from edged.errors import EdgedError
from edged.roles.engine import sentence
from edged.telemetry.logs import topic_logger

T = TypeVar("T")

STOP_SECONDS = 5.0
"""How long whatever else the disk is at may take at the end; for what is worth more, its owner waits before."""


class Disk:
    """Runs functions one after the other. ``start`` it on the loop, ``stop`` it at the end."""

    def __init__(self) -> None:
        """The thread does not run yet."""
        self._thread = ComputeThread("edged-disk")
        self._loop: asyncio.AbstractEventLoop | None = None

    def start(self) -> None:
        """Start the thread; once."""
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    def stop(self) -> bool:
        """Wait a moment for what was asked for; return whether that came to an end, and say it if not."""
        ended = self._loop is None or self._thread.stop(STOP_SECONDS)
        if not ended:
            topic_logger("disk").warning("the disk was not done with what it was asked for when this node stopped")
        return ended

    def run(self, function: Callable[[], T], done: Callable[[T], None], failed: Callable[[str], None]) -> None:
        """Call ``function`` after all that was asked before; then ``done`` or, with a sentence, ``failed``."""
        assert self._loop is not None
        loop = self._loop

        def finish(result: T | BaseException) -> None:
            if not isinstance(result, BaseException):
                done(result)
                return
            if not isinstance(result, EdgedError | OSError):
                topic_logger("disk").error("%s", sentence(result), exc_info=result)
            failed(words(result))

        def hand_over(result: T | BaseException) -> None:
            try:
                loop.call_soon_threadsafe(finish, result)
            except RuntimeError:
                topic_logger("disk").info("a file was done after the node had stopped")

        self._thread.submit(function, hand_over)


def words(error: BaseException) -> str:
    """What went wrong, for people; of a file, which one."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return sentence(error)
