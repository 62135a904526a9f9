"""Importing torch in less time. This module itself imports nothing of it."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collector_paused() -> Iterator[None]:
    """Import large modules inside: no garbage collection meanwhile, and none will look at what they made.

    Modules live as long as the process. Looking through them again and again took a third of the time of importing
    torch, and the interpreter lock from all other threads for up to a quarter of a second at a time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
