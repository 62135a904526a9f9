"""A process started anew, or a copied home? The process that is known is asked, behind its own door.

A restart raises the boot counter, and so does the first start of a copied home. They differ in one thing: where a home
was copied, the process that is known is still there. That it is on the list of members does not say so, as a death may
not have been noticed yet: the known process has to answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord
from edged.transport.knocking import Finding, Finished, Knocking
from edged.transport.road import MOST_ADDRESSES
from edged.transport.search import Address

ANSWER_SECONDS = 3.0
"""Who does not answer by then counts as gone: a joiner waits for its answer for five seconds."""


class Question:
    """One question to one process: is it there? Calls ``done`` exactly once, unless closed first."""

    def __init__(
        self,
        known: MemberRecord,
        knock: Callable[[Address, Callable[[Finished], None]], Knocking],
        done: Callable[[bool], None],
    ) -> None:
        """Knock at all addresses of ``known`` at once."""
        self._known = known
        self._done = done
        self._timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, lambda: self._end(there=False))
        addresses = [(host, known.door_port) for host in known.addresses[:MOST_ADDRESSES]]
        self._open = {address: knock(address, self._heard) for address in dict.fromkeys(addresses)}

    def close(self) -> None:
        """Ask no more, and tell nothing."""
        self._timer.cancel()
        for knocking in self._open.values():
            knocking.close()

    def _heard(self, finished: Finished) -> None:
        self._open.pop(finished.address)
        told = finished.record if finished.finding is Finding.MET else None
        if told is not None and (told.node, told.boot) == (self._known.node, self._known.boot):
            self._end(there=True)
        elif not self._open:
            self._end(there=False)

    def _end(self, *, there: bool) -> None:
        self.close()
        self._done(there)


class Succession:
    """Who waits for which answer: at most one question is open about each node."""

    def __init__(self, knock: Callable[[Address, Callable[[Finished], None]], Knocking]) -> None:
        """Ask nothing yet; ``knock`` begins an attempt at a door."""
        self._knock = knock
        self._questions: dict[NodeId, Question] = {}
        self._waiting: dict[NodeId, list[Callable[[bool], None]]] = {}

    def close(self) -> None:
        """Ask no more."""
        for question in self._questions.values():
            question.close()

    def ask(self, known: MemberRecord, told: Callable[[bool], None]) -> None:
        """Call ``told`` with whether the process of ``known`` is there, within ``ANSWER_SECONDS``."""
        node = known.node
        self._waiting.setdefault(node, []).append(told)
        if node not in self._questions:
            self._questions[node] = Question(known, self._knock, lambda there: self._told(node, there=there))

    def _told(self, node: NodeId, *, there: bool) -> None:
        del self._questions[node]
        for told in self._waiting.pop(node):
            told(there)
