"""The one thread on which a node computes, so that its loop stays free."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

Callback = Callable[[Any], None]
"""Takes what the function returned, or the exception that it raised. Runs on the compute thread; must not raise."""


class ComputeThread:
    """Runs functions one after the other, in the order in which they were submitted."""

    def __init__(self, name: str = "edged-compute") -> None:
        """The thread does not run yet."""
        self._queue: SimpleQueue[tuple[Callable[[], Any], Callback] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def submit(self, function: Callable[[], Any], callback: Callback) -> None:
        """Queue a function, from any thread, without waiting."""
        self._queue.put((function, callback))

    def stop(self, timeout_seconds: float = 5.0) -> bool:
        """Finish what was submitted before, then end. Returns whether it ended in time."""
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            function, callback = item
            callback(_outcome(function))
            del item, function, callback  # let go of their memory while waiting


def _outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except Exception as error:  # noqa: BLE001 -- the executor's border: every failure becomes an event
        return error
