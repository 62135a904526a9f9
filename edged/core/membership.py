"""Who is there: SWIM with Lifeguard's refinements, as a pure machine.

Sources: Das, Gupta, Motivala, "SWIM" (2002); Dadgar, Phillips, Currey, "Lifeguard" (2018). The life of a process::

               accused              not refuted in time, or its death proven
    ALIVE ----------------> SUSPECT ----------------> DEAD
      ^  <---------------- a higher incarnation -------|      only the member itself raises its incarnation
      |---- says goodbye ---> LEFT                            a higher boot is a new process: it begins anew

Three kinds of evidence are kept apart: a proof of death (``proof.py``) kills at once; silence (``detector.py``) makes a
suspicion (``suspicion.py``); slow answers only stretch time-outs (``awareness.py``). ``LoopWasLate`` must be handed in
before anything that waited meanwhile.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from random import Random
from types import MappingProxyType

from edged.core.awareness import Awareness
from edged.core.detector import Detector
from edged.core.effects import Admit, Depart, Effect, SendMessage, TellReach
from edged.core.events import (
    Event,
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
from edged.core.gossip import NOTHING
from edged.core.ids import NodeId
from edged.core.ledger import Ledger
from edged.core.messages import (
    Accusation,
    Ack,
    Exchange,
    Gossip,
    MemberRecord,
    MemberState,
    Message,
    Nack,
    Ping,
    PingRequest,
    Testimony,
)
from edged.core.proof import Inquiries
from edged.core.reach import Detours
from edged.core.roster import is_present


@dataclass(frozen=True, slots=True)
class MembershipOptions:
    """Times in seconds, for a local network; the counts are per message or per round."""

    ping_seconds: float = 0.5
    answer_seconds: float = 0.3
    helpers: int = 3
    suspicion_minimum_seconds: float = 3.0
    suspicion_maximum_seconds: float = 9.0
    gossip_seconds: float = 0.1
    gossip_targets: int = 3
    gossip_records: int = 8
    gossip_factor: float = 4.0
    exchange_seconds: float = 30.0
    reconnect_seconds: float = 2.0
    visit_seconds: float = 5.0
    goodbye_seconds: float = 0.5
    forget_seconds: float = 86_400.0


class Membership:
    """One node's view of all members. Its own record is in it."""

    def __init__(
        self, record: MemberRecord, options: MembershipOptions, rng: Random, known: Iterable[MemberRecord] = ()
    ) -> None:
        """Begin with the own ``record`` and members that are ``known`` (and admitted) already."""
        self._node = record.node
        self._options = options
        self._rng = rng
        self._awareness = Awareness()
        shortest, longest = options.suspicion_minimum_seconds, options.suspicion_maximum_seconds
        self._ledger = Ledger(record, rng, self._awareness, (shortest, longest), options.gossip_factor, known)
        self._roster = self._ledger.roster
        self._news = self._ledger.news
        self._detector = Detector(self._awareness, options.ping_seconds, options.answer_seconds)
        self._inquiries = Inquiries()
        self._detours = Detours()
        self._told_reach: tuple[NodeId, ...] = ()
        self._started = False
        self._next_gossip = -math.inf
        self._next_exchange = math.inf
        self._next_reconnect = math.inf
        self._next_visit = math.inf
        self._depart_at = math.inf
        self._next_chore = math.inf
        self._leaving = False

    # ------------------------------------------------------------------------------------------ what others see

    @property
    def members(self) -> Mapping[NodeId, MemberRecord]:
        """Every record, departed members and this node included."""
        return MappingProxyType(self._ledger.records)

    @property
    def own(self) -> MemberRecord:
        """This node's record."""
        return self._ledger.own

    def round_trips(self) -> Mapping[NodeId, float]:
        """Seconds of the newest answered ping of each member."""
        return self._detector.round_trips.latest

    def alive(self) -> tuple[MemberRecord, ...]:
        """The records of the members that take part (suspects too), this node included."""
        return tuple(record for record in self._ledger.records.values() if is_present(record))

    def deadline(self) -> float | None:
        """When this machine wants to be woken."""
        if not self._started:
            return 0.0
        wake = min(self._detector.deadline(), self._next_chore, self._ledger.deadline(), self._inquiries.deadline())
        if self._detours:
            wake = min(wake, self._detours.deadline())
        if self._news and self._roster.ring and self._next_gossip < wake:
            wake = self._next_gossip
        return wake if wake < math.inf else None

    def check(self) -> None:
        """Assert the invariants."""
        self._ledger.check()
        self._detector.check()
        self._inquiries.check()

    def handle(self, event: Event, now: float) -> list[Effect]:
        """Take in one fact."""
        effects: list[Effect] = []
        if not self._started:
            self._start(now, effects)
        match event:
            case MessageReceived(sender, message):
                self._received(sender, message, now, effects)
            case TimerFired():
                pass
            case PeerMet(record):
                self._met(record, now, effects)
            case LinkLost(node):
                self._inquire(node, now, effects)
            case PortProbed(node, refused):
                self._probed(node, now, effects, refused=refused)
            case LoopWasLate(seconds):
                self._was_late(seconds, now)
            case SelfMeasured() | MemoryRanOut():
                self._measured(event, now, effects)
            case LeaveAsked():
                self._leave(now, effects)
            case _:
                return effects
        self._do_what_is_due(now, effects)
        self._tell_reach(now, effects)
        return effects

    def _measured(self, event: SelfMeasured | MemoryRanOut, now: float, effects: list[Effect]) -> None:
        """Tell what this device can do; a smaller budget to all at once: the next plan will not wait for gossip."""
        own = replace(self.own, memory_bytes=event.memory_bytes, incarnation=self.own.incarnation + 1)
        if isinstance(event, SelfMeasured):
            addresses = event.addresses or own.addresses
            own = replace(own, slowness=event.slowness, device=event.device, addresses=addresses)
            self._ledger.change_own(now, effects, "measured itself", own)
            return
        self._ledger.change_own(now, effects, "ran out of memory", own)
        others = (member.node for member in self.alive() if member.node != self._node)
        effects.extend(SendMessage(node, Gossip((self.own,))) for node in others)

    # ------------------------------------------------------------------------------------------ messages

    def _received(self, sender: NodeId, message: Message, now: float, effects: list[Effect]) -> None:
        if self._ledger.is_expelled(sender):
            return
        match message:
            case Ping(sequence, target, gossip):
                self._ledger.learn_all(gossip, now, effects)
                if target == self._node and not self._leaving:
                    effects.append(SendMessage(sender, Ack(sequence, target, self._piggyback(sender))))
                    if sender not in self._ledger.records:
                        effects.append(self._exchange_with(sender))
            case Ack(sequence, target, gossip):
                self._ledger.learn_all(gossip, now, effects)
                self._acknowledged(sender, sequence, target, now, effects)
            case Gossip(gossip):
                self._ledger.learn_all(gossip, now, effects)
            case _:
                self._received_rarely(sender, message, now, effects)

    def _received_rarely(self, sender: NodeId, message: Message, now: float, effects: list[Effect]) -> None:
        match message:
            case PingRequest(sequence, target, gossip):
                self._ledger.learn_all(gossip, now, effects)
                number = self._detector.relay(sender, sequence, now)
                effects.append(SendMessage(sender, Nack(sequence, target, NOTHING)))
                effects.append(SendMessage(target, Ping(number, target, self._piggyback(target))))
            case Nack(sequence, _, gossip):
                self._ledger.learn_all(gossip, now, effects)
                self._detector.helped(sequence, sender)
            case Exchange(members, reply):
                for record in members:
                    if self._ledger.records.get(record.node) is not record:
                        self._ledger.learn(self._ledger.soften(sender, record), now, effects)
                if not reply:
                    effects.append(self._exchange_with(sender, reply=True))
            case Accusation(target, boot):
                accused = self._ledger.records.get(target)
                if accused is not None and accused.boot == boot and target != self._node:
                    effects += self._inquiries.asked_by(sender, accused, now)
            case Testimony():
                self._inquiries.testified(sender, message, now)
            case _:
                pass

    def _acknowledged(self, sender: NodeId, sequence: int, target: NodeId, now: float, effects: list[Effect]) -> None:
        relayed = self._detector.relayed(sequence, now)
        if relayed is not None:
            origin, number = relayed
            effects.append(SendMessage(origin, Ack(number, target, self._piggyback(origin))))
        else:
            answers = self._detector.acknowledged(sequence, target, now, direct=sender == target)
            if answers or sender == target:
                self._detours.answered(target, now, direct=sender == target)

    def _piggyback(self, to: NodeId) -> tuple[MemberRecord, ...]:
        """Some news; and what is held against the receiver itself, so that it can refute at once."""
        news = self._news.take(self._options.gossip_records) if self._news else NOTHING
        record = self._ledger.records.get(to)
        if record is not None and record.state is not MemberState.ALIVE:
            return (record, *news)
        return news

    def _exchange_with(self, node: NodeId, *, reply: bool = False) -> SendMessage:
        return SendMessage(node, Exchange(tuple(self._ledger.records.values()), reply))

    # ------------------------------------------------------------------------------------------ other facts

    def _start(self, now: float, effects: list[Effect]) -> None:
        options = self._options
        self._started = True
        self._detector.next_ping = now + self._rng.random() * options.ping_seconds
        self._next_exchange = now + self._rng.random() * self._exchange_period()
        self._next_reconnect = now + (0.5 + self._rng.random()) * options.reconnect_seconds
        self._next_visit = self._next_reconnect + options.visit_seconds / 2
        self._next_chore = min(self._next_exchange, self._next_reconnect, self._next_visit)
        effects += self._ledger.start(now)

    def _met(self, record: MemberRecord, now: float, effects: list[Effect]) -> None:
        """The door proved that this process is there now. If it is held for dead, it must hear so, to refute."""
        if record.node == self._node or self._ledger.is_expelled(record.node):
            return
        effects.append(Admit(record))
        self._ledger.learn(replace(record, state=MemberState.ALIVE, accusers=(), proven=False), now, effects)
        effects.append(self._exchange_with(record.node))

    def _inquire(self, node: NodeId, now: float, effects: list[Effect]) -> None:
        """Look for a proof of death, here and with two witnesses."""
        record = self._ledger.records.get(node)
        if record is not None and is_present(record) and node != self._node:
            witnesses = self._roster.some(2, without=node)
            effects += self._inquiries.accuse(record, witnesses, now)

    def _probed(self, node: NodeId, now: float, effects: list[Effect], *, refused: bool) -> None:
        answers, first_refusal = self._inquiries.port_probed(node, now, refused=refused)
        effects += answers
        if first_refusal:
            self._ledger.accuse(node, now, effects, "its connection broke and its port refuses")

    def _was_late(self, seconds: float, now: float) -> None:
        """Nothing that should have come meanwhile was missing: void open questions, move the suspicions' clocks."""
        self._awareness.change(1)
        self._detector.void(now)
        self._detours.void()
        self._inquiries.void(now)
        self._ledger.was_late(seconds)

    def _leave(self, now: float, effects: list[Effect]) -> None:
        if self._leaving:
            return
        self._leaving = True
        self._ledger.change_own(now, effects, "leaves", replace(self.own, state=MemberState.LEFT))
        goodbye = Gossip((self.own,))
        effects += [SendMessage(node, goodbye) for node in self._roster.some(16)]
        self._depart_at = now + (self._options.goodbye_seconds if self._roster.ring else 0.0)
        self._next_chore = min(self._next_chore, self._depart_at)

    # ------------------------------------------------------------------------------------------ time

    def _do_what_is_due(self, now: float, effects: list[Effect]) -> None:
        if self._depart_at < math.inf and not self._roster.ring:  # all others leave too: time to hear of it is enough
            self._depart_at = min(self._depart_at, now + self._options.gossip_seconds)
            self._next_chore = min(self._next_chore, self._depart_at)
        if self._inquiries and self._inquiries.deadline() <= now:
            probes, proven = self._inquiries.due(now)
            effects += probes
            for record in proven:
                self._ledger.prove_dead(record, now, effects, "its process is gone: three connects were refused")
        if self._ledger.deadline() <= now:
            self._ledger.look_at_suspects(now, effects)
        if self._detector.deadline() <= now:
            self._ping(now, effects)
        if self._news and self._next_gossip <= now:
            self._gossip(now, effects)
        if self._next_chore <= now:
            self._do_chores(now, effects)

    def _do_chores(self, now: float, effects: list[Effect]) -> None:
        if self._next_exchange <= now:
            self._exchange(now, effects)
        if self._next_reconnect <= now:
            self._next_reconnect = now + self._options.reconnect_seconds
            self._try_one_of(self._ledger.silent(), effects)
        if self._next_visit <= now:
            self._next_visit = now + self._options.visit_seconds
            self._try_one_of(self._ledger.buried(), effects)
        if self._depart_at <= now:
            self._depart_at = self._next_exchange = self._next_reconnect = math.inf
            self._next_visit = self._detector.next_ping = math.inf
            effects.append(Depart("this node was asked to leave"))
        self._next_chore = min(self._next_exchange, self._next_reconnect, self._next_visit, self._depart_at)

    def _ping(self, now: float, effects: list[Effect]) -> None:
        detector = self._detector
        probe = detector.probe
        if probe is not None and not is_present(self._ledger.records[probe.target]):
            detector.drop()
        elif probe is not None and now >= probe.give_up:
            target = detector.give_up(known_silent=self._ledger.is_suspect(probe.target))
            self._ledger.accuse(target, now, effects, "no answer to pings")
            self._inquire(target, now, effects)
        elif probe is not None:
            chosen = self._roster.some(self._options.helpers, without=probe.target)
            helpers = tuple(node for node in chosen if not self._ledger.is_suspect(node))
            detector.try_harder(helpers)
            question: Message = Ping(probe.sequence, probe.target, self._piggyback(probe.target))
            effects.append(SendMessage(probe.target, question))
            for helper in helpers:
                question = PingRequest(probe.sequence, probe.target, self._piggyback(helper))
                effects.append(SendMessage(helper, question))
            return
        if now < detector.next_ping:
            return
        target_now = self._roster.next_target() if not self._leaving else None
        if target_now is None:
            detector.next_ping = now + self._options.ping_seconds
            return
        probe = detector.open(target_now, now)
        effects.append(SendMessage(target_now, Ping(probe.sequence, target_now, self._piggyback(target_now))))

    def _tell_reach(self, now: float, effects: list[Effect]) -> None:
        """Tell whom others reach and this node does not, when that changes."""
        if not (self._detours or self._told_reach):
            return
        records = self._ledger.records
        self._detours.keep(lambda node: node in records and is_present(records[node]))
        effects += [SendMessage(node, Ping(0, node, self._piggyback(node))) for node in self._detours.look(now)]
        nodes = self._detours.unreachable()
        if nodes != self._told_reach:
            self._told_reach = nodes
            effects.append(TellReach(nodes))

    def _gossip(self, now: float, effects: list[Effect]) -> None:
        targets = self._roster.some(self._options.gossip_targets)
        self._next_gossip = now + self._options.gossip_seconds
        if targets:
            message = Gossip(self._news.take(self._options.gossip_records, len(targets)))
            effects += [SendMessage(target, message) for target in targets]

    def _exchange_period(self) -> float:
        """Whole lists are long in large clusters, so they are exchanged less often there (memberlist does the same)."""
        return self._options.exchange_seconds * max(1.0, math.log2(len(self._roster) / 16))

    def _exchange(self, now: float, effects: list[Effect]) -> None:
        self._next_exchange = now + self._exchange_period()
        effects += [self._exchange_with(node) for node in self._roster.some(1)]
        self._ledger.expire(now, self._options.forget_seconds)

    def _try_one_of(self, lost: list[MemberRecord], effects: list[Effect]) -> None:
        """Try one member that fell silent, or refused connects: after a cut both sides find each other again."""
        if lost:
            record = lost[int(self._rng.random() * len(lost))]
            effects.append(Admit(record))
            effects.append(SendMessage(record.node, Ping(0, record.node, self._piggyback(record.node))))
