"""When figures have moved so far that the planner is worth asking again; and the words for what has moved.

Asked at every drift that lasts: the planner weighs gain against cost (strategies), this machine only spares it the
question. After an answer the figures of that question are the new measure, so the same figures ask only once; and
once more when speeds are sure, for what a plan was made by was measured in a hurry: in a calibration, or in the few
seconds since a node became slower.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

from edged.core.figures import Levels, Subject
from edged.core.ids import NodeId
from edged.core.situation import LEAST_GAIN, SURE_GAIN

WARM_SECONDS = 15.0
"""A plan begins with slow computations, and with copies of its layers: its figures are looked at after so long."""

STEADY_SECONDS = (3.0, 6.0, 12.0)
"""A drift has lasted so long before it counts: the longer, the more often the same figure was asked about before."""

LOOK_SECONDS = 0.5
"""Figures are looked at so often; they come once a second."""

SURE_SECONDS = 35.0
"""So long after a plan began, or a speed drifted, its nodes' speeds are of many seconds of work (``gauge.py``)."""

CALM_SECONDS = 120.0
"""Every change makes the next one need twice the gain; so long after it, its part in that has halved.

How slow a node is depends a little on which layers it has, which nobody knows before: that must not move them in
circles."""

MOST_UNREST = 2.0
"""However many changes there were, four times the usual gain is enough."""

LITTLE_UNREST = 0.25
"""That of a change some minutes ago."""

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
        self._questions: Counter[Subject] = Counter()
        self._warm_at: float | None = None
        self._look_at = 0.0
        self._working: frozenset[NodeId] = frozenset()
        self._sure_at: float | None = None
        self._sure = False
        self._confirmed = False
        self._unrest, self._moved_at = 0.0, 0.0

    def planned(self, levels: Levels) -> None:
        """A plan is being made with these figures."""
        self._planned = self._asked = levels
        self._since, self._warm_at, self._sure_at = {}, None, None
        self._questions.clear()
        self._sure = self._confirmed = False

    def resumed(self, now: float) -> None:
        """Nodes are told to work by the plan now, again perhaps."""
        if self._warm_at is None:
            self._warm_at = self._look_at = self._asked_at = now + WARM_SECONDS
            self._sure_at = now + SURE_SECONDS

    def running(self, now: float, nodes: Iterable[NodeId]) -> None:
        """The plan's first step is done: all its ``nodes`` have worked."""
        self._working = frozenset(nodes)
        if self._sure_at is not None:
            self._sure_at = max(self._sure_at, now + WARM_SECONDS)

    def kept(self, now: float) -> None:
        """The plan stays in force; if it had to gain more than usual, it is asked about once more when that is over.

        The first time, it has been found right by what was measured at work: words compare with that from then on.
        """
        if not self._confirmed:
            self._planned, self._confirmed = self._asked, True
        if self._sure_at is None and self._unrest_at(now) > LITTLE_UNREST:
            self._sure_at = now + CALM_SECONDS

    def changed(self, now: float) -> None:
        """Another plan takes its place, for what it gains."""
        self._unrest, self._moved_at = min(self._unrest_at(now) + 1.0, MOST_UNREST), now

    def least_gain(self, now: float, *, sure: bool) -> float:
        """What share of the step time another plan is to gain, by speeds that are sure or not."""
        return (SURE_GAIN if sure else LEAST_GAIN) * math.pow(2.0, self._unrest_at(now))

    def asked(self, levels: Levels, now: float) -> bool:
        """The planner is asked about these figures; returns whether the speeds of those who work are sure."""
        if self._speeds_move():
            self._sure, self._sure_at = False, now + SURE_SECONDS
        elif self.becomes_sure(now):
            self._sure, self._sure_at = True, None
        self._questions.update(self._lasting(now))
        self._asked, self._asked_at, self._since = levels, now, {}
        return self._sure

    def is_due(self, now: float) -> bool:
        """Whether it is time to look at the figures."""
        return self._warm_at is not None and now >= self._look_at

    def is_worth_asking(self, levels: Levels, now: float) -> bool:
        """Whether some figure has drifted, and has stayed so; or speeds have become sure.

        A link that shows itself for the first time has drifted; a node that does is no matter of drift.
        """
        self._look_at = now + LOOK_SECONDS
        least = 1.0 if now < self._asked_at + CREEP_SECONDS else CREEP
        far = [
            subject for subject, level in levels.items() if _distance(self._asked.get(subject), level, subject) > least
        ]
        self._since = {subject: self._since.get(subject, now) for subject in far}
        return self.becomes_sure(now) or bool(self._lasting(now))

    def _lasting(self, now: float) -> list[Subject]:
        """The figures that have stayed far for long enough."""

        def steady(subject: Subject) -> float:
            return STEADY_SECONDS[min(self._questions[subject], len(STEADY_SECONDS) - 1)]

        return [subject for subject, since in self._since.items() if now - since >= steady(subject)]

    def _unrest_at(self, now: float) -> float:
        return self._unrest * math.pow(0.5, (now - self._moved_at) / CALM_SECONDS)

    def becomes_sure(self, now: float) -> bool:
        """Whether it is time to ask because speeds are sure now."""
        return self._sure_at is not None and now >= self._sure_at and not self._speeds_move()

    def _speeds_move(self) -> bool:
        return any(kind == "speed" and node in self._working for kind, node, _ in self._since)

    def verbs(self) -> dict[NodeId, str]:
        """What had moved most since the plan was made, when the planner was asked last: node -> what it does now.

        By how much all nodes became slower, or faster, says nothing of one: nor does it change a plan.
        """
        then, now = self._planned, _apart_from_what_is_common(self._planned, self._asked)
        moved = {subject: _distance(then[subject], now[subject], subject) for subject in sorted(then.keys() & now)}
        if max(moved.values(), default=0.0) < CREEP:
            return {}
        slow = {each for each, far in moved.items() if each[0] == "speed" and far > 1.0 and now[each] > then[each]}
        # who is slow answers late, so that its links seem to be slow, too
        kind, node, peer = subject = max(slow or moved, key=moved.__getitem__)
        return dict.fromkeys((node, peer), _WORDS[kind][now[subject] > then[subject]])


_WORDS: Mapping[str, tuple[str, str]] = {
    "speed": ("is faster", "is slower"),
    "memory": ("has less memory", "has more memory"),
    "link": ("reach each other faster", "reach each other more slowly"),
}
"""Kind of figure -> what people read when it has become less, or more."""


def _apart_from_what_is_common(then: Levels, now: Levels) -> Levels:
    """The figures of now without what all nodes have in common: as far as even the steadiest of them has moved."""
    speeds = [subject for subject in then.keys() & now if subject[0] == "speed"]
    ratios = [now[subject] / then[subject] for subject in speeds if min(now[subject], then[subject]) > 0.0]
    if not ratios:
        return now
    common = min(ratios, key=lambda ratio: max(ratio, 1.0 / ratio))
    return {subject: level / common if subject[0] == "speed" else level for subject, level in now.items()}


def _distance(before: float | None, level: float, subject: Subject) -> float:
    """Return how far a figure has moved, in drifts; infinitely, for a link that was not known."""
    if before is None:
        return float("inf") if subject[0] == "link" else 0.0
    low, high = sorted((before, level))
    if low <= 0.0:
        return 0.0 if high <= 0.0 else float("inf")
    return (high / low - 1.0) / LIMITS[subject[0]]
