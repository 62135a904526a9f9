"""Farewell: what Ctrl-C and the signals of a service manager do. The first one leaves gracefully, the second at once.

::

    SIGINT, SIGTERM, SIGHUP --> leave: layers move first, what is held goes to the disk --> the process ends, status 0
                        +-----> again, at any time: the process ends now, status 130; to the others that is a death
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

from edged.core.events import LeaveAsked
from edged.core.leaving import Leaving
from edged.roles.pump import Pump

LEAVE_SECONDS = 1.2
"""A node that nothing holds any more has this long to say goodbye; whether it still is held is looked at as often."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

AT_ONCE = "left at once, without a goodbye; to the others this node has died"


class Farewell:
    """Listens for signals while it is ``open``. Before it can act on the first, it remembers it."""

    def __init__(self, say: Callable[[str], None], abandon: Callable[[], None]) -> None:
        """``say`` something to whoever sits in front of this node; ``abandon``: end the process now."""
        self._say = say
        self._abandon = abandon
        self._leave: Callable[[signal.Signals], None] | None = None
        self._number: signal.Signals | None = None

    @property
    def asked(self) -> bool:
        """Whether a signal has come."""
        return self._number is not None

    def open(self) -> None:
        """Listen from now on. On the loop."""
        for number in SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._signalled, number)

    def serve(self, pump: Pump, leaving: Leaving) -> None:
        """The pump runs as soon as the loop goes on: it can be asked to leave, and has been if a signal came before."""
        self._leave = lambda number: self._ask(pump, leaving, number)
        if self._number is not None:
            asyncio.get_running_loop().call_soon(self._leave, self._number)

    def close(self) -> None:
        """Listen no more."""
        for number in SIGNALS:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _signalled(self, number: signal.Signals) -> None:
        if self._number is not None:
            self._abandon()
        self._number = number
        if self._leave is not None:
            self._leave(number)

    def _ask(self, pump: Pump, leaving: Leaving, number: signal.Signals) -> None:
        pump.post(LeaveAsked())
        how = "saying goodbye" if leaving.goes else "moving layers first"
        again = "press Ctrl-C again to leave" if number is signal.SIGINT else "a second signal ends this node"
        self._say(f"leaving: {how}; {again} at once")
        self._see_off(pump, leaving)

    def _see_off(self, pump: Pump, leaving: Leaving) -> None:
        """How long others have to take its layers, the core decides; the goodbye after that is over in time."""
        loop = asyncio.get_running_loop()
        if leaving.goes:
            loop.call_later(LEAVE_SECONDS, pump.stop, "its time to say goodbye was over")
        else:
            loop.call_later(LEAVE_SECONDS, self._see_off, pump, leaving)
