"""Curves: who was not there from a job's first step has the losses before its time from those who were.

A node that hears of a later step first (it has joined in mid-run, or was started again) asks whoever reported it, the
job's source, then the leader, then the others, one after the other, until it has a curve from the first step on. Each
is asked once. Nothing is decided by a curve: it is only shown.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from edged.core.events import Event, MessageReceived
from edged.core.ids import JobId, NodeId
from edged.core.messages import Curve, Message, StepReport, WantCurve
from edged.core.roster import is_present
from edged.roles.observer import Observer

FIRST_STEP: Final = 1
ANSWER_SECONDS: Final = 2.0
"""Whoever has not answered for so long does not, and the next is asked."""


@dataclass
class Search:
    """Who has been asked for a curve, and when the last of them was."""

    asked: set[NodeId] = field(default_factory=set)
    at: float = float("-inf")


class Curves:
    """Asks for what ``observer`` lacks of a job's losses, and answers for what it has."""

    def __init__(
        self, observer: Observer, send: Callable[[NodeId, Message], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``send`` takes a member and what it is to be told."""
        self._observer = observer
        self._send = send
        self._clock = clock
        self._searches: dict[JobId, Search] = {}

    def watch(self, event: Event) -> None:
        """Show one event to the observer; then see whether something is missing, or asked for."""
        self._observer.watch(event)
        match event:
            case MessageReceived(sender, StepReport(stamp=stamp)):
                self._look(stamp.job, sender)
            case MessageReceived(sender, WantCurve(job, before_step)):
                self._answer(sender, job, before_step)
            case MessageReceived(sender, Curve(job, points)) if self._has_asked(sender, job):
                self._observer.losses[job].prepend(points)
            case _:
                pass

    def _look(self, job: JobId, reporter: NodeId) -> None:
        """Ask the next one, if anything is missing and it is time."""
        if job not in self._observer.losses or self._observer.losses[job].first() <= FIRST_STEP:
            self._searches.pop(job, None)
            return
        search = self._searches.setdefault(job, Search())
        if self._clock() - search.at < ANSWER_SECONDS:
            return
        for node in self._candidates(reporter):
            if node not in search.asked:
                search.asked.add(node)
                search.at = self._clock()
                self._send(node, WantCurve(job, self._observer.losses[job].first()))
                break
        for forgotten in self._searches.keys() - self._observer.losses.keys():
            del self._searches[forgotten]

    def _candidates(self, reporter: NodeId) -> Iterator[NodeId]:
        """Other members that are there, the likeliest to know first."""
        members = self._observer.members
        for node in (reporter, self._observer.leader, *sorted(members)):
            if node is not None and node != self._observer.own_id and node in members and is_present(members[node]):
                yield node

    def _answer(self, asking: NodeId, job: JobId, before_step: int) -> None:
        known = self._observer.losses.get(job)
        points = tuple(point for point in known.points() if point[0] < before_step) if known is not None else ()
        if points:
            self._send(asking, Curve(job, points))

    def _has_asked(self, node: NodeId, job: JobId) -> bool:
        return job in self._searches and node in self._searches[job].asked and job in self._observer.losses
