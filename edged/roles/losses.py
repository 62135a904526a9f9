"""The losses of a job from its first step to its newest, the sparser the longer ago: enough for a whole curve."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

RECENT = 250
"""So many of the newest steps are all there."""

OLDER = 250
"""Of those before, at most so many; where they become more, every second one is let go."""

Point = tuple[int, float]


class Losses:
    """At most ``RECENT + OLDER`` points ``(step, loss)``."""

    def __init__(self) -> None:
        """No step yet."""
        self._older: list[Point] = []
        self._recent: deque[Point] = deque()
        self._first = self._every = 1

    def add(self, step: int, loss: float) -> None:
        """A step was done. Those from it on were rolled back, if there are any, and leave the curve."""
        while self._recent and self._recent[-1][0] >= step:
            self._recent.pop()
        while self._older and self._older[-1][0] >= step:
            self._older.pop()
        if not (self._older or self._recent):
            self._first, self._every = step, 1
        self._recent.append((step, loss))
        if len(self._recent) > RECENT:
            self._keep(self._recent.popleft())

    def prepend(self, points: Iterable[Point]) -> None:
        """Take in points of steps before the first that was heard of, from somebody who heard of them."""
        own = self.points()
        earlier = dict(point for point in points if not own or point[0] < own[0][0])
        whole = Losses()
        for step, loss in [*sorted(earlier.items()), *own]:
            whole.add(step, loss)
        self._older, self._recent = whole._older, whole._recent
        self._first, self._every = whole._first, whole._every

    def first(self) -> int:
        """The first step that was heard of; 0 if there is none."""
        return self._first if self._older or self._recent else 0

    def newest(self) -> Point | None:
        """The newest step, and its loss."""
        return self._recent[-1] if self._recent else self._older[-1] if self._older else None

    def points(self) -> list[Point]:
        """From the oldest to the newest; the first step that was heard of is always among them."""
        return [*self._older, *self._recent]

    def _keep(self, point: Point) -> None:
        """The older ones lie ``every`` steps apart, counted from the first."""
        if (point[0] - self._first) % self._every == 0:
            self._older.append(point)
        while len(self._older) > OLDER:
            self._every *= 2
            self._older = [kept for kept in self._older if (kept[0] - self._first) % self._every == 0]
