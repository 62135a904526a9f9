"""Who leads: terms, votes and a lease, in the manner of Raft, as a pure machine.

Source: Ongaro, "Consensus: Bridging Theory and Practice" (2014), chapters 3, 4, 6.4 and 9.6. The replicated log is one
record, the ``Electorate``; a later record replaces the earlier. What differs, and why::

    a node without a record, alone          -> founds a lineage; so do those without leader for long (a fork)
    two lineages meet                       -> one gives way (``lineage.why_outranked``): its nodes change over
    every missing voter is proven dead      -> the survivors go on at once if all agree (``ballot.survivors``), as a
                                               fork: a firewall that refuses connects makes the living look dead
    the leader's death is proven            -> nobody waits for the time-out

Terms and votes belong to the node, not to the lineage: it never votes twice in a term, whichever lineage it follows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from edged.core.candidate import Candidate
from edged.core.effects import Effect, Log, SendMessage, TellLeader, TellLineage
from edged.core.electorate import SavedVote, is_gone, next_change, rank, succeed
from edged.core.events import Event, LeaveAsked, LoopWasLate, MemberChanged, MembersCame, MessageReceived, TimerFired
from edged.core.ids import NodeId
from edged.core.leadership import Leadership
from edged.core.lineage import missing
from edged.core.messages import (
    Electorate,
    Heartbeat,
    HeartbeatReply,
    MemberRecord,
    MemberState,
    Message,
    VoteReply,
    VoteRequest,
)
from edged.core.voter import ElectionOptions, no_progress

__all__ = ["Election", "ElectionOptions", "SavedVote"]


class Election(Candidate):
    """One node's part in electing, and in being, the leader."""

    def __init__(
        self,
        node: NodeId,
        options: ElectionOptions,
        rng: Random,
        saved: SavedVote | None,
        progress: Callable[[], int] = no_progress,
    ) -> None:
        """Begin with what was ``saved`` by the last process of this node, if any.

        ``progress`` tells how many training steps have been done, as far as this node knows.
        """
        super().__init__(node, options, rng, saved, progress)
        self._told: tuple[NodeId | None, int] = (None, 0)
        self._told_lineage = ("", "")
        self._buried: dict[NodeId, int] = {}

    # ------------------------------------------------------------------------------------------ what others see

    @property
    def term(self) -> int:
        """The highest term heard of."""
        return self._term

    @property
    def leader(self) -> NodeId | None:
        """Who leads, as far as this node knows."""
        return self._leader

    @property
    def electorate(self) -> Electorate | None:
        """The newest electorate record here."""
        return self._electorate

    @property
    def voters(self) -> tuple[NodeId, ...]:
        """Who elects, by that record; nobody before there is one."""
        return self._voters()

    @property
    def waiting(self) -> str:
        """Why there is no leader, in a sentence; empty where there is one."""
        return self._waiting

    @property
    def tentative(self) -> str:
        """Why the results of this lineage may have to be computed again, in a sentence; empty if they count."""
        if self._electorate is None or not self._electorate.ancestors:
            return ""
        gone = self._gone() | self._started_anew()
        lost = [self._name(voter) for voter in missing(self._electorate, gone)]
        if not lost:
            return ""
        return f"a fork: its results are tentative until a majority is back (missing: {', '.join(sorted(lost))})"

    def has_lease(self, now: float) -> bool:
        """Whether this node leads and nobody else can: it may decide at ``now``."""
        return self._lead is not None and now < self._lease_until(now)

    def deadline(self) -> float | None:
        """When this machine wants to be woken."""
        if self._started_at == math.inf:
            return 0.0
        wake = self._campaign_at if self._ballot is None else min(self._campaign_at, self._ballot.deadline)
        if self._lead is not None:
            wake = min(wake, self._lead.next_beat)
        elif self._leader is not None:
            wake = min(wake, self._heard_at + self._silence_seconds())
        return wake if wake < math.inf else None

    def check(self) -> None:
        """Assert the invariants."""
        electorate = self._electorate
        if self._lead is not None:
            assert electorate is not None, "a leader without an electorate"
            assert self._node in electorate.voters, "a leader that is no voter"
            assert electorate.term == self._term, "a leader's record is of its own term"
            assert self._voted_for == self._node, "a leader that did not vote for itself"
            assert self._ballot is None, "a leader that is a candidate"
            assert self._leader in {None, self._node}, "a leader that follows"
        if electorate is not None:
            assert electorate.term <= self._term, "a record from the future"
            assert len(set(electorate.voters)) == len(electorate.voters) > 0, "voters must be different"
        if self._ballot is not None and not self._ballot.trial:
            assert (self._ballot.term, self._voted_for) == (self._term, self._node), "a candidate votes for itself"

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact."""
        effects: list[Effect] = []
        if self._started_at == math.inf:
            self._start(now)
        self._step_down_if_lapsed(now, effects)
        match event:
            case MessageReceived(sender, message):
                self._received(sender, message, now, effects)
            case MemberChanged() | MembersCame():
                for record in event.records:
                    self._member_changed(record, now, effects)
            case LoopWasLate():
                self._was_late(now)
            case LeaveAsked():
                self._leave(now, effects)
            case TimerFired():
                pass
            case _:
                return effects
        self._do_what_is_due(now, effects)
        self._tell(effects)
        return effects

    # ------------------------------------------------------------------------------------------ following

    def _received(self, sender: NodeId, message: Message, now: float, effects: list[Effect]) -> None:
        match message:
            case Heartbeat():
                effects.append(SendMessage(sender, self._heartbeat(sender, message, now, effects)))
            case HeartbeatReply():
                self._heartbeat_reply(sender, message, now, effects)
            case VoteRequest():
                effects.append(SendMessage(sender, self._vote(sender, message, now, effects)))
            case VoteReply():
                self._vote_reply(sender, message, now, effects)
            case _:
                pass

    def _was_late(self, now: float) -> None:
        """Heartbeats may have waited while this node slept: hear them before standing."""
        if self._ballot is not None:
            self._ballot = None
            self._try_again(now)
        if self._campaign_at < math.inf:
            self._campaign_at = max(self._campaign_at, now + self._options.heartbeat_seconds + self._jitter())

    def _member_changed(self, record: MemberRecord, now: float, effects: list[Effect]) -> None:
        node, gone = record.node, is_gone(record)
        before = self._members.get(node)
        self._members[node] = record
        if gone:
            self._buried[node] = record.boot
        if self._lead is not None:
            if before is None or before.state != record.state:
                self._lead.next_beat = min(self._lead.next_beat, now)
            return
        if not gone or record.expelled:  # who was expelled may run on, and lead until its lease is over
            return
        if self._promised_to == node:
            self._promised_until = -math.inf
        if self._leader == node:
            text = f"the leader {record.name} is gone" + ("" if record.state is MemberState.LEFT else ": proven dead")
            effects.append(Log("warning", "election", text))
            self._leader = None
            if self._campaign_at < math.inf and self._is_voter() and not self._leaving:
                place = rank(self._node, self._voters(), self._members, node)
                self._campaign_at = now + self._after_proof(place)

    # ------------------------------------------------------------------------------------------ leading

    def _beat(self, lead: Leadership, now: float, effects: list[Effect]) -> None:
        """Commit what can be, change the voters if need be, renew the lease."""
        electorate = self._electorate
        assert electorate is not None, "a leader has an electorate"
        lead.commit(electorate)
        if lead.committed == electorate.number:
            followers = lead.followers(now - self._options.lease_seconds)
            voters = next_change(electorate, self._node, self._members, followers)
            if voters is not None:
                self._electorate = electorate = succeed(electorate, self._term, voters)
                effects.append(self._save())
                lead.commit(electorate)
        sequence = lead.beat(now, self._options.heartbeat_seconds)
        beat = Heartbeat(self._term, sequence, electorate, lead.committed, self._progress())
        present = {node for node, record in self._members.items() if record.state <= MemberState.SUSPECT}
        effects += [SendMessage(node, beat) for node in sorted(present.union(electorate.voters)) if node != self._node]
        self._note_lease(now)

    def _heartbeat_reply(self, sender: NodeId, reply: HeartbeatReply, now: float, effects: list[Effect]) -> None:
        lead, electorate = self._lead, self._electorate
        if lead is None or electorate is None or reply.lineage != electorate.lineage:
            return
        if reply.term > self._term:
            self._resign(now)
            self._term, self._voted_for = reply.term, None
            effects.append(self._save())
            self._try_again(now)
        elif reply.accepted and reply.term == self._term:
            lead.answered(sender, reply.sequence, reply.electorate_number)
            if lead.commit(electorate):
                lead.next_beat = min(lead.next_beat, now)
            self._note_lease(now)

    def _note_lease(self, now: float) -> None:
        if self.has_lease(now):
            self._leader = self._node
            self._restored = False
            self._waiting = ""

    def _lease_until(self, now: float) -> float:
        assert self._lead is not None, "only a leader has a lease"
        assert self._electorate is not None, "a leader has an electorate"
        return self._lead.lease_until(self._electorate, now, self._options.lease_seconds)

    def _step_down_if_lapsed(self, now: float, effects: list[Effect]) -> None:
        lead = self._lead
        if lead is None or now < lead.elected_at + self._options.lease_seconds or self.has_lease(now):
            return
        self._resign(now)
        effects.append(Log("warning", "election", "steps down: a majority of the voters does not answer"))
        self._try_again(now)

    def _leave(self, now: float, effects: list[Effect]) -> None:
        self._leaving = True
        self._ballot = None
        self._campaign_at = math.inf
        if self._lead is not None:
            self._resign(now)
            self._campaign_at = math.inf
            effects.append(Log("info", "election", "steps down: this node leaves"))

    # ------------------------------------------------------------------------------------------ time

    def _start(self, now: float) -> None:
        self._started_at = self._heard_at = now
        if self._electorate is None:
            self._campaign_at = now + self._options.found_seconds + self._jitter()
        else:
            self._promised_until = now + self._options.promise_seconds
            self._wait_for_silence(now)

    def _do_what_is_due(self, now: float, effects: list[Effect]) -> None:
        if self._lead is not None:
            if self._lead.next_beat <= now:
                self._beat(self._lead, now, effects)
            return
        if self._leader is not None and now >= self._heard_at + self._silence_seconds():
            self._leader = None
            self._wait_because(effects, "the leader is silent")
        ballot = self._ballot
        if ballot is not None and ballot.deadline <= now:
            self._round_over(ballot, now, effects)
        if self._campaign_at <= now:
            self._campaign(now, effects)
            self._do_first_beat(now, effects)

    def _do_first_beat(self, now: float, effects: list[Effect]) -> None:
        if self._lead is not None and self._lead.next_beat <= now:
            self._beat(self._lead, now, effects)

    def _tell(self, effects: list[Effect]) -> None:
        if self._leader is not None:
            self._waiting = ""
        self._tell_lineage(effects)
        if self._told != (self._leader, self._term) and (self._leader is not None or self._told[0] is not None):
            self._told = (self._leader, self._term)
            effects.append(TellLeader(self._leader, self._term))

    def _tell_lineage(self, effects: list[Effect]) -> None:
        """Tell of another lineage once its leader is followed: until then the plans of the old one may run on."""
        electorate = self._electorate
        if electorate is None or self._leader is None:
            return
        told = (electorate.lineage, self.tentative)
        if told != self._told_lineage:
            ends = bool(self._told_lineage[1]) and not told[1] and not self._discarded
            if ends and told[0] == self._told_lineage[0]:
                effects.append(Log("info", "lineage", f"fork {told[0]} has a majority again: its results count"))
            self._told_lineage = told
            effects.append(TellLineage(*told, self._discarded))
        self._discarded = ""

    # ------------------------------------------------------------------------------------------ small questions

    def _after_proof(self, place: int) -> float:
        """How long to wait after the leader's proven death: the fittest has no rival to stagger with."""
        stagger = self._options.proven_stagger_seconds
        return stagger * (place + self._rng.random()) if place else self._options.proven_seconds

    def _started_anew(self) -> set[NodeId]:
        """Members whose processes ended here and are there again: they come from disk, and lead nothing elsewhere."""
        there = {node: record for node, record in self._members.items() if record.state <= MemberState.SUSPECT}
        return {node for node, boot in self._buried.items() if node in there and there[node].boot > boot}

    def _silence_seconds(self) -> float:
        return self._options.election_seconds
