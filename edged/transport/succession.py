"""A process started anew, or a copied home? The process that is known is asked, behind its own door.

A restart raises the boot counter, and so does the first start of a copied home. They differ in one thing: where a home
was copied, the process that is known is still there. That it is on the list of members does not say so, as a death may
not have been noticed yet: the known process has to answer. Both sides of a door ask, before they prove anything to the
other that would make it a member: the keeper of who knocks, and who knocks of the keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from edged.core.ids import NodeId
from edged.core.messages import MemberRecord
from edged.transport.door import already_runs, is_twin
from edged.transport.knocking import Finding, Finished, Knocking
from edged.transport.road import MOST_ADDRESSES
from edged.transport.search import Address

ANSWER_SECONDS = 3.0
"""Who does not answer by then counts as gone: a joiner waits for its answer for five seconds."""

Process = tuple[NodeId, int]
"""A node and its boot."""

Knock = Callable[[Address, Callable[[Finished], None]], Knocking]
"""Begins an attempt at a door that ends as soon as its keeper has proved the key."""


class Question:
    """One question to one process: is it there? Calls ``done`` exactly once, unless closed first."""

    def __init__(self, known: MemberRecord, knock: Knock, done: Callable[[bool], None]) -> None:
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
        """The known process is there, or another one of its node has taken its door, or somebody else, or nobody."""
        self._open.pop(finished.address)
        told = finished.record if finished.finding is Finding.THERE else None
        if told is not None and told.node == self._known.node:
            self._end(there=told.boot == self._known.boot)
        elif not self._open:
            self._end(there=False)

    def _end(self, *, there: bool) -> None:
        self.close()
        self._done(there)


class Succession:
    """Says of every process that has proved the key whether it is to be met. One question is open about each."""

    def __init__(self, newest: Mapping[NodeId, MemberRecord], present: Callable[[NodeId], bool], knock: Knock) -> None:
        """Ask nothing yet. ``newest`` has each node's known process; ``present`` says whether that is a member."""
        self._newest = newest
        self._present = present
        self._knock = knock
        self._questions: dict[Process, Question] = {}
        self._waiting: dict[Process, list[Callable[[bool], None]]] = {}

    def close(self) -> None:
        """Ask no more, and tell nobody."""
        for question in self._questions.values():
            question.close()
        self._questions.clear()
        self._waiting.clear()

    def examine(self, record: MemberRecord, told: Callable[[str], None], gone: int = -1) -> None:
        """Tell why the process of ``record`` is the second one of its node; nothing, if it is the only one.

        At once or within ``ANSWER_SECONDS``, once for each process that turns up meanwhile; the one whose boot is
        ``gone`` has been asked.
        """
        known = self._newest.get(record.node)
        if known is not None and is_twin(record, known):
            told(already_runs(known))
        elif known is None or known.boot in {record.boot, gone} or not self._present(record.node):
            told("")
        else:
            self._ask(
                known, lambda there: told(already_runs(known)) if there else self.examine(record, told, known.boot)
            )

    def _ask(self, known: MemberRecord, told: Callable[[bool], None]) -> None:
        process = (known.node, known.boot)
        self._waiting.setdefault(process, []).append(told)
        if process not in self._questions:
            self._questions[process] = Question(known, self._knock, lambda there: self._told(process, there=there))

    def _told(self, process: Process, *, there: bool) -> None:
        del self._questions[process]
        for told in self._waiting.pop(process):
            told(there)
