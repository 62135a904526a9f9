"""The node's gate: what comes in passes the fence, and the leader's words are believed from the leader only."""

from __future__ import annotations

from collections.abc import Callable

from edged.core.ballot import same_thousand
from edged.core.effects import Effect, Log
from edged.core.events import Event, MessageReceived, ParcelArrived, ParcelLost, ParcelRefused
from edged.core.fence import Fence
from edged.core.ids import NodeId
from edged.core.jobs import JobBoard
from edged.core.messages import (
    Committed,
    Drain,
    End,
    Halt,
    Learn,
    LeaveGranted,
    Message,
    Parcel,
    PlanChosen,
    Prepare,
    RecoveryReport,
    Start,
)


class Guard:
    """Judges every message and parcel before a machine sees it; ``fence`` remembers what the leader has named."""

    def __init__(self, board: JobBoard, name_of: Callable[[NodeId], str]) -> None:
        """``board`` knows who leads; ``name_of`` gives a node's name for people."""
        self.fence = Fence()
        self._board = board
        self._name_of = name_of
        self._last_refusal = ""

    def refusal(self, event: Event) -> str:
        """Why what has come in must be dropped, in one sentence; empty if it may pass. The leader's word is learned."""
        match event:
            case MessageReceived(sender, message):
                return self._stranger(sender, message) or self._judge(message)
            case ParcelArrived(_, parcel) | ParcelRefused(_, parcel) | ParcelLost(_, parcel):
                return self._judge(parcel)
            case _:
                return ""

    def tell(self, refusal: str) -> list[Effect]:
        """Tell why something was dropped, when the reason changes."""
        if refusal == self._last_refusal:
            return []
        self._last_refusal = refusal
        return [Log("info", "fence", refusal)]

    def _stranger(self, sender: NodeId, message: Message) -> str:
        """Why the leader's words are not believed from this sender; empty if they are, or if they are others' words.

        A leader is believed up to the term in which this node follows it: it may go on in another lineage, to which
        this node does not change over, and whose terms would fence off all leaders of its own. Where nobody is known to
        lead any more, the term decides; who has followed nobody yet, believes nobody, for lineages may count the same
        terms. Whoever is not believed yet says all that matters again. The one word that goes the other way is the
        running plan, which a source tells a new leader, and, where the source is gone, anybody.
        """
        match message:
            case Prepare(plan) | PlanChosen(plan):
                stamp = plan.stamp
            case Halt(stamp) | Start(stamp) | End(stamp) | Drain(stamp) | Committed(stamp) | RecoveryReport(stamp):
                pass
            case LeaveGranted() | Learn() if sender != self._board.leader:
                return f"{type(message).__name__} from {self._name_of(sender)}, who does not lead"
            case _:
                return ""
        leader, term = self._board.leader, self._board.term
        if sender == leader and stamp.term <= term:
            return ""
        if leader is None and 0 < term <= stamp.term and same_thousand(term, stamp.term):
            return ""
        tells = isinstance(message, PlanChosen) and self._board.leads and self._board.may_tell(sender, stamp.job)
        if tells and stamp.term <= term:
            return ""
        led_by = "nobody" if leader is None else self._name_of(leader)
        what = f"{type(message).__name__} of term {stamp.term} from {self._name_of(sender)}"
        return f"{what} dropped: {led_by} leads in term {term}"

    def _judge(self, subject: Message | Parcel) -> str:
        """Judge what comes in by its stamp; the leader's word on a plan raises the fence."""
        match subject:
            case Prepare(plan) | PlanChosen(plan):
                known = self.fence.learn(plan.stamp)
            case Start(stamp) | Halt(stamp):
                known = self.fence.learn(stamp)
            case End(stamp):
                known = self.fence.learn(stamp)
                self.fence.close(stamp)
            case _:
                return self.fence.refusal(subject)
        return "" if known else f"{type(subject).__name__} of a plan that is over or was replaced"
