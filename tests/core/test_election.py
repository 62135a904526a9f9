"""Election, one node at a time: votes, promises, leases, and what is written before what is said."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from edged.core.effects import Effect, SaveVote, SendMessage, TellLeader
from edged.core.election import Election, ElectionOptions, SavedVote
from edged.core.events import JobSubmitted, LeaveAsked, MemberChanged, MessageReceived, TimerFired
from edged.core.ids import NodeId
from edged.core.lineage import descends, fork
from edged.core.messages import (
    Electorate,
    Heartbeat,
    HeartbeatReply,
    MemberState,
    VoteReply,
    VoteRequest,
)
from edged.core.voter import NO_LINEAGE
from tests.core.records import member, node_id

THREE = Electorate("aa", 3, 5, (node_id(0), node_id(1), node_id(2)))
SAVED = SavedVote(3, None, THREE)


class Bench:
    """Node 0 of three, with a clock of its own; ``check`` runs after every event."""

    def __init__(
        self, saved: SavedVote | None = SAVED, others: int = 2, options: ElectionOptions | None = None
    ) -> None:
        self.machine = Election(node_id(0), options or ElectionOptions(), random.Random(5), saved)
        self.now = 100.0
        for i in range(others + 1):
            self.do(MemberChanged(member(i), None, "joined"))

    def do(self, event) -> list[Effect]:
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return effects

    def hear(self, sender: int, message) -> list[Effect]:
        return self.do(MessageReceived(node_id(sender), message))

    def wait(self, seconds: float) -> list[Effect]:
        effects: list[Effect] = []
        end = self.now + seconds
        while (deadline := self.machine.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.do(TimerFired())
        self.now = end
        return effects

    def follow(self, leader: int = 1, term: int = 4) -> list[Effect]:
        return self.hear(leader, Heartbeat(term, 1, THREE, 5))

    def until(self, kind: type) -> list:
        for _ in range(2000):
            found = answers(self.wait(0.01), kind)
            if found:
                return found
        raise AssertionError(f"no {kind.__name__} in 20 s")

    def elect(self) -> int:
        """Win the next election with the vote of node 1; the term."""
        trial = self.until(VoteRequest)[0]
        effects = self.hear(1, VoteReply(trial.term, True, True, "", "aa", 3, False))
        (request, *_) = answers(effects, VoteRequest)
        beats = answers(self.hear(1, VoteReply(request.term, False, True, "", "aa", request.term, False)), Heartbeat)
        beats = beats or self.until(Heartbeat)
        self.hear(1, HeartbeatReply(request.term, beats[0].sequence, True, beats[0].electorate.number, "aa"))
        return request.term


def answers(effects: list[Effect], kind: type) -> list:
    return [e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, kind)]


def test_a_vote_of_another_lineage_is_not_counted() -> None:
    bench = Bench()
    (trial, _) = bench.until(VoteRequest)
    assert bench.hear(1, VoteReply(trial.term, True, True, "", "bb", 3, False)) == []
    assert answers(bench.hear(2, VoteReply(trial.term, True, True, "", "aa", 3, False)), VoteRequest)


def ask(bench: Bench, sender: int, term: int, *, trial: bool = False, record: Electorate = THREE) -> VoteReply:
    (reply,) = answers(bench.hear(sender, VoteRequest(term, trial, record)), VoteReply)
    return reply


def test_one_vote_per_term() -> None:
    bench = Bench()
    bench.wait(2.3)
    assert ask(bench, 1, 4).granted
    assert ask(bench, 1, 4).granted
    assert not ask(bench, 2, 4).granted
    assert ask(bench, 2, 5).granted


def test_the_vote_is_on_the_disk_before_it_is_given() -> None:
    bench = Bench()
    bench.wait(2.3)
    effects = bench.hear(1, VoteRequest(4, False, THREE))
    assert [type(e) for e in effects] == [SaveVote, SendMessage]
    assert effects[0] == SaveVote(4, node_id(1), THREE)


def test_a_trial_binds_nobody() -> None:
    bench = Bench()
    bench.wait(2.3)
    assert ask(bench, 1, 4, trial=True).granted
    assert ask(bench, 2, 4, trial=True).granted
    assert bench.machine.term == 3


@pytest.mark.parametrize(
    ("term", "record", "granted"),
    [
        (4, THREE, True),
        (3, Electorate("aa", 3, 4, THREE.voters), False),
        (4, Electorate("aa", 3, 4, THREE.voters), False),
        (9, Electorate("aa", 2, 9, THREE.voters), False),
        (4, Electorate("aa", 3, 6, THREE.voters), True),
        (2, THREE, False),
        (9, Electorate("bb", 9, 9, THREE.voters), False),
    ],
)
def test_only_a_record_as_new_as_the_own_gets_the_vote(term: int, record: Electorate, granted: bool) -> None:
    bench = Bench()
    bench.wait(2.3)
    assert ask(bench, 1, term, record=record).granted is granted


def test_a_voter_that_hears_its_leader_votes_for_nobody_else() -> None:
    bench = Bench()
    bench.follow()
    assert not ask(bench, 2, 9).granted
    assert bench.machine.term == 4
    bench.wait(2.2)
    assert not ask(bench, 2, 9).granted
    bench.wait(0.1)
    assert ask(bench, 2, 9).granted


def test_a_voter_that_has_just_started_may_have_promised_its_vote() -> None:
    bench = Bench()
    assert ask(bench, 1, 4).reason == "has just started and may have promised its vote"


def test_voters_that_have_all_just_started_say_that_they_wait_for_the_others() -> None:
    bench = Bench()
    trial = bench.until(VoteRequest)[0]
    bench.hear(1, VoteReply(trial.term, True, True, "", "aa", 3, True))
    bench.wait(0.5)
    assert bench.machine.waiting.startswith("waiting: 2 of 3 voters agree; ")
    assert bench.machine.waiting.endswith("; who agrees has just started, and waits for the others for 120 s")


@pytest.mark.parametrize(
    ("state", "proven", "granted"),
    [(MemberState.DEAD, True, True), (MemberState.LEFT, False, True), (MemberState.DEAD, False, False)],
)
def test_the_promise_ends_with_the_certain_end_of_the_leader(state: MemberState, proven: bool, granted: bool) -> None:
    bench = Bench()
    bench.follow()
    bench.do(MemberChanged(member(1, state=state, proven=proven), MemberState.ALIVE, ""))
    assert ask(bench, 2, 5).granted is granted


@pytest.mark.parametrize(("rivals", "earliest", "latest"), [(0, 0.0, 0.02), (1, 0.1, 0.2)])
def test_the_fittest_stands_at_once_when_the_leader_is_proven_dead_and_others_later(rivals, earliest, latest) -> None:
    bench = Bench()
    bench.follow(2)
    bench.do(MemberChanged(member(1, slowness=0.5 if rivals else 2.0), None, ""))
    bench.do(MemberChanged(member(2, state=MemberState.DEAD, proven=True), MemberState.ALIVE, ""))
    began = bench.now
    bench.until(VoteRequest)
    assert earliest <= bench.now - began <= latest + 0.011


def test_an_expelled_leader_is_given_the_time_of_its_lease_before_another_is_elected() -> None:
    bench = Bench()
    bench.follow(1)
    bench.do(MemberChanged(member(1, state=MemberState.DEAD, proven=True, expelled=True), MemberState.ALIVE, ""))
    assert bench.machine.leader == node_id(1)
    assert not ask(bench, 2, 5).granted
    bench.wait(2.6)
    assert bench.machine.leader is None
    assert ask(bench, 2, 5).granted


def test_a_lineage_that_hears_of_a_forks_term_goes_on_in_a_thousand_of_its_own() -> None:
    bench = Bench()
    bench.elect()
    (beat, *_) = bench.until(Heartbeat)
    bench.hear(2, HeartbeatReply(7000, beat.sequence, False, 1, "aa"))
    assert bench.machine.term == 7000
    assert bench.elect() > 8000
    assert bench.machine.term % 1000 == 0


def test_a_heartbeat_of_a_lower_term_is_refused_with_the_higher() -> None:
    bench = Bench()
    (reply,) = answers(bench.hear(1, Heartbeat(2, 1, THREE, 5)), HeartbeatReply)
    assert (reply.accepted, reply.term) == (False, 3)
    assert bench.machine.leader is None


def test_a_heartbeat_brings_the_record_and_tells_the_leader() -> None:
    bench = Bench()
    newer = Electorate("aa", 4, 6, THREE.voters)
    effects = bench.hear(1, Heartbeat(4, 7, newer, 5))
    assert SaveVote(4, None, newer) == effects[0]
    assert answers(effects, HeartbeatReply) == [HeartbeatReply(4, 7, True, 6, "aa")]
    assert TellLeader(node_id(1), 4) in effects


def test_a_fresh_node_alone_leads_and_a_fresh_node_that_hears_a_leader_follows() -> None:
    alone = Bench(saved=None, others=0)
    alone.wait(2.0)
    assert alone.machine.has_lease(alone.now)
    joining = Bench(saved=None)
    joining.hear(1, Heartbeat(4, 1, THREE, 5))
    joining.wait(2.0)
    assert (joining.machine.leader, joining.machine.electorate) == (node_id(1), THREE)


def test_of_two_fresh_nodes_the_smaller_id_founds() -> None:
    bench = Bench(saved=None, others=1)
    question = Electorate("", 0, 0, ())
    assert not ask(bench, 1, 1, trial=True, record=question).granted
    (request,) = bench.until(VoteRequest)
    assert request.electorate == question
    bench.hear(1, VoteReply(request.term, True, True, "", "", 0, False))
    assert bench.machine.has_lease(bench.now)


def test_who_founds_a_lineage_beside_another_begins_in_a_thousand_of_its_own() -> None:
    alone = Bench(saved=None, others=0)
    alone.wait(2.0)
    assert alone.machine.term == 1
    bench = Bench(saved=None, others=1)
    (request, *_) = bench.until(VoteRequest)
    bench.hear(1, VoteReply(request.term, True, False, "belongs to lineage bb", "bb", 7, False))
    assert not bench.machine.has_lease(bench.now)
    (request, *_) = bench.until(VoteRequest)
    bench.hear(1, VoteReply(request.term, True, True, "", "", 7, False))
    assert bench.machine.has_lease(bench.now)
    assert bench.machine.term >= 1000
    assert bench.machine.term % 1000 == 0


def test_winning_takes_a_trial_a_vote_and_a_commit() -> None:
    bench = Bench()
    assert bench.elect() == 4
    assert bench.machine.has_lease(bench.now)
    assert bench.machine.leader == node_id(0)


def test_a_leader_nobody_answers_loses_its_lease_and_steps_down() -> None:
    bench = Bench()
    bench.elect()
    bench.now += 2.1
    assert not bench.machine.has_lease(bench.now)
    assert TellLeader(None, 4) in bench.do(TimerFired())


def test_a_leader_that_hears_of_a_higher_term_steps_down() -> None:
    bench = Bench()
    bench.elect()
    bench.hear(2, HeartbeatReply(9, 1, False, 5, "aa"))
    assert (bench.machine.has_lease(bench.now), bench.machine.term) == (False, 9)


def test_a_leader_of_an_outranked_lineage_changes_over() -> None:
    bench = Bench()
    bench.elect()
    foreign = Electorate("bb", 9, 1, tuple(NodeId(f"b{i}") for i in range(5)))
    bench.hear(2, Heartbeat(9, 1, foreign, 1))
    assert (bench.machine.leader, bench.machine.electorate) == (node_id(2), foreign)
    smaller = Electorate("cc", 99, 1, (node_id(1),))
    (reply,) = answers(bench.hear(1, Heartbeat(99, 1, smaller, 1)), HeartbeatReply)
    assert (reply.accepted, reply.lineage) == (False, "bb")


def test_a_follower_counts_the_steps_of_its_lineage_as_its_leader_does() -> None:
    bench = Bench()
    bench.hear(1, Heartbeat(4, 1, THREE, 5, progress=70))
    assert bench.machine._progress() == 0
    foreign = Electorate("zz", 9, 1, (node_id(2),))
    (reply,) = answers(bench.hear(2, Heartbeat(9, 1, foreign, 1, progress=69)), HeartbeatReply)
    assert (reply.accepted, bench.machine.electorate) == (False, THREE)
    bench.hear(2, Heartbeat(9, 2, foreign, 1, progress=71))
    assert bench.machine.electorate == foreign


def test_survivors_go_on_under_another_name_and_never_right_after_a_restart() -> None:
    gone = [MemberChanged(member(i, state=MemberState.DEAD, proven=True), MemberState.ALIVE, "") for i in (1, 2)]
    restarted = Bench()
    for event in gone:
        restarted.do(event)
    restarted.wait(8.0)
    assert not restarted.machine.has_lease(restarted.now)
    bench = Bench()
    bench.follow()
    for event in gone:
        bench.do(event)
    bench.wait(8.0)
    assert bench.machine.has_lease(bench.now)
    electorate = bench.machine.electorate
    assert electorate.voters == (node_id(0),)
    assert (electorate.term, electorate.term % 1000) == (bench.machine.term, 0)
    assert (electorate.lineage != THREE.lineage, descends(electorate, THREE)) == (True, True)
    assert bench.machine.tentative == "", "who is proven dead has not gone on elsewhere"
    bench.do(MemberChanged(member(1, incarnation=1), MemberState.DEAD, "came back"))
    assert bench.machine.tentative == "", "one of three is no majority"
    bench.do(MemberChanged(member(2, boot=2), MemberState.DEAD, "came back"))
    assert bench.machine.tentative == "", "a new process has not gone on elsewhere either"
    bench.do(MemberChanged(member(2, boot=2, state=MemberState.DEAD), MemberState.ALIVE, "fell silent"))
    assert "tentative" in bench.machine.tentative


def test_who_has_voted_for_survivors_follows_them_at_once() -> None:
    bench = Bench(others=1)
    bench.follow()
    bench.wait(2.3)
    bench.hear(2, VoteRequest(9000, False, THREE))
    forked = fork(THREE, "ff", 9000, (node_id(0), node_id(2)))
    (stranger,) = answers(bench.hear(1, Heartbeat(9000, 1, replace(forked, lineage="gg"), 1)), HeartbeatReply)
    assert (stranger.accepted, bench.machine.electorate) == (False, THREE)
    (reply,) = answers(bench.hear(2, Heartbeat(9000, 1, forked, 1)), HeartbeatReply)
    assert (reply.accepted, bench.machine.leader, bench.machine.electorate) == (True, node_id(2), forked)


def test_who_has_no_vote_follows_survivors_as_soon_as_the_others_are_gone() -> None:
    record = replace(THREE, voters=(node_id(1), node_id(2), node_id(3)))
    bench = Bench(SavedVote(3, None, record), others=3)
    bench.hear(1, Heartbeat(4, 1, record, 5))
    beat = Heartbeat(9000, 1, fork(record, "ff", 9000, (node_id(3),)), 1)
    bench.do(MemberChanged(member(1, state=MemberState.DEAD, proven=True), MemberState.ALIVE, ""))
    (reply,) = answers(bench.hear(3, beat), HeartbeatReply)
    assert not reply.accepted, "node 2 may have gone on"
    bench.do(MemberChanged(member(2, state=MemberState.DEAD, proven=True), MemberState.ALIVE, ""))
    (reply,) = answers(bench.hear(3, beat), HeartbeatReply)
    assert reply.accepted
    assert bench.machine.leader == node_id(3)


def stray(bench: Bench, *voters: int, seconds: float) -> None:
    """Let some voters answer for so long that they belong elsewhere; the others do not answer."""
    end = bench.now + seconds
    while bench.now < end:
        for request in answers(bench.wait(0.1), VoteRequest):
            for voter in voters if request.electorate.lineage else ():
                bench.hear(
                    voter, VoteReply(request.term, request.trial, False, "belongs to lineage bb", "bb", 3, False)
                )


@pytest.mark.parametrize("forks", [True, False])
def test_voters_who_have_gone_over_to_another_lineage_are_not_waited_for(forks: bool) -> None:
    bench = Bench(options=ElectionOptions(forks=forks))
    bench.follow()
    stray(bench, 1, seconds=20.0)
    assert not bench.hear(3, VoteRequest(1, True, NO_LINEAGE))[0].message.granted, "node 2 is there, and may answer yet"
    stray(bench, 1, 2, seconds=5.0)
    assert bench.hear(3, VoteRequest(1, True, NO_LINEAGE))[0].message.granted is False, "node 3 comes after node 0"
    asked = [each for each in answers(bench.wait(1.0), VoteRequest) if each.electorate == NO_LINEAGE]
    assert asked, "it may go on without them, and asks all who are there"


def test_voters_who_have_come_back_are_waited_for_again() -> None:
    bench = Bench(options=ElectionOptions(forks=False))
    bench.follow()
    stray(bench, 1, 2, seconds=10.0)
    bench.follow()
    later = answers(bench.wait(60.0), VoteRequest)
    assert later
    assert not [each for each in later if each.electorate == NO_LINEAGE], "silence is no reason for it"


def test_voters_who_went_over_and_fell_silent_are_waited_for() -> None:
    bench = Bench(options=ElectionOptions(forks=False))
    bench.follow()
    stray(bench, 1, 2, seconds=10.0)
    for i in (1, 2):
        bench.do(MemberChanged(member(i, state=MemberState.DEAD), MemberState.ALIVE, "fell silent"))
    bench.wait(60.0)
    assert (bench.machine.leader, bench.machine.electorate) == (None, THREE)


def test_a_late_vote_is_no_consent_to_a_fork() -> None:
    bench = Bench()
    bench.follow()
    stray(bench, 1, 2, seconds=14.0)
    asked = None
    while asked is None:
        asked = next((each for each in answers(bench.wait(0.01), VoteRequest) if each.electorate == NO_LINEAGE), None)
        if asked is None:
            stray(bench, 1, 2, seconds=0.1)
    for voter in (1, 2):
        bench.hear(voter, VoteReply(asked.term, True, True, "", "aa", 3, False))
    assert (bench.machine.leader, bench.machine.electorate) == (None, THREE)
    for voter in (1, 2):
        bench.hear(voter, VoteReply(asked.term, True, True, "", "", 3, False))
    assert bench.machine.electorate.lineage != "aa", "they have agreed to that"


def test_who_is_no_voter_asks_the_voters_where_they_are() -> None:
    record = replace(THREE, voters=(node_id(1), node_id(2), node_id(3)))
    bench = Bench(SavedVote(3, None, record), others=3)
    bench.hear(1, Heartbeat(4, 1, record, 5))
    stray(bench, 1, 2, seconds=20.0)
    assert [each for each in answers(bench.wait(6.0), VoteRequest) if each.electorate == NO_LINEAGE]


def test_votes_for_a_record_that_is_replaced_meanwhile_make_no_leader() -> None:
    bench = Bench()
    trial = bench.until(VoteRequest)[0]
    (request, *_) = answers(bench.hear(1, VoteReply(trial.term, True, True, "", "aa", 3, False)), VoteRequest)
    newer = Electorate("aa", 3, 6, (node_id(1), node_id(2)))
    bench.hear(2, Heartbeat(3, 9, newer, 6))
    bench.hear(1, VoteReply(request.term, False, True, "", "aa", request.term, False))
    assert bench.machine._lead is None
    assert bench.machine.electorate == newer


def test_voters_from_disk_need_every_vote_or_patience() -> None:
    for patience, wins in [(0.0, False), (121.0, True)]:
        bench = Bench()
        bench.now += patience
        trial = bench.until(VoteRequest)[0]
        while trial.electorate != THREE:
            trial = bench.until(VoteRequest)[0]
        effects = bench.hear(1, VoteReply(trial.term, True, True, "", "aa", 3, True))
        assert bool(answers(effects, VoteRequest)) is wins


def test_a_leader_that_leaves_steps_down_and_stands_no_more() -> None:
    bench = Bench()
    bench.elect()
    effects = bench.do(LeaveAsked())
    assert TellLeader(None, 4) in effects
    assert answers(bench.wait(30.0), VoteRequest) == []


def test_events_of_other_machines_are_ignored() -> None:
    assert Bench().do(JobSubmitted(None)) == []  # type: ignore[arg-type]
