"""What a node has told the source, kept until the source shows that it knows: control messages may be lost."""

from __future__ import annotations

from edged.core.effects import Effect, SendMessage
from edged.core.ids import NodeId, Stamp
from edged.core.job import Work
from edged.core.messages import Result, Taken, Updated, WantProgress

_RESULTS_AT_ONCE = 256


class Account:
    """Sends ``Taken``, ``Result`` and ``Updated`` once, and again when ``WantProgress`` says that they are missed.

    Its memory is bounded, because the source feeds at most ``ahead`` versions beyond what it knows.
    """

    def __init__(self, stamp: Stamp, source: NodeId, ahead: int) -> None:
        """Nothing has been told yet."""
        self._stamp = stamp
        self._source = source
        self._ahead = ahead
        self._taken: dict[int, Work] = {}
        self._results: dict[Work, Result] = {}
        self._updated: list[Updated] = []

    def taken(self, route: int, work: Work) -> Effect:
        """The first hop has done this forward."""
        self._taken[route] = work
        return SendMessage(self._source, Taken(self._stamp, work))

    def result(self, work: Work, loss: float, metrics: tuple[tuple[str, float], ...]) -> Effect:
        """The last hop has a loss."""
        self._results[work] = Result(self._stamp, work, loss, metrics)
        return SendMessage(self._source, self._results[work])

    def updated(self, updated: Updated) -> Effect:
        """A hop has reached a version; what the source must know by now is forgotten."""
        oldest = updated.version - self._ahead
        self._updated = [*(told for told in self._updated if told.version >= oldest), updated]
        self._results = {work: result for work, result in self._results.items() if work.version >= oldest}
        return SendMessage(self._source, updated)

    def say(self, updated: Updated) -> Effect:
        """Tell what the source knows already."""
        return SendMessage(self._source, updated)

    def again(self, want: WantProgress) -> list[Effect]:
        """Say again what the source may have missed, oldest first."""
        self._results = {work: result for work, result in self._results.items() if work >= want.first_missing}
        self._updated = [told for told in self._updated if told.version > want.version]
        first = sorted(self._results)[:_RESULTS_AT_ONCE]
        return [
            *(SendMessage(self._source, Taken(self._stamp, work)) for work in self._taken.values()),
            *(SendMessage(self._source, self._results[work]) for work in first),
            *(SendMessage(self._source, told) for told in self._updated),
        ]
