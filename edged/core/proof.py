"""Proof of death: the session ended and three fresh connects to the control port, 300 ms apart, are refused.

A hung process still accepts connects, so only refusals prove anything. One acceptance does not end the case: the system
closes the sockets of a killed process one after the other, and its port may go last, so the count begins again, and the
third acceptance ends it. Where other members exist, two of them are asked to try for themselves; the first that agrees
makes the proof, one that gets through in the end ends the case (a faulty link is not a faulty node). If none answers in
time, the own observation has to do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from edged.core.effects import Effect, ProbePort, SendMessage
from edged.core.ids import NodeId
from edged.core.messages import Accusation, MemberRecord, Testimony

REFUSALS = 3
REFUSAL_GAP_SECONDS = 0.3
ACCEPTANCE_GAPS_SECONDS = (0.1, 0.4)
"""How long to wait after the first and the second accepted connect before the next; the third ends the case."""

WITNESSES = 2
TESTIMONY_SECONDS = 0.25
STALE_SECONDS = 10.0


@dataclass(slots=True)
class Case:
    """The inquiry into one process's death. ``next_try`` and ``verdict_by`` are moments, or infinity."""

    record: MemberRecord
    opened: float
    tried: float
    accuses: bool
    refusals: int = 0
    acceptances: int = 0
    next_try: float = math.inf
    verdict_by: float = math.inf
    asked: tuple[NodeId, ...] = ()
    agreed: bool = False
    askers: set[NodeId] = field(default_factory=set)


class Inquiries:
    """All open cases of one node."""

    __slots__ = ("_cases",)

    def __init__(self) -> None:
        """Start without a case."""
        self._cases: dict[NodeId, Case] = {}

    def deadline(self) -> float:
        """When the next connect or verdict is due."""
        if not self._cases:
            return math.inf
        return min(min(c.next_try, c.verdict_by, c.opened + STALE_SECONDS) for c in self._cases.values())

    def accuse(self, record: MemberRecord, witnesses: list[NodeId], now: float) -> list[Effect]:
        """Open a case on this node's own account and ask up to two others to look too."""
        effects = self._open(record, now)
        case = self._cases[record.node]
        case.acceptances = 0
        if not case.accuses:
            case.accuses = True
            case.asked = tuple(witnesses[:WITNESSES])
            effects += [SendMessage(node, Accusation(record.node, record.boot)) for node in case.asked]
            if case.refusals >= REFUSALS:
                case.verdict_by = now + TESTIMONY_SECONDS if case.asked else now
        return effects

    def asked_by(self, asker: NodeId, record: MemberRecord, now: float) -> list[Effect]:
        """Another node wants to know what this one finds."""
        effects = self._open(record, now)
        case = self._cases[record.node]
        case.askers.add(asker)
        if case.refusals >= REFUSALS:
            effects += self._testify(case, refused=True)
        return effects

    def port_probed(self, node: NodeId, now: float, *, refused: bool) -> tuple[list[Effect], bool]:
        """One connect was made: effects, and whether this is the first refusal of a case of this node's own."""
        case = self._cases.get(node)
        if case is None:
            return [], False
        if not refused:
            return self._accepted(case, now), False
        case.refusals += 1
        if case.refusals < REFUSALS:
            case.next_try = case.tried + REFUSAL_GAP_SECONDS
            return [], case.refusals == 1 and case.accuses
        if case.accuses:
            case.verdict_by = now + TESTIMONY_SECONDS if case.asked and not case.agreed else now
        return self._testify(case, refused=True), False

    def testified(self, witness: NodeId, testimony: Testimony, now: float) -> None:
        """A witness that was asked says what it found."""
        case = self._cases.get(testimony.target)
        if case is None or witness not in case.asked or case.record.boot != testimony.boot:
            return
        if not testimony.refused:
            del self._cases[testimony.target]
            return
        case.agreed = True
        if case.refusals >= REFUSALS:
            case.verdict_by = now

    def due(self, now: float) -> tuple[list[Effect], list[MemberRecord]]:
        """What is due: connects to make, and members whose death is proven by now."""
        effects: list[Effect] = []
        proven: list[MemberRecord] = []
        for case in list(self._cases.values()):
            if case.next_try <= now:
                case.next_try = math.inf
                case.tried = now
                effects.append(ProbePort(case.record))
            if case.verdict_by <= now:
                proven.append(case.record)
                del self._cases[case.record.node]
            elif case.opened + STALE_SECONDS <= now:
                del self._cases[case.record.node]
        return effects, proven

    def void(self, now: float) -> None:
        """This node itself was not running: what was found before says nothing about now, so it looks again."""
        for case in self._cases.values():
            waits_for_connect = case.next_try == math.inf and case.refusals < REFUSALS
            case.opened = now
            case.refusals = case.acceptances = 0
            case.agreed = False
            case.verdict_by = math.inf
            case.next_try = math.inf if waits_for_connect else now

    def check(self) -> None:
        """Assert that every case is waiting for something and no verdict came without three refusals."""
        for case in self._cases.values():
            assert case.refusals <= REFUSALS + 1, "more connects than wanted"
            assert case.verdict_by == math.inf or case.refusals >= REFUSALS, "a verdict without a proof"

    def _open(self, record: MemberRecord, now: float) -> list[Effect]:
        case = self._cases.get(record.node)
        if case is not None and case.record.boot == record.boot:
            return []
        self._cases[record.node] = Case(record, opened=now, tried=now, accuses=False)
        return [ProbePort(record)]

    def _accepted(self, case: Case, now: float) -> list[Effect]:
        """Perhaps the process is ending and its port is still open: look again a little later, but not for ever."""
        if case.acceptances >= len(ACCEPTANCE_GAPS_SECONDS):
            del self._cases[case.record.node]
            return self._testify(case, refused=False)
        case.refusals = 0
        case.verdict_by = math.inf
        case.next_try = now + ACCEPTANCE_GAPS_SECONDS[case.acceptances]
        case.acceptances += 1
        return []

    def _testify(self, case: Case, *, refused: bool) -> list[Effect]:
        testimony = Testimony(case.record.node, case.record.boot, refused)
        effects: list[Effect] = [SendMessage(asker, testimony) for asker in sorted(case.askers)]
        case.askers.clear()
        return effects
