"""Whether the computation that is under way on this node takes suspiciously long.

A node whose loop answers while its compute thread hangs looks alive, and the pipeline waits for it for ever. A slow
device looks the same for a while, and must not be given up: so a computation is compared with what that kind of it has
taken before in this plan, and the first of a kind with what the planner expected of a whole step.
"""

from __future__ import annotations

from edged.core.effects import Effect, Log, RunBackward, RunForward, RunUpdate, TakeNorms

LEAST_SECONDS = 30.0
"""No computation shorter than this takes too long: a snapshot, or a parcel to be loaded, may have come before it ..."""

TIMES_USUAL = 4.0
"""... nor any that takes less than so many times the longest of its kind."""

FIRST_SECONDS = 600.0
"""The first of a kind is given this long at least ..."""

TIMES_PREDICTED = 20.0
"""... and so many times what a whole step was predicted to take."""

Computing = RunForward | RunBackward | TakeNorms | RunUpdate
"""What a schedule computes, one at a time."""

_Kind = tuple[object, ...]


class Pace:
    """Remembers how long each kind of computation has taken at most, and when the one under way began."""

    def __init__(self, predicted_step_seconds: float) -> None:
        """Nothing is under way; ``predicted_step_seconds`` is 0.0 where nothing was predicted."""
        self._first_seconds = max(FIRST_SECONDS, TIMES_PREDICTED * predicted_step_seconds)
        self._longest: dict[_Kind, float] = {}
        self._kind: _Kind | None = None
        self._began = 0.0
        self._told = False

    def begin(self, computing: Computing, now: float) -> None:
        """This computation is under way now."""
        self._kind, self._began, self._told = _kind(computing), now, False

    def end(self, now: float) -> None:
        """It is done."""
        if self._kind is not None:
            self._longest[self._kind] = max(self._longest.get(self._kind, 0.0), now - self._began)
        self._kind = None

    def forgive(self, now: float) -> None:
        """This node itself was not there to see what was done."""
        self._began = now

    def late(self, now: float) -> bool:
        """Whether the computation under way takes too long."""
        return self._kind is not None and now > self._began + self._limit(self._kind)

    def complain(self, now: float) -> list[Effect]:
        """Tell people that it does, once."""
        if self._told or self._kind is None:
            return []
        self._told = True
        usual = f", never more than {self._longest[self._kind]:.1f} s before" if self._kind in self._longest else ""
        text = f"a computation ({self._kind[0]}) has been under way for {now - self._began:.0f} s{usual}"
        return [Log("warning", "schedule", f"{text}: this node says no more that it is well")]

    def _limit(self, kind: _Kind) -> float:
        if kind not in self._longest:
            return self._first_seconds
        return max(LEAST_SECONDS, TIMES_USUAL * self._longest[kind])


def _kind(computing: Computing) -> _Kind:
    match computing:
        case RunForward(route=route, hop=hop, work=work):
            return "forward", route, hop, work.phase
        case RunBackward(route=route, hop=hop):
            return "backward", route, hop
        case TakeNorms():
            return ("norms",)
        case RunUpdate():
            return ("update",)
