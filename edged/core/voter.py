"""What a voter keeps, promises and answers: the passive side of an election.

A voter never votes twice in a term, gives no vote to a record older than its own, and none to anybody while it has
promised a leader not to. ``election.py`` adds the active side: standing and leading.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from edged.core.ballot import Ballot
from edged.core.effects import Effect, Log, SaveVote
from edged.core.electorate import SavedVote, is_gone, is_majority, is_newer, rank
from edged.core.ids import NodeId
from edged.core.leadership import Leadership
from edged.core.lineage import descends, inherits, missing, why_outranked
from edged.core.messages import (
    Electorate,
    Heartbeat,
    HeartbeatReply,
    MemberRecord,
    MemberState,
    VoteReply,
    VoteRequest,
)

NO_LINEAGE = Electorate("", 0, 0, ())
"""In a trial ``VoteRequest``: the sender asks whether it may found a lineage."""


@dataclass(frozen=True, slots=True)
class ElectionOptions:
    """Times in seconds. It must hold: lease < promise < election.

    ``proven_seconds``: how long the fittest waits when the leader is proven dead, so that the others have heard of it.
    ``forks``: whether a minority that hears only silence goes on as a fork, after ``fork_seconds``; otherwise it waits.
    """

    heartbeat_seconds: float = 0.5
    lease_seconds: float = 2.0
    promise_seconds: float = 2.25
    election_seconds: float = 2.5
    stagger_seconds: float = 0.25
    proven_stagger_seconds: float = 0.1
    proven_seconds: float = 0.02
    round_seconds: float = 0.4
    found_seconds: float = 1.5
    orphan_seconds: float = 10.0
    fork_seconds: float = 15.0
    restored_seconds: float = 120.0
    forks: bool = True


def no_progress() -> int:
    """Nothing has been trained."""
    return 0


class Voter:
    """State of one voter, and its answers to leaders and candidates."""

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
        self._node = node
        self._options = options
        self._rng = rng
        self._term = saved.term if saved else 0
        self._voted_for = saved.voted_for if saved else None
        self._electorate = saved.electorate if saved else None
        self._restored = self._electorate is not None
        self._members: dict[NodeId, MemberRecord] = {}
        self._leader: NodeId | None = None
        self._lead: Leadership | None = None
        self._ballot: Ballot | None = None
        self._promised_to: NodeId | None = None
        self._promised_until = -math.inf
        self._heard_at = math.inf
        self._started_at = math.inf
        self._campaign_at = math.inf
        self._leaving = False
        self._progress = progress
        self._led_to: int | None = None
        self._discarded = ""
        self._strayed: dict[NodeId, str] = {}

    def _heartbeat(self, sender: NodeId, beat: Heartbeat, now: float, effects: list[Effect]) -> HeartbeatReply:
        own = self._electorate
        foreign = own is not None and own.lineage != beat.electorate.lineage
        if own is not None and foreign:
            why = self._why_change_over(own, sender, beat, now)
            if not why:
                return HeartbeatReply(self._term, beat.sequence, False, own.number, own.lineage)
            self._leader = None
            self._give_up(own, sender, beat.electorate, why, effects)
        changed = own is None or foreign or is_newer(beat.electorate, own)
        if changed:
            self._resign(now)  # it stood, or was elected, by the record that is replaced
            self._electorate = own = beat.electorate
        if beat.term > self._term:
            self._resign(now)
            self._term, self._voted_for, changed = beat.term, None, True
        if changed:
            effects.append(self._save())
        assert own is not None, "a record was adopted above"
        if beat.term < self._term or self._lead is not None:
            return HeartbeatReply(self._term, beat.sequence, False, own.number, own.lineage)
        self._ballot = None
        self._leader, self._strayed = sender, {}  # who had gone over may be back; the next silence is asked about anew
        self._led_to = beat.progress
        self._heard_at = now
        self._restored = False
        self._promised_to, self._promised_until = sender, now + self._options.promise_seconds
        self._wait_for_silence(now)
        return HeartbeatReply(self._term, beat.sequence, True, own.number, own.lineage)

    def _why_change_over(self, own: Electorate, sender: NodeId, beat: Heartbeat, now: float) -> str:
        """Why this node leaves its lineage for the one that ``beat`` belongs to; empty if it does not."""
        other = beat.electorate
        why = why_outranked(own, other, self._steps_done(), beat.progress)
        if why:
            return why
        if self._restored and descends(other, own):
            return "it went on while this node was away"
        agreed = (beat.term, sender) == (self._term, self._voted_for) and descends(other, own)
        if agreed or inherits(other, own, self._gone()):
            return "all voters not proven dead agree"
        if not self._is_orphan(now):
            return ""
        followers = {node for node, lineage in self._strayed.items() if lineage == other.lineage}
        enough = is_majority({self._node, *other.voters, *followers}, own.voters)
        if descends(other, own) and not (self._options.forks or enough):
            return ""
        return "nobody leads here any more"

    def _give_up(self, own: Electorate, leader: NodeId, other: Electorate, why: str, effects: list[Effect]) -> None:
        """Say why, and, where the other lineage does not go on from this one, that nothing decided here counts."""
        self._strayed = {}
        if descends(other, own):
            tentative = bool(missing(other, self._gone()))
            what = f"fork {other.lineage} of lineage {own.lineage}" if tentative else f"lineage {other.lineage}"
            text = f"goes on in {what}, led by {self._name(leader)}: {why}"
            effects.append(Log("warning" if tentative else "info", "lineage", text))
            return
        self._discarded = own.lineage
        text = f"lineage {own.lineage} gives way to lineage {other.lineage}, led by {self._name(leader)}: {why}"
        if len(own.voters) > 1 or self._progress():
            text += "; what was decided in it is discarded, and what it computed may be done again"
        effects.append(Log("warning", "lineage", text))

    def _vote(self, sender: NodeId, request: VoteRequest, now: float, effects: list[Effect]) -> VoteReply:
        if request.electorate.lineage == "":
            return self._may_found(sender, request, now)
        reason = self._objection(sender, request, now)
        raised = not request.trial and request.term > self._term and not self._is_bound(sender, request, now)
        if raised:
            self._resign(now)
            self._term, self._voted_for = request.term, None
        if not reason and not request.trial:
            if self._voted_for not in {None, sender}:
                reason = f"has voted for {self._name(self._voted_for)} in term {self._term}"
            else:
                self._voted_for = sender
                self._electorate = self._electorate or request.electorate
                self._wait_for_silence(now)
        if raised or (not reason and not request.trial):
            effects.append(self._save())
        return self._reply(request, reason)

    def _reply(self, request: VoteRequest, reason: str) -> VoteReply:
        lineage = self._electorate.lineage if self._electorate else request.electorate.lineage
        return VoteReply(request.term, request.trial, not reason, reason, lineage, self._term, self._restored)

    def _is_bound(self, sender: NodeId, request: VoteRequest, now: float) -> bool:
        """Whether this node has promised a leader, or itself, not to vote, or belongs to another lineage."""
        own = self._electorate
        if own is not None and own.lineage != request.electorate.lineage:
            return True
        return self._lead is not None or (now < self._promised_until and self._promised_to != sender)

    def _objection(self, sender: NodeId, request: VoteRequest, now: float) -> str:
        """Why this node does not vote for ``sender``; empty where it may."""
        own = self._electorate
        if own is not None and own.lineage != request.electorate.lineage:
            return f"belongs to lineage {own.lineage}"
        if self._is_bound(sender, request, now):
            followed = self._node if self._lead is not None else self._promised_to
            return f"follows {self._name(followed)}" if followed else "has just started and may have promised its vote"
        if request.term < self._term or (request.trial and request.term <= self._term):
            return f"knows of term {self._term}"
        if own is not None and is_newer(own, request.electorate):
            return "knows a newer electorate"
        return ""

    def _may_found(self, sender: NodeId, request: VoteRequest, now: float) -> VoteReply:
        """Whether ``sender`` may found a lineage: not where one lives, and only the smallest id."""
        reason = ""
        if self._electorate is not None and not self._may_fork(now):
            reason = f"belongs to lineage {self._electorate.lineage}"
            reason += "" if self._options.forks else ", and is to wait for its majority"
        elif sender > self._node:
            reason = "comes first by id"
        return VoteReply(request.term, True, not reason, reason, "", self._term, self._restored)

    def _wait_for_silence(self, now: float) -> None:
        """Stand for election when the leader has been silent for so long; the fitter stand earlier."""
        if self._leaving or self._electorate is None or self._node not in self._electorate.voters:
            self._campaign_at = now + self._options.fork_seconds + self._jitter()
            return
        place = rank(self._node, self._electorate.voters, self._members, self._leader)
        stagger = self._options.stagger_seconds * place
        self._campaign_at = now + self._options.election_seconds + stagger + self._jitter()

    def _resign(self, now: float) -> None:
        """Lead no more, stand no more; wait for another leader as if one had just been heard."""
        if self._lead is not None:
            self._lead = self._leader = None
            self._heard_at = now
        self._ballot = None
        if self._campaign_at == math.inf:
            self._wait_for_silence(now)

    # ------------------------------------------------------------------------------------------ small questions

    def _steps_done(self) -> int:
        """What this lineage has done: as its leader says, so that all of its voters judge other lineages alike."""
        return self._progress() if self._lead is not None or self._led_to is None else self._led_to

    def _is_leaderless(self, now: float, seconds: float) -> bool:
        return self._lead is None and self._leader is None and now - self._heard_at >= seconds

    def _may_fork(self, now: float) -> bool:
        """Whether a fork is the only way to go on: no leader for long, and no majority of the voters in sight.

        Voters that are there, and still elect nobody, are waited for much longer: most have only just started. But
        nobody waits for those who have gone over to another lineage, where that leaves no majority: when two lineages
        meet, each one's leader may hear of the other's and follow it.
        """
        if not self._is_leaderless(now, self._options.fork_seconds):
            return False
        if not is_majority({voter for voter in self._voters() if voter not in self._gone_over()}, self._voters()):
            return True
        if not self._options.forks:
            return False
        there = {n for n, record in self._members.items() if record.state <= MemberState.SUSPECT}
        if not is_majority({*there, self._node}, self._voters()):
            return True
        return self._is_leaderless(now, self._options.restored_seconds)

    def _gone_over(self) -> set[NodeId]:
        """Who is there, and belongs to another lineage by its newest answer; of who is silent nobody knows."""
        own = self._electorate.lineage if self._electorate else ""
        there = {node for node, record in self._members.items() if record.state <= MemberState.SUSPECT}
        return {node for node, lineage in self._strayed.items() if lineage != own and node in there}

    def _is_orphan(self, now: float) -> bool:
        return self._is_leaderless(now, self._options.orphan_seconds)

    def _gone(self) -> set[NodeId]:
        return {node for node, record in self._members.items() if is_gone(record)}

    def _is_voter(self) -> bool:
        return self._node in self._voters()

    def _voters(self) -> tuple[NodeId, ...]:
        return self._electorate.voters if self._electorate else ()

    def _jitter(self) -> float:
        return self._options.stagger_seconds * self._rng.random()

    def _name(self, node: NodeId | None) -> str:
        if node is None:
            return "nobody"
        return self._members[node].name if node in self._members else node

    def _save(self) -> SaveVote:
        return SaveVote(self._term, self._voted_for, self._electorate)
