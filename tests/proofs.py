"""What the default run shows in short, and ``make proofs`` at length."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def first_of(cases: Iterable[Any], count: int) -> list[Any]:
    """All cases; those behind the first ``count`` are proofs, which the default run leaves out."""
    return [pytest.param(case, marks=[pytest.mark.proof] * (number >= count)) for number, case in enumerate(cases)]
