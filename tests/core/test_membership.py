"""Membership, one node at a time: what follows from each fact."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core.effects import Admit, Depart, Dismiss, Effect, Log, ProbePort, SendMessage, TellMember
from edged.core.events import (
    JobSubmitted,
    LeaveAsked,
    LinkLost,
    LoopWasLate,
    MemoryRanOut,
    MessageReceived,
    PeerMet,
    PortProbed,
    SelfMeasured,
    TimerFired,
)
from edged.core.membership import Membership, MembershipOptions
from edged.core.messages import (
    Accusation,
    Ack,
    Exchange,
    Gossip,
    MemberRecord,
    MemberState,
    Nack,
    Ping,
    PingRequest,
)
from edged.core.messages import Testimony as Answer  # pytest takes classes named Test for tests
from tests.core.records import member, node_id

START = 100.0


class Bench:
    """One membership machine with a clock of its own, checked after every event."""

    def __init__(self, others: int = 4, options: MembershipOptions | None = None, *known: MemberRecord) -> None:
        known = known or tuple(member(i) for i in range(others + 1))
        self.machine = Membership(known[0], options or MembershipOptions(), random.Random(7), known)
        self.now = START
        self.do(TimerFired())

    def do(self, event, after: float = 0.0) -> list[Effect]:
        self.now += after
        effects = self.machine.handle(event, self.now)
        self.machine.check()
        return effects

    def hear(self, *records: MemberRecord, sender: int = 1) -> list[Effect]:
        return self.do(MessageReceived(node_id(sender), Gossip(records)))

    def wait(self, seconds: float) -> list[Effect]:
        effects: list[Effect] = []
        end = self.now + seconds
        while (deadline := self.machine.deadline()) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            effects += self.do(TimerFired())
        self.now = end
        return effects

    def first_ping(self) -> Ping:
        while not (pings := sent(self.wait(0.01), Ping)):
            pass
        return pings[0]

    def state(self, number: int) -> MemberState:
        return self.machine.members[node_id(number)].state


def sent(effects: list[Effect], kind: type) -> list:
    return [e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, kind)]


def told(effects: list[Effect]) -> list[tuple[str, MemberState]]:
    return [(e.record.name, e.record.state) for e in effects if isinstance(e, TellMember)]


def test_a_ping_is_answered_with_its_number() -> None:
    (ack,) = sent(Bench().do(MessageReceived(node_id(1), Ping(42, node_id(0), ()))), Ack)
    assert (ack.sequence, ack.target) == (42, node_id(0))


def test_a_ping_for_another_node_is_not_answered() -> None:
    assert sent(Bench().do(MessageReceived(node_id(1), Ping(42, node_id(3), ()))), Ack) == []


def test_every_member_is_pinged_within_one_round() -> None:
    bench = Bench()
    targets = set()
    for _ in range(8):
        for ping in sent(bench.wait(0.25), Ping):
            targets.add(ping.target)
            bench.do(MessageReceived(ping.target, Ack(ping.sequence, ping.target, ())))
    assert targets == {node_id(i) for i in range(1, 5)}


def test_silence_leads_to_helpers_then_suspicion_then_death() -> None:
    bench = Bench()
    ping = bench.first_ping()
    second = bench.wait(0.35)
    assert {request.target for request in sent(second, PingRequest)} == {ping.target}
    assert len(sent(second, PingRequest)) == 3
    number = int(ping.target, 16)
    third = bench.wait(0.25)
    assert (f"n{number}", MemberState.SUSPECT) in told(third)
    assert bench.machine.members[ping.target].accusers == (node_id(0),)
    last = bench.wait(9.0)
    assert (f"n{number}", MemberState.DEAD) in told(last)
    assert Dismiss(ping.target) in last


def test_an_ack_through_a_helper_saves_the_target() -> None:
    bench = Bench()
    ping = bench.first_ping()
    bench.wait(0.31)
    bench.do(MessageReceived(node_id(1 + int(ping.target, 16) % 4), Ack(ping.sequence, ping.target, ())))
    assert told(bench.wait(0.15)) == []


def test_a_helper_confirms_at_once_and_passes_the_ack_on() -> None:
    bench = Bench()
    effects = bench.do(MessageReceived(node_id(1), PingRequest(5, node_id(2), ())))
    assert sent(effects, Nack) == [Nack(5, node_id(2), ())]
    (ping,) = sent(effects, Ping)
    passed = bench.do(MessageReceived(node_id(2), Ack(ping.sequence, node_id(2), ())))
    assert [(e.to, e.message.sequence) for e in passed if isinstance(e, SendMessage)][:1] == [(node_id(1), 5)]


def test_three_confirmations_shorten_the_suspicion_to_three_seconds() -> None:
    bench = Bench(others=9)
    for accuser in (2, 3, 4, 5):
        bench.hear(member(1, state=MemberState.SUSPECT, accusers=(node_id(accuser),)))
    assert len(bench.machine.members[node_id(1)].accusers) == 4
    bench.do(LoopWasLate(0.0))
    assert bench.state(1) is MemberState.SUSPECT
    bench.wait(3.01)
    assert bench.state(1) is MemberState.DEAD


def test_only_a_higher_incarnation_refutes() -> None:
    bench = Bench()
    bench.hear(member(1, state=MemberState.SUSPECT, accusers=(node_id(2),)))
    bench.hear(member(1))
    assert bench.state(1) is MemberState.SUSPECT
    bench.hear(member(1, incarnation=1))
    assert bench.state(1) is MemberState.ALIVE


@pytest.mark.parametrize("state", [MemberState.SUSPECT, MemberState.DEAD, MemberState.LEFT])
def test_a_node_refutes_what_is_said_of_it_at_once(state: MemberState) -> None:
    bench = Bench()
    effects = bench.hear(member(0, state=state, incarnation=4))
    assert bench.machine.own.incarnation == 5
    (gossip, *_) = sent(effects, Gossip)
    assert (gossip.gossip[0].node, gossip.gossip[0].incarnation) == (node_id(0), 5)


def test_who_missed_the_refutation_hears_it_again() -> None:
    bench = Bench()
    bench.hear(member(0, state=MemberState.SUSPECT))
    bench.wait(3.0)
    effects = bench.do(MessageReceived(node_id(1), Ping(0, node_id(0), (member(0, state=MemberState.DEAD),))))
    (ack,) = sent(effects, Ack)
    assert (ack.gossip[0].node, ack.gossip[0].incarnation) == (node_id(0), 1)


def test_a_twin_is_reported_once() -> None:
    bench = Bench()
    effects = bench.hear(member(0, boot=2)) + bench.hear(member(0, boot=2))
    assert [e.level for e in effects if isinstance(e, Log)] == ["error"]


def test_an_exchange_makes_the_dead_suspects_and_the_proven_dead_dead() -> None:
    bench = Bench()
    dead = (member(1, state=MemberState.DEAD), member(2, state=MemberState.DEAD, proven=True))
    effects = bench.do(MessageReceived(node_id(3), Exchange(dead, reply=False)))
    assert (bench.state(1), bench.state(2)) == (MemberState.SUSPECT, MemberState.DEAD)
    assert [e.reply for e in sent(effects, Exchange)] == [True]


def test_a_later_boot_replaces_the_process() -> None:
    bench = Bench()
    effects = bench.hear(member(1, boot=2))
    assert told(effects) == [("n1", MemberState.DEAD), ("n1", MemberState.ALIVE)]
    assert [type(e) for e in effects if isinstance(e, (Admit, Dismiss))] == [Dismiss, Admit]
    bench.hear(member(1, boot=1, state=MemberState.DEAD, incarnation=9))
    assert bench.state(1) is MemberState.ALIVE


def test_a_met_peer_is_admitted_told_and_given_the_list() -> None:
    bench = Bench()
    effects = bench.do(PeerMet(member(9)))
    assert Admit(member(9)) in effects
    assert told(effects) == [("n9", MemberState.ALIVE)]
    assert [e.to for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Exchange)] == [node_id(9)]


def _refuse(bench: Bench, number: int) -> list[Effect]:
    effects = bench.do(LinkLost(node_id(number)))
    for _ in range(3):
        assert [e.record.node for e in effects if isinstance(e, ProbePort)] == [node_id(number)]
        effects = bench.do(PortProbed(node_id(number), refused=True), 0.001) + bench.wait(0.3)
    return effects


def test_three_refused_connects_and_a_witness_prove_a_death() -> None:
    bench = Bench()
    effects = bench.do(LinkLost(node_id(1)))
    assert sent(effects, Accusation) == [Accusation(node_id(1), 1)] * 2
    witness = next(e.to for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Accusation))
    bench.do(PortProbed(node_id(1), refused=True))
    assert bench.state(1) is MemberState.SUSPECT
    bench.wait(0.3)
    bench.do(PortProbed(node_id(1), refused=True))
    bench.wait(0.3)
    bench.do(MessageReceived(witness, Answer(node_id(1), 1, refused=True)))
    bench.do(PortProbed(node_id(1), refused=True))
    assert bench.machine.members[node_id(1)].proven
    assert bench.now - START == pytest.approx(0.6)


def test_without_a_witness_in_time_the_own_observation_has_to_do() -> None:
    bench = Bench()
    _refuse(bench, 1)
    assert (bench.state(1), bench.machine.members[node_id(1)].proven) == (MemberState.DEAD, True)


def test_an_accepted_connect_proves_nothing() -> None:
    bench = Bench()
    bench.do(LinkLost(node_id(1)))
    bench.do(PortProbed(node_id(1), refused=False))
    assert bench.state(1) is MemberState.ALIVE


def test_a_port_that_closes_a_moment_after_its_sessions_is_looked_at_again() -> None:
    bench = Bench()
    bench.do(LinkLost(node_id(1)))
    bench.do(PortProbed(node_id(1), refused=False), 0.001)
    (again,) = [e for e in bench.wait(0.1) if isinstance(e, ProbePort)]
    assert again.record.node == node_id(1)
    for _ in range(3):
        bench.do(PortProbed(node_id(1), refused=True), 0.001)
        bench.wait(0.3)
    assert bench.machine.members[node_id(1)].proven


def test_the_third_accepted_connect_ends_the_case_and_tells_who_asked() -> None:
    bench = Bench()
    effects = bench.do(MessageReceived(node_id(2), Accusation(node_id(1), 1)))
    for _ in range(3):
        assert sent(effects, Answer) == []
        effects = bench.do(PortProbed(node_id(1), refused=False), 0.001)
        answers = sent(effects, Answer)
        effects += bench.wait(0.5)
    assert answers == [Answer(node_id(1), 1, refused=False)]
    assert [e for e in effects if isinstance(e, ProbePort)] == []


def test_a_late_loop_begins_an_inquiry_again_instead_of_forgetting_it() -> None:
    bench = Bench()
    bench.do(LinkLost(node_id(1)))
    for _ in range(2):
        bench.do(PortProbed(node_id(1), refused=True), 0.001)
        bench.wait(0.2)
    bench.do(LoopWasLate(0.5), 0.5)
    for _ in range(3):
        assert not bench.machine.members[node_id(1)].proven
        bench.do(PortProbed(node_id(1), refused=True), 0.001)
        bench.wait(0.3)
    assert bench.machine.members[node_id(1)].proven


def test_a_witness_that_gets_through_ends_the_case() -> None:
    bench = Bench()
    effects = bench.do(LinkLost(node_id(1)))
    witness = next(e.to for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Accusation))
    bench.do(MessageReceived(witness, Answer(node_id(1), 1, refused=False)))
    for _ in range(3):
        bench.do(PortProbed(node_id(1), refused=True), 0.3)
    assert not bench.machine.members[node_id(1)].proven


def test_an_accusation_is_examined_and_answered() -> None:
    bench = Bench()
    effects = bench.do(MessageReceived(node_id(2), Accusation(node_id(1), 1)))
    for _ in range(3):
        assert [type(e) for e in effects if isinstance(e, ProbePort)] == [ProbePort]
        answers = bench.do(PortProbed(node_id(1), refused=True), 0.001)
        effects = bench.wait(0.3)
    assert sent(answers, Answer) == [Answer(node_id(1), 1, refused=True)]
    assert bench.state(1) is MemberState.ALIVE


def test_after_a_pause_open_questions_are_void_and_suspects_get_their_time_again() -> None:
    bench = Bench()
    bench.hear(member(1, state=MemberState.SUSPECT, accusers=(node_id(2),)))
    bench.wait(0.6)
    assert told(bench.do(LoopWasLate(20.0), 20.0)) == []
    assert bench.state(1) is MemberState.SUSPECT
    assert bench.machine._awareness.score >= 1


def test_measuring_itself_raises_the_incarnation_so_that_it_spreads() -> None:
    bench = Bench()
    effects = bench.do(SelfMeasured(2.5, 77, "cuda"))
    own = bench.machine.own
    assert (own.slowness, own.memory_bytes, own.device, own.incarnation) == (2.5, 77, "cuda", 1)
    assert own in sent(effects, Gossip)[0].gossip


def test_another_address_spreads_and_a_measurement_without_one_leaves_it() -> None:
    bench = Bench()
    effects = bench.do(SelfMeasured(2.5, 77, "cuda", ("10.0.0.9",)))
    assert bench.machine.own.addresses == ("10.0.0.9",)
    assert bench.machine.own in sent(effects, Gossip)[0].gossip
    bench.do(SelfMeasured(2.6, 77, "cuda"))
    assert bench.machine.own.addresses == ("10.0.0.9",)


def test_a_smaller_budget_is_told_to_all_at_once() -> None:
    bench = Bench()
    bench.do(SelfMeasured(2.5, 77, "cuda"))
    effects = bench.do(MemoryRanOut(50, "memory ran out"))
    own = bench.machine.own
    assert (own.slowness, own.memory_bytes, own.device, own.incarnation) == (2.5, 50, "cuda", 2)
    told_to = {e.to for e in effects if isinstance(e, SendMessage) and e.message == Gossip((own,))}
    assert told_to == {node_id(i) for i in range(1, 5)}


def test_leaving_says_goodbye_to_everyone_then_departs() -> None:
    bench = Bench()
    effects = bench.do(LeaveAsked())
    assert {e.to for e in effects if isinstance(e, SendMessage)} == {node_id(i) for i in range(1, 5)}
    assert [e for e in bench.wait(0.6) if isinstance(e, Depart)]
    assert sent(bench.do(MessageReceived(node_id(1), Ping(1, node_id(0), ()))), Ack) == []


def test_a_node_that_is_alone_leaves_at_once() -> None:
    assert [type(e) for e in Bench(others=0).do(LeaveAsked()) if isinstance(e, Depart)] == [Depart]


def test_when_all_leave_nobody_waits_for_the_others() -> None:
    bench = Bench(others=2)
    bench.do(LeaveAsked())
    assert [e for e in bench.hear(member(1, state=MemberState.LEFT)) if isinstance(e, Depart)] == []
    effects = bench.hear(member(2, state=MemberState.LEFT)) + bench.wait(0.1)
    assert [e for e in effects if isinstance(e, Depart)] != []
    assert [e for e in bench.wait(5.0) if isinstance(e, Depart)] == []


def test_a_departed_member_is_forgotten_after_a_day() -> None:
    bench = Bench(others=1, options=MembershipOptions(ping_seconds=60.0, reconnect_seconds=60.0))
    bench.hear(member(1, state=MemberState.LEFT))
    bench.wait(86_300.0)
    assert node_id(1) in bench.machine.members
    bench.wait(200.0)
    assert node_id(1) not in bench.machine.members


def test_a_node_that_is_alone_does_not_wake_to_gossip() -> None:
    bench = Bench(others=1)
    bench.hear(member(1, state=MemberState.LEFT))
    bench.wait(1.0)  # its news has nobody to go to
    wakes = 0
    while (deadline := bench.machine.deadline()) < bench.now + 10.0 and wakes < 100:
        bench.machine.handle(TimerFired(), deadline)
        wakes += 1
    assert wakes <= 30  # a ping is due every half second, a reconnect every two


def test_a_node_may_begin_with_members_that_are_suspect_or_gone() -> None:
    bench = Bench(2, None, member(0), member(1, state=MemberState.SUSPECT), member(2, state=MemberState.DEAD))
    assert [record.node for record in bench.machine.alive()] == [node_id(0), node_id(1)]
    effects = bench.wait(10.0)
    assert bench.state(1) is MemberState.DEAD
    assert node_id(2) in {e.record.node for e in effects if isinstance(e, Admit)}, "who is gone is tried again"


def test_a_stranger_that_is_dead_already_is_remembered_without_a_word() -> None:
    bench = Bench()
    assert not [e for e in bench.hear(member(9, state=MemberState.DEAD)) if isinstance(e, TellMember)]
    assert bench.state(9) is MemberState.DEAD
    assert node_id(9) not in {record.node for record in bench.machine.alive()}


def test_a_node_that_meets_itself_or_is_asked_twice_to_leave_does_nothing_more() -> None:
    bench = Bench()
    assert not [e for e in bench.do(PeerMet(member(0))) if isinstance(e, Admit)]
    first = sent(bench.do(LeaveAsked()), Gossip)
    again = sent(bench.do(LeaveAsked()), Gossip)
    assert len(first) >= 4
    assert again == []


def test_a_member_that_fell_silent_is_tried_again() -> None:
    bench = Bench()
    bench.hear(member(1, state=MemberState.DEAD))
    effects = bench.wait(3.0)
    assert [e.record.node for e in effects if isinstance(e, Admit)][:1] == [node_id(1)]
    assert any(ping.gossip[:1] == (member(1, state=MemberState.DEAD),) for ping in sent(effects, Ping))


def test_a_member_that_is_proven_dead_is_tried_again_more_rarely_and_never_one_that_left_or_was_expelled() -> None:
    bench = Bench(others=3)
    buried = member(1, state=MemberState.DEAD, proven=True)
    bench.hear(
        buried,
        member(2, state=MemberState.LEFT),
        member(3, state=MemberState.DEAD, proven=True, expelled=True),
        sender=1,
    )
    effects = bench.wait(30.0)
    assert {e.record for e in effects if isinstance(e, Admit)} == {buried}
    tried = [e.to for e in effects if isinstance(e, SendMessage) and isinstance(e.message, Ping)]
    assert set(tried) == {node_id(1)}
    assert 5 <= len(tried) <= 7


def test_events_of_other_machines_are_ignored() -> None:
    assert Bench().do(JobSubmitted(None)) == []  # type: ignore[arg-type]


RECORDS = st.builds(
    member,
    st.integers(0, 3),
    boot=st.integers(1, 2),
    incarnation=st.integers(0, 2),
    state=st.sampled_from(MemberState),
    proven=st.booleans(),
    accusers=st.sampled_from([(), (node_id(1),), (node_id(2), node_id(3))]),
).map(lambda record: replace(record, proven=record.proven and record.state is MemberState.DEAD))


@settings(max_examples=30)
@given(st.lists(RECORDS, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_news_does_not_matter(records: list[MemberRecord], chance: random.Random) -> None:
    def belief(news: list[MemberRecord]) -> set:
        bench = Bench(others=3)
        for record in news:
            bench.hear(record)
        found = bench.machine.members.values()
        return {(r.node, r.boot, r.incarnation, r.state, r.proven) for r in found if r.node != node_id(0)}

    shuffled = list(records)
    chance.shuffle(shuffled)
    assert belief(records) == belief(shuffled)


def test_a_reason_names_nodes_as_people_do_and_does_not_repeat_the_state() -> None:
    bench = Bench()
    name = bench.machine.members[node_id(2)].name
    suspected = bench.hear(member(1, state=MemberState.SUSPECT, accusers=(node_id(2),)))
    dead = bench.hear(member(1, state=MemberState.DEAD, proven=True))
    told = [effect.reason for effect in (*suspected, *dead) if isinstance(effect, TellMember)]
    assert told == [f"so says {name}", "its process is gone"]


def test_of_two_nodes_of_one_name_the_one_whose_id_comes_later_adds_some_of_it() -> None:
    bench = Bench(0, None, member(3, name="raspberrypi"))
    bench.hear(member(5, name="raspberrypi"), member(2, name="desk"), sender=5)
    assert bench.machine.own.name == "raspberrypi"
    effects = bench.hear(member(1, name="raspberrypi"))
    name = f"raspberrypi-{node_id(3)[:4]}"
    assert (bench.machine.own.name, bench.machine.own.incarnation) == (name, 1)
    assert [e.record.name for e in effects if isinstance(e, TellMember) and e.record.node == node_id(3)] == [name]
    assert any(isinstance(e, Log) and "`--name` gives it a name of its own" in e.text for e in effects)
    told_others = [record for news in sent(effects + bench.wait(2.0), Gossip) for record in news.gossip]
    assert bench.machine.own in told_others
    bench.hear(member(0, name="raspberrypi"))
    assert bench.machine.own.name == name


def test_a_name_that_only_the_departed_have_is_free() -> None:
    bench = Bench(0, None, member(3, name="pi"))
    bench.hear(member(1, name="pi", state=MemberState.DEAD), member(2, name="pi", state=MemberState.LEFT))
    assert bench.machine.own.name == "pi"


def test_the_longest_name_stays_one() -> None:
    bench = Bench(0, None, member(3, name="x" * 63))
    bench.hear(member(1, name="x" * 63))
    assert len(bench.machine.own.name) == 63
