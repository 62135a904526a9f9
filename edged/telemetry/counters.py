"""Plain counters: how often something happened since the node started."""

from __future__ import annotations

from collections import defaultdict


class Counters:
    """Named numbers that only grow. One owner, one thread."""

    def __init__(self) -> None:
        """Start with nothing counted."""
        self._counts: defaultdict[str, float] = defaultdict(int)

    def add(self, name: str, amount: float = 1) -> None:
        """Count ``name`` ``amount`` times more."""
        self._counts[name] += amount

    def __getitem__(self, name: str) -> float:
        """How often ``name`` was counted; 0 for a name never seen."""
        return self._counts.get(name, 0)

    def snapshot(self) -> dict[str, float]:
        """All counts, by name, in the order of the names."""
        return dict(sorted(self._counts.items()))
