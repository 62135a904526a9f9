"""The engine: this node's executor on its one compute thread, as the event loop sees it.

torch is imported on the compute thread, after the node has been announced: whatever is asked before then waits in the
thread's queue, in order. Results come back to the loop's thread; an exception comes back as one sentence.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from edged.core.messages import Activation, Gradient, Inputs, StateParcel
from edged.errors import EdgedError, ShortageError
from edged.telemetry.logs import topic_logger

if TYPE_CHECKING:
    from edged.compute.executor import Executor
    from edged.compute.thread import ComputeThread

T = TypeVar("T")

SHORTAGES = ("allocate memory", "not enough memory", "out of memory", "bad_alloc")
"""What torch and its libraries say, in a ``RuntimeError``, where the system or an accelerator refuses memory."""


class Engine:
    """Runs functions of the executor, one after the other."""

    def __init__(self, thread: ComputeThread, build: Callable[[], Executor]) -> None:
        """Use ``thread``, which somebody else starts and stops; ``build`` makes the executor, on that thread."""
        self._thread = thread
        self._build = build
        self._executor: Executor | None = None
        self._problem = "the executor has not been started"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._short: Callable[[ShortageError], None] = _nobody
        self.busy_seconds = 0.0
        """Seconds of work done on the thread since the start; grows when a piece of work ends."""

    def watch_memory(self, short: Callable[[ShortageError], None]) -> None:
        """Call ``short`` on the loop when memory was refused, before the work's own ``failed``.

        All that the executor ran has been let go by then.
        """
        self._short = short

    def start(self, measure: Callable[[Executor], T], done: Callable[[T], None], failed: Callable[[str], None]) -> None:
        """Build the executor, then ``measure`` it. ``failed`` gets the reason if this device cannot compute."""
        self._loop = asyncio.get_running_loop()

        def begin() -> T:
            try:
                self._executor = self._build()
            except Exception as error:
                self._problem = f"this device cannot compute: {sentence(error)}"
                raise
            return measure(self._executor)

        self._submit(begin, done, failed)

    def run(
        self,
        function: Callable[[Executor], T],
        done: Callable[[T], None],
        failed: Callable[[str], None],
    ) -> None:
        """Call ``function(executor)`` after all that was asked before; then ``done`` or ``failed`` on the loop."""

        def call() -> T:
            if self._executor is None:
                raise EdgedError(self._problem)
            return function(self._executor)

        self._submit(call, done, failed)

    def expects(self, header: Inputs | Activation | Gradient | StateParcel) -> bool:
        """Whether the executor could take a parcel with this header now. Any thread."""
        return self._executor is not None and self._executor.expects(header)

    def _submit(self, call: Callable[[], T], done: Callable[[T], None], failed: Callable[[str], None]) -> None:
        assert self._loop is not None
        loop = self._loop

        def timed() -> T:
            begun = time.perf_counter()
            try:
                return call()
            except (MemoryError, RuntimeError) as error:
                if not is_shortage(error):
                    raise
                reason = sentence(error)
            finally:
                self.busy_seconds += time.perf_counter() - begun
            raise self._relieved(reason)  # behind the handler: the first exception's frames hold what was computed

        def finish(result: T | BaseException) -> None:
            if isinstance(result, BaseException):
                if not isinstance(result, EdgedError):
                    topic_logger("compute").error("%s", sentence(result), exc_info=result)
                if isinstance(result, ShortageError):
                    self._short(result)
                failed(sentence(result))
            else:
                done(result)

        def hand_over(result: T | BaseException) -> None:
            try:
                loop.call_soon_threadsafe(finish, result)
            except RuntimeError:
                topic_logger("compute").debug("a result came after the node had stopped")

        self._thread.submit(timed, hand_over)

    def _relieved(self, reason: str) -> ShortageError:
        held = 0 if self._executor is None else self._executor.relieve()
        return ShortageError(f"memory ran out ({reason})", held)


def _nobody(_shortage: ShortageError) -> None:
    """Nobody has asked to be told."""


def is_shortage(error: BaseException) -> bool:
    """Whether this exception says that memory was refused: Python's own, or one of torch's, which has many."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in SHORTAGES)


def sentence(error: BaseException) -> str:
    """An exception in one line: a message of ours as it stands, any other with its type."""
    text = str(error).strip().splitlines()
    first = text[0] if text else ""
    if isinstance(error, EdgedError):
        return " ".join(text) or type(error).__name__
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
