"""Importing torch in less time. This module itself imports nothing of it."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path


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


def map_libraries() -> None:
    """Have torch's libraries mapped into this process while other threads go on.

    ``import torch`` does it with the interpreter lock held: a node would answer nobody for 0.2 s. A function that is
    called through ctypes does without the lock. Where that cannot be (another system, another layout), the import does
    all of it as ever.
    """
    spec = find_spec("torch")
    if sys.platform != "linux" or spec is None or spec.origin is None:
        return
    library = Path(spec.origin).parent / "lib" / "libtorch_python.so"
    if library.exists():
        dlopen = ctypes.CDLL(None).dlopen
        dlopen.argtypes, dlopen.restype = (ctypes.c_char_p, ctypes.c_int), ctypes.c_void_p
        dlopen(os.fsencode(library), os.RTLD_NOW)
