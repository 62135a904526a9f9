"""The end of a job that fails: the newest weights of which every hop has a copy are brought home first.

::

    a final failure --> WantSnapshot to every hop --> all parcels here --> WriteWeights --> the verdict names the file
                             |  Refused: meanwhile a newer version was committed, and this one let go
                             +--> that one; or, if none becomes known, the verdict that they are lost

Hops copy the version that a plan goes on from, and keep the two newest that are committed, so one of those is had from
all, but where copying is so slow that the first had to go before another was committed. A hop that dies meanwhile is
the leader's to replace: steps are done again, and the job fails in the same place.
"""

from __future__ import annotations

from edged.core.collecting import KEPT_TOKEN, Collecting
from edged.core.effects import Effect, WriteWeights
from edged.core.ids import Stamp
from edged.core.messages import Refused

LOST_SECONDS = 5.0
"""So long after a refusal word of a newer version may still be on its way."""


class Failing:
    """``problem`` is why the job fails, empty as long as it does not; ``verdict``, once it is known, what is told."""

    def __init__(self, stamp: Stamp, collecting: Collecting, version: int) -> None:
        """All is well. The plan goes on from ``version``; parcels are asked for, and counted, by ``collecting``."""
        self.problem = ""
        self.verdict = ""
        self._stamp = stamp
        self._collecting = collecting
        self._copied = self._wanted = version
        self._lost_at: float | None = None

    def committed(self, version: int) -> None:
        """Every hop keeps this version, -1: none, until two newer ones are committed."""
        self._copied = max(self._copied, version)

    def begin(self, problem: str, now: float) -> list[Effect]:
        """The job fails. The first weights, which whoever handed it in still has, are not worth bringing home."""
        self.problem = problem
        if self._copied > 0:
            return self._collect(now)
        self.verdict = problem
        return []

    def refused(self, refused: Refused, now: float) -> list[Effect]:
        """A hop does not hold what was asked for; it is asked again until there is word of something newer."""
        if refused.version != self._wanted or not self._collecting.lacks(self._wanted):
            return []
        if self._copied > self._wanted:
            return self._collect(now)
        self._lost_at = now + LOST_SECONDS if self._lost_at is None else self._lost_at
        if now >= self._lost_at:
            self.give_up(refused.reason)
        return []

    def give_up(self, reason: str) -> None:
        """The weights cannot be brought home."""
        self.verdict = f"{self.in_words()} are lost: {reason}"

    def write(self) -> WriteWeights:
        """Write what has been brought home."""
        return WriteWeights(self._stamp, self._wanted, KEPT_TOKEN)

    def written(self, output: str) -> None:
        """It is written."""
        self.verdict = f"{self.in_words()} are kept on the source in {output}"

    def in_words(self) -> str:
        """The beginning of a sentence: why the job fails, and which weights are brought home."""
        return f"{self.problem}; the weights after step {self._wanted}"

    def _collect(self, now: float) -> list[Effect]:
        self._wanted, self._lost_at = self._copied, None
        return self._collecting.begin_kept(self._wanted, now)
