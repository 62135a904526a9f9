"""When figures have moved so far that the planner is worth asking again; and the words for what has moved.

Asked at every drift that lasts: the planner weighs gain against cost (strategies), this machine only spares it the
question. After an answer the figures of that question are the new measure, so the same figures ask only once.
"""

from __future__ import annotations

from collections.abc import Mapping

from edged.core.figures import Levels, Subject
from edged.core.ids import NodeId

WARM_SECONDS = 5.0
"""A plan's first computations are slow: its figures are looked at after so long."""

STEADY_SECONDS = 3.0
"""A drift has lasted so long before it counts."""

LOOK_SECONDS = 0.5
"""Figures are looked at so often; they come once a second."""

CREEP_SECONDS = 20.0
"""So long after a question ..."""

CREEP = 0.5
"""... half a drift is enough for the next."""

LIMITS: Mapping[str, float] = {"speed": 0.2, "memory": 0.2, "link": 0.3}
"""A figure has drifted when it is so much larger than it was, or was so much larger than it is."""


class Drift:
    """Compares figures with those of the last question, while one plan runs."""

    def __init__(self) -> None:
        """No plan runs."""
        self._planned: Levels = {}
        self._asked: Levels = {}
        self._asked_at = 0.0
        self._since: dict[Subject, float] = {}
        self._warm_at: float | None = None
        self._look_at = 0.0

    def planned(self, levels: Levels) -> None:
        """A plan is being made with these figures."""
        self._planned = self._asked = levels
        self._since, self._warm_at = {}, None

    def running(self, now: float) -> None:
        """The plan runs now, again perhaps."""
        if self._warm_at is None:
            self._warm_at = self._look_at = self._asked_at = now + WARM_SECONDS

    def asked(self, levels: Levels, now: float) -> None:
        """The planner is asked about these figures."""
        self._asked, self._asked_at, self._since = levels, now, {}

    def is_due(self, now: float) -> bool:
        """Whether it is time to look at the figures."""
        return self._warm_at is not None and now >= self._look_at

    def is_worth_asking(self, levels: Levels, now: float) -> bool:
        """Whether some figure has drifted, and has stayed so.

        A link that shows itself for the first time has drifted; a node that does is no matter of drift.
        """
        self._look_at = now + LOOK_SECONDS
        least = 1.0 if now < self._asked_at + CREEP_SECONDS else CREEP
        far = [
            subject for subject, level in levels.items() if _distance(self._asked.get(subject), level, subject) > least
        ]
        self._since = {subject: self._since.get(subject, now) for subject in far}
        return any(now - since >= STEADY_SECONDS for since in self._since.values())

    def verbs(self) -> dict[NodeId, str]:
        """What had moved most since the plan was made, when the planner was asked last: node -> what it does now."""
        then, now = self._planned, self._asked
        moved = {subject: _distance(then[subject], now[subject], subject) for subject in sorted(then.keys() & now)}
        if not moved:
            return {}
        kind, node, peer = subject = max(moved, key=moved.__getitem__)
        return dict.fromkeys((node, peer), _WORDS[kind][now[subject] > then[subject]])


_WORDS: Mapping[str, tuple[str, str]] = {
    "speed": ("is faster", "is slower"),
    "memory": ("has less memory", "has more memory"),
    "link": ("reach each other faster", "reach each other more slowly"),
}
"""Kind of figure -> what people read when it has become less, or more."""


def _distance(before: float | None, level: float, subject: Subject) -> float:
    """Return how far a figure has moved, in drifts; infinitely, for a link that was not known."""
    if before is None:
        return float("inf") if subject[0] == "link" else 0.0
    low, high = sorted((before, level))
    if low <= 0.0:
        return 0.0 if high <= 0.0 else float("inf")
    return (high / low - 1.0) / LIMITS[subject[0]]
