"""What a target of the fuzzer is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fuzz_forms import Form

MOST_WORDS = 2000
"""Characters of a refusal: it may stand in a log, on a terminal, in a message to others."""


@dataclass(frozen=True, slots=True)
class Target:
    """One reader. ``seeds`` are sound inputs, ``read`` takes any; ``most_bytes`` is the longest that is tried.

    ``read`` returns whether the input was taken for sound.
    """

    seeds: Callable[[], Iterable[bytes]]
    read: Callable[[bytes], bool]
    form: Form | None
    most_bytes: int = 1 << 13


def refused(error: Exception) -> bool:
    """Check the words of a refusal that was promised."""
    assert len(str(error)) <= MOST_WORDS, f"a refusal of {len(str(error))} characters"
    return False
