"""Bytes and seconds as people read them."""

from __future__ import annotations


def size(number: float) -> str:
    """Bytes: ``512 B``, ``3.1 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(number) < 1000:  # noqa: PLR2004 -- SI units
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def seconds_in_words(seconds: float) -> str:
    """A duration in one unit: ``40 ms``, ``12 s``, ``3 h``, ``17 days``."""
    for limit, length, unit in ((1, 0.001, "ms"), (120, 1, "s"), (7200, 60, "min"), (172800, 3600, "h")):
        if seconds < limit:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds / 86400:.3g} days"
