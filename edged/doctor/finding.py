"""What the doctor finds: an id that scripts can rely on, how bad it is, what it is, why it matters, what mends it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from edged.doctor.catalogue import WHY


class Level(IntEnum):
    """How bad a finding is. Only a problem keeps edged from doing what it is for."""

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding. ``id`` is one of the catalogue; ``what`` is a sentence; ``remedy`` a command or what to do."""

    id: str
    level: Level
    what: str
    remedy: str = ""

    def __post_init__(self) -> None:
        """Whoever finds something that the catalogue does not know has forgotten to explain it."""
        assert self.id in WHY, f"the catalogue does not explain {self.id}"
        assert self.remedy or self.level < Level.WARNING, f"{self.id} does not say what to do"

    @property
    def why(self) -> str:
        """Why it matters."""
        return WHY[self.id]


def worst(findings: Iterable[Finding]) -> Level:
    """The level of the worst of them."""
    return max((finding.level for finding in findings), default=Level.OK)
