"""A new cluster key reaches everyone who is there, whoever dies on the way, and is shown nowhere."""

from __future__ import annotations

from collections import deque

from edged.core.effects import Effect, ExchangeKey, SendMessage
from edged.core.events import KeyRotateAsked, LeaderChanged, MemberChanged, MessageReceived, TimerFired
from edged.core.ids import NodeId
from edged.core.keyring import Keyring
from edged.core.messages import KeyTaken, MemberState, NewKey, RotateRequest
from edged.telemetry.journal import document
from tests.core.records import member, node_id

NEW, OTHER = b"the new key", b"another key"


class Ring:
    """Some keyrings, and messages between them that arrive at once, or not at all where a node is deaf."""

    def __init__(self, size: int, leader: int = 0) -> None:
        self.nodes = [node_id(i) for i in range(size)]
        self.machines = {node: Keyring(node, str) for node in self.nodes}
        self.keys: dict[NodeId, bytes] = {}
        self.deaf: set[NodeId] = set()
        self.now = 0.0
        for node in self.nodes:
            for i in range(size):
                self.do(node, MemberChanged(member(i), None, "joined"))
        self.lead(leader, 1)

    def do(self, node: NodeId, event) -> None:
        waiting = deque([(node, event)])
        while waiting:
            receiver, fact = waiting.popleft()
            effects: list[Effect] = self.machines[receiver].handle(fact, self.now)
            self.machines[receiver].check()
            for effect in effects:
                if isinstance(effect, ExchangeKey):
                    self.keys[receiver] = effect.key
                elif isinstance(effect, SendMessage) and not {receiver, effect.to} & self.deaf:
                    waiting.append((effect.to, MessageReceived(receiver, effect.message)))

    def lead(self, leader: int, term: int) -> None:
        for node in self.nodes:
            if node not in self.deaf:
                self.do(node, LeaderChanged(self.nodes[leader], term))

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now += 1.0
            for node in self.nodes:
                self.do(node, TimerFired())

    def quiet(self) -> bool:
        return all(machine.deadline() is None for machine in self.machines.values())


def test_everyone_has_the_new_key_and_then_nothing_more_is_said() -> None:
    ring = Ring(4)
    ring.do(ring.nodes[2], KeyRotateAsked(NEW))
    assert ring.keys == dict.fromkeys(ring.nodes, NEW)
    ring.wait(3)
    assert ring.quiet()


def test_a_node_alone_exchanges_its_own_key() -> None:
    ring = Ring(1)
    ring.do(ring.nodes[0], KeyRotateAsked(NEW))
    ring.wait(2)
    assert ring.keys == {ring.nodes[0]: NEW}
    assert ring.quiet()


def test_who_does_not_answer_gets_it_when_it_does() -> None:
    ring = Ring(3)
    ring.deaf = {ring.nodes[1]}
    ring.do(ring.nodes[2], KeyRotateAsked(NEW))
    ring.wait(5)
    assert set(ring.keys) == {ring.nodes[0], ring.nodes[2]}
    ring.deaf = set()
    ring.wait(2)
    assert ring.keys == dict.fromkeys(ring.nodes, NEW)


def test_who_asked_for_the_exchange_learns_who_has_the_key_also_where_it_does_not_lead() -> None:
    for asker in (0, 2):
        ring = Ring(4)
        asks, others = ring.machines[ring.nodes[asker]], {*ring.nodes} - {ring.nodes[asker]}
        assert asks.taken(NEW) is None
        ring.deaf = {ring.nodes[1]}
        ring.do(ring.nodes[asker], KeyRotateAsked(NEW))
        ring.wait(3)
        assert asks.taken(NEW) == others - ring.deaf
        ring.deaf = set()
        ring.wait(2)
        assert asks.taken(NEW) == others
        assert asks.taken(OTHER) is None
        assert ring.quiet()


def test_no_key_is_taken_from_a_node_that_does_not_lead() -> None:
    ring = Ring(3)
    told = ring.machines[ring.nodes[1]].handle(MessageReceived(ring.nodes[2], NewKey(9, 9, NEW)), ring.now)
    assert told == []
    ring.do(ring.nodes[0], KeyRotateAsked(NEW))
    for key in (NewKey(1, 1, OTHER), NewKey(1, 2, NEW)):
        assert ring.machines[ring.nodes[1]].handle(MessageReceived(ring.nodes[2], key), ring.now) == []
    (answer,) = ring.machines[ring.nodes[1]].handle(MessageReceived(ring.nodes[2], NewKey(1, 1, NEW)), ring.now)
    assert answer == SendMessage(ring.nodes[2], KeyTaken(1, 1))


def test_who_was_held_for_dead_and_comes_back_gets_it() -> None:
    ring = Ring(3)
    ring.deaf = {ring.nodes[1]}
    gone = member(1, state=MemberState.DEAD)
    for node in (ring.nodes[0], ring.nodes[2]):
        ring.do(node, MemberChanged(gone, MemberState.ALIVE, "fell silent"))
    ring.do(ring.nodes[0], KeyRotateAsked(NEW))
    ring.wait(2)
    assert ring.quiet()
    ring.deaf = set()
    for node in (ring.nodes[0], ring.nodes[2]):
        ring.do(node, MemberChanged(member(1, incarnation=1), MemberState.DEAD, "came back"))
    ring.wait(1)
    assert ring.keys == dict.fromkeys(ring.nodes, NEW)


def test_a_leader_that_dies_half_way_leaves_one_key_not_two() -> None:
    ring = Ring(4)
    ring.deaf = {ring.nodes[1], ring.nodes[3]}
    ring.do(ring.nodes[2], KeyRotateAsked(NEW))
    assert set(ring.keys) == {ring.nodes[0], ring.nodes[2]}
    ring.deaf = {ring.nodes[0]}
    ring.lead(1, 2)
    ring.wait(3)
    assert all(ring.keys[node] == NEW for node in ring.nodes[1:])


def test_of_two_exchanges_the_later_one_stays_also_under_another_leader() -> None:
    ring = Ring(3)
    ring.do(ring.nodes[1], KeyRotateAsked(NEW))
    ring.do(ring.nodes[2], KeyRotateAsked(OTHER))
    ring.wait(3)
    assert ring.keys == dict.fromkeys(ring.nodes, OTHER)
    ring.lead(2, 2)
    ring.do(ring.nodes[0], KeyRotateAsked(NEW))
    ring.wait(3)
    assert ring.keys == dict.fromkeys(ring.nodes, NEW)
    assert ring.quiet()


def test_a_key_is_believed_from_the_leader_only() -> None:
    ring = Ring(3)
    ring.do(ring.nodes[1], MessageReceived(ring.nodes[2], NewKey(9, 9, OTHER)))
    assert ring.keys == {}


def test_the_key_is_neither_in_the_journal_nor_in_any_text() -> None:
    for thing in (KeyRotateAsked(NEW), RotateRequest(NEW), NewKey(1, 1, NEW), ExchangeKey(NEW)):
        shown = f"{thing!r} {document(thing)} {document(MessageReceived(node_id(1), thing))}"
        assert NEW.decode() not in shown
    assert document(KeyTaken(1, 2)) == {"type": "KeyTaken", "term": 1, "number": 2}
