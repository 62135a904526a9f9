"""What a node does that wants to lead: ask for votes, count them, found a lineage or a fork.

A trial comes first (a pre-vote, which binds nobody), so that a node that only imagines the leader's silence disturbs no
one. ``voter.py`` has the answers, ``election.py`` what follows on a victory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from edged.core.ballot import Ballot, fork_term, same_thousand, survivors
from edged.core.effects import Effect, Log, SendMessage
from edged.core.electorate import SavedVote, found, is_majority, rank, succeed
from edged.core.ids import NodeId
from edged.core.leadership import Leadership
from edged.core.lineage import fork
from edged.core.messages import Electorate, MemberState, VoteReply, VoteRequest
from edged.core.voter import NO_LINEAGE, ElectionOptions, Voter


class Candidate(Voter):
    """A voter that may also stand."""

    def __init__(
        self,
        node: NodeId,
        options: ElectionOptions,
        rng: Random,
        saved: SavedVote | None,
        progress: Callable[[], int],
    ) -> None:
        """See ``Voter``."""
        super().__init__(node, options, rng, saved, progress)
        self._forks = False
        self._waiting = ""
        self._heard_term = 0

    def _vote_reply(self, sender: NodeId, reply: VoteReply, now: float, effects: list[Effect]) -> None:
        if reply.lineage:
            self._strayed[sender] = reply.lineage
        self._heard_term = max(self._heard_term, reply.voter_term)
        ballot = self._ballot
        if ballot is None or (reply.term, reply.trial) != (ballot.term, ballot.trial) or sender not in ballot.voters:
            return
        if self._asks_to_found(ballot) is not (reply.lineage == ""):
            return  # a late answer to the other question: whoever would vote has not agreed to a fork
        own = self._electorate
        if reply.granted and own is not None and reply.lineage not in {"", own.lineage}:
            return
        if reply.granted:
            ballot.granted[sender] = reply.restored
            self._count(ballot, now, effects)
            return
        ballot.refused[sender] = reply.reason
        if reply.voter_term > self._term and own is not None and reply.lineage == own.lineage:
            self._term, self._voted_for, self._ballot = reply.voter_term, None, None
            effects.append(self._save())
            self._try_again(now)

    def _count(self, ballot: Ballot, now: float, effects: list[Effect]) -> None:
        if not ballot.won(patient=now - self._started_at >= self._options.restored_seconds):
            return
        self._ballot = None
        if self._asks_to_found(ballot):
            self._found(now, effects)
        elif ballot.trial:
            self._stand(now, effects, trial=False)
        else:
            assert self._electorate is not None, "a candidate has an electorate"
            if ballot.rest:
                self._part_from_the_dead(self._electorate, ballot.rest, effects)
            else:
                self._electorate = succeed(self._electorate, self._term, self._electorate.voters)
            self._begin_to_lead(now, effects)

    def _campaign(self, now: float, effects: list[Effect]) -> None:
        """The time to stand has come: found a lineage, or ask for votes."""
        self._leader = None
        self._forks = not self._forks and self._may_fork(now)
        if self._electorate is None or self._forks:
            self._ask_to_found(now, effects)
        elif self._is_voter():
            self._stand(now, effects, trial=True)
        else:
            self._wait_because(effects, "no leader is heard, and this node is no voter")
            self._look_for_voters(self._electorate, now, effects)

    def _look_for_voters(self, electorate: Electorate, now: float, effects: list[Effect]) -> None:
        """Ask, for no vote, which lineage they belong to: see ``_may_fork``."""
        request = VoteRequest(self._term + 1, True, electorate)
        effects += [SendMessage(voter, request) for voter in electorate.voters]
        self._campaign_at = now + self._options.election_seconds + self._jitter()

    def _stand(self, now: float, effects: list[Effect], *, trial: bool) -> None:
        electorate = self._electorate
        assert electorate is not None, "only a voter stands"
        gone = self._gone() - {self._node}
        rest = () if self._restored else survivors(electorate.voters, gone)
        term = self._term + 1
        if not trial:
            if rest or not same_thousand(self._term, electorate.term):  # who is away may be counting, too
                term = fork_term(self._term, self._rng)
            self._term, self._voted_for = term, self._node
            effects.append(self._save())
        ballot = Ballot(term, trial, electorate.voters, rest, now + self._options.round_seconds)
        ballot.granted[self._node] = self._restored
        self._ballot = ballot
        self._campaign_at = math.inf
        request = VoteRequest(term, trial, electorate)
        effects += [SendMessage(voter, request) for voter in electorate.voters if voter != self._node]
        self._count(ballot, now, effects)

    def _ask_to_found(self, now: float, effects: list[Effect]) -> None:
        present = tuple(n for n, r in self._members.items() if r.state <= MemberState.SUSPECT and n != self._node)
        everyone = (self._node, *present)
        ballot = Ballot(self._term + 1, True, everyone, everyone, now + self._options.round_seconds)
        ballot.granted[self._node] = self._restored
        self._ballot = ballot
        self._campaign_at = math.inf
        effects += [SendMessage(node, VoteRequest(ballot.term, True, NO_LINEAGE)) for node in present]
        self._count(ballot, now, effects)

    def _asks_to_found(self, ballot: Ballot) -> bool:
        """Founders need everyone who is present; voters that survive are never all of their electorate."""
        return ballot.rest == ballot.voters

    def _part_from_the_dead(self, old: Electorate, rest: tuple[NodeId, ...], effects: list[Effect]) -> None:
        """Go on as a fork at once: a majority has not agreed, so the name stays with whoever may have one after all."""
        lineage = self._new_lineage()
        self._electorate = fork(old, lineage, self._term, rest)
        text = f"goes on as lineage {lineage}, a branch of lineage {old.lineage}: all voters not proven dead agree"
        effects.append(Log("info", "lineage", text))

    def _found(self, now: float, effects: list[Effect]) -> None:
        lineage = self._new_lineage()
        old, self._voted_for = self._electorate, self._node
        if old is None:
            heard = max(self._term, self._heard_term)  # a lineage lives, and its plans may be known here
            self._term = fork_term(heard, self._rng) if heard else 1
            self._electorate = found(lineage, self._term, self._node)
            effects.append(Log("info", "election", f"founds lineage {lineage}"))
        else:
            self._term = fork_term(self._term, self._rng)
            self._electorate = fork(old, lineage, self._term, (self._node,))
            text = f"no majority in sight: goes on as fork {lineage} of lineage {old.lineage}; results are tentative"
            effects.append(Log("warning", "lineage", text))
        self._begin_to_lead(now, effects)

    def _new_lineage(self) -> str:
        return f"{self._rng.getrandbits(48):012x}"

    def _round_over(self, ballot: Ballot, now: float, effects: list[Effect]) -> None:
        self._ballot = None
        needed = ballot.rest or ballot.voters
        absent = [voter for voter in needed if voter not in ballot.granted]
        whys = [f"{self._name(v)} {ballot.refused.get(v, 'does not answer')}" for v in absent]
        who = "members" if self._asks_to_found(ballot) else "voters"
        text = f"{len(needed) - len(absent)} of {len(needed)} {who} agree; " + "; ".join(whys)
        if not (ballot.rest or is_majority(ballot.granted, ballot.voters)):
            seconds = self._options.fork_seconds
            text += f"; goes on as a fork after {seconds:.0f} s" if self._options.forks else "; waits for a majority"
        elif not ballot.rest:
            seconds = self._options.restored_seconds
            text += f"; who agrees has just started, and waits for the others for {seconds:.0f} s"
        self._wait_because(effects, text)
        self._try_again(now)

    def _try_again(self, now: float) -> None:
        place = rank(self._node, self._voters(), self._members, None)
        self._campaign_at = now + self._options.proven_stagger_seconds * (1 + place) + 2 * self._jitter()

    def _begin_to_lead(self, now: float, effects: list[Effect]) -> None:
        self._ballot = None
        self._leader = None
        self._campaign_at = math.inf
        self._lead = Leadership(self._node, now)
        self._strayed = {}
        self._led_to = None
        effects.append(self._save())

    def _wait_because(self, effects: list[Effect], reason: str) -> None:
        text = f"waiting: {reason}"
        if text != self._waiting:
            self._waiting = text
            effects.append(Log("info", "election", text))
