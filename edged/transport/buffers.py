"""Memory for received tensors: aligned, because the bits of some kernels hang on it."""

from __future__ import annotations

import ctypes

ALIGNMENT = 64
"""Bytes; the widest vector register. Frames as ZeroMQ delivers them practically never lie on a multiple of it."""


def aligned(size: int) -> memoryview:
    """A fresh writable view of ``size`` bytes (format "B") that begins at a multiple of ``ALIGNMENT``.

    The memory lives as long as the view, or anything made from it, does. Its content is zero.
    """
    room = bytearray(size + ALIGNMENT)
    address = ctypes.addressof(ctypes.c_char.from_buffer(room))
    start = -address % ALIGNMENT
    return memoryview(room)[start : start + size]


def copied(view: memoryview) -> memoryview:
    """The same bytes in memory of their own, aligned."""
    copy = aligned(view.nbytes)
    if view.nbytes:
        copy[:] = view.cast("B")
    return copy
