"""A process that gets a share of a processor only, at will, in mid-run: SIGSTOP and SIGCONT in short turns.

Needs no root and no control groups. The whole process is stopped, its network threads too, as on a device that is busy
with something else::

    with Throttle(pid, share=0.2) as throttle:      # five times slower
        ...
        throttle.share = 1.0                        # as fast as before
        ...
    # goes on, whatever happened
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

PERIOD_SECONDS = 0.02
"""A turn: shorter than what a network or a pipeline would take for a pause."""


class Throttle:
    """Stops and continues one process. ``share`` (0.01 to 1.0) may be changed while it does."""

    def __init__(self, pid: int, share: float, period_seconds: float = PERIOD_SECONDS) -> None:
        """Begin with ``start``, or as a context manager."""
        self._pid = pid
        self._period = period_seconds
        self._ends = threading.Event()
        self._thread: threading.Thread | None = None
        self.share = share

    @property
    def share(self) -> float:
        """The part of the time in which the process may run."""
        return self._share

    @share.setter
    def share(self, share: float) -> None:
        if not 0.01 <= share <= 1.0:  # noqa: PLR2004 - a process that gets less is a dead one
            raise ValueError(f"a share lies between 0.01 and 1.0, not at {share}")
        self._share = share

    def start(self) -> Self:
        """Begin; once."""
        self._thread = threading.Thread(target=self._run, name=f"throttle-{self._pid}", daemon=True)
        self._thread.start()
        return self

    def stop(self) -> None:
        """End; the process goes on, if it is still there."""
        self._ends.set()
        if self._thread is not None:
            self._thread.join()
        self._signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        """Begin."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End."""
        self.stop()

    def _run(self) -> None:
        """One turn after the other; what a busy machine lets it run too long, or stop, is made up for in the next."""
        debt = 0.0
        while not self._ends.is_set():
            if self._share == 1.0:
                debt = 0.0
                self._ends.wait(self._period)
                continue
            stopped = self._stop_for(max(0.0, (1.0 - self._share) * self._period + debt))
            if stopped is None:
                return
            begun = time.monotonic()
            self._ends.wait(self._share * self._period)
            ran = time.monotonic() - begun
            debt += ran * (1.0 - self._share) / self._share - stopped

    def _stop_for(self, seconds: float) -> float | None:
        """Let the process stand; returns how long it did, or ``None`` if it is gone."""
        begun = time.monotonic()
        if not self._signal(signal.SIGSTOP):
            return None
        try:
            self._ends.wait(seconds)
        finally:
            self._signal(signal.SIGCONT)
        return time.monotonic() - begun

    def _signal(self, number: signal.Signals) -> bool:
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)
            return True
        return False


def main() -> None:
    """``python scripts/testbed_throttle.py PID SHARE [SECONDS]``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("pid", type=int)
    parser.add_argument("share", type=float, help="part of the time in which it may run, 0.01 to 1.0")
    parser.add_argument("seconds", type=float, nargs="?", default=float("inf"))
    arguments = parser.parse_args()
    end = time.monotonic() + arguments.seconds
    with suppress(KeyboardInterrupt), Throttle(arguments.pid, arguments.share):
        while time.monotonic() < end:
            time.sleep(min(0.2, max(0.0, end - time.monotonic())))
    sys.stderr.write(f"process {arguments.pid} goes on\n")


if __name__ == "__main__":
    main()
