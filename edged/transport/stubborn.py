"""Small files of a home that must not be forgotten: what the disk refuses is tried again until it is written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edged.errors import ConfigError
from edged.transport.notices import Notices

RETRY_SECONDS = 30.0


class Stubborn:
    """Writes what it is given, each file's newest content, now or as soon as the disk takes it."""

    def __init__(self, notices: Notices) -> None:
        """Nothing waits."""
        self._notices = notices
        self._waiting: dict[str, asyncio.TimerHandle] = {}

    def write(self, what: str, save: Callable[[], None], meanwhile: str) -> None:
        """Call ``save``, and again while it raises ``ConfigError``; ``meanwhile`` says what that means until then.

        ``what`` is told to people; one that waits already is replaced.
        """
        if what in self._waiting:
            self._waiting.pop(what).cancel()
        try:
            save()
        except ConfigError as problem:
            text = f"{problem}; it is tried again every {RETRY_SECONDS:.0f} s, and until then {meanwhile}"
            self._notices.add("disk", what, text)
            self._again(what, save)

    def close(self) -> None:
        """Try no more."""
        for what in list(self._waiting):
            self._waiting.pop(what).cancel()

    def _again(self, what: str, save: Callable[[], None]) -> None:
        self._waiting[what] = asyncio.get_running_loop().call_later(RETRY_SECONDS, self._retry, what, save)

    def _retry(self, what: str, save: Callable[[], None]) -> None:
        del self._waiting[what]
        try:
            save()
        except ConfigError:
            self._again(what, save)
        else:
            self._notices.add("disk", f"{what}, after all", f"there is room again: {what} is written")
