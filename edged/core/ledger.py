"""What one node holds for true of all members, and what follows from hearing something newer.

The ledger decides by boot, incarnation and state alone (``roster.overrides``); whoever heard, saw or proved something
writes it in with ``learn``. Every change is told to the other machines and spread as news.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from random import Random

from edged.core.awareness import Awareness
from edged.core.effects import Admit, Depart, Dismiss, Effect, Expel, Log, SendMessage, TellMember
from edged.core.expelling import EXPELLED
from edged.core.gossip import News, transmissions
from edged.core.ids import NodeId
from edged.core.messages import Gossip, MemberRecord, MemberState, Ping
from edged.core.roster import Roster, is_present, overrides
from edged.core.suspicion import Suspicion, join_accusers

LONGEST_NAME = 63
"""Characters of what people call a node."""

ID_DIGITS = 4
"""So many of a node's id tell it from another of the same name."""


class Ledger:
    """The records of all members, the suspicions among them, and the news of both."""

    def __init__(
        self,
        record: MemberRecord,
        rng: Random,
        awareness: Awareness,
        suspicion_seconds: tuple[float, float],
        gossip_factor: float,
        known: Iterable[MemberRecord],
    ) -> None:
        """Begin with the own ``record`` and the ``known``; ``suspicion_seconds`` are the shortest and the longest."""
        self._node = record.node
        self._awareness = awareness
        self._shortest, self._longest = suspicion_seconds
        self._gossip_factor = gossip_factor
        self._twin_boot = 0
        self._next_look = math.inf
        self._suspicions: dict[NodeId, Suspicion] = {}
        self._departed: dict[NodeId, float] = {}
        self.news = News()
        self.roster = Roster(record, rng)
        self.roster.start(iter(known))
        self.records = self.roster.records

    @property
    def own(self) -> MemberRecord:
        """This node's record."""
        return self.records[self._node]

    def start(self, now: float) -> list[Effect]:
        """Tell the other machines who is known from the beginning."""
        effects: list[Effect] = [TellMember(self.own, None, "this node")]
        for node, record in self.records.items():
            if node != self._node and is_present(record):
                effects.append(TellMember(record, None, "known before"))
            elif node != self._node:
                self._departed[node] = now
            if record.state is MemberState.SUSPECT:
                self._suspicions[node] = Suspicion(now, record.accusers)
        self._plan_looks()
        return effects

    def accuse(self, node: NodeId, now: float, effects: list[Effect], reason: str) -> None:
        """This node itself suspects ``node``, of its own knowledge."""
        mine = self.records.get(node)
        if mine is not None and is_present(mine):
            self.learn(replace(mine, state=MemberState.SUSPECT, accusers=(self._node,)), now, effects, reason)

    def prove_dead(self, record: MemberRecord, now: float, effects: list[Effect], reason: str) -> None:
        """The process of ``record`` is gone."""
        mine = self.records.get(record.node)
        if mine is not None and mine.boot == record.boot:
            self.learn(replace(mine, state=MemberState.DEAD, accusers=(), proven=True), now, effects, reason)

    def change_own(self, now: float, effects: list[Effect], reason: str, record: MemberRecord) -> None:
        """Replace this node's own record."""
        self._store(record, now, effects, reason)

    def deadline(self) -> float:
        """When the next suspect is to be asked, or called dead."""
        return self._next_look

    def look_at_suspects(self, now: float, effects: list[Effect]) -> None:
        """Call those dead who were suspected for too long; ask those who soon will have been."""
        for node, suspicion in list(self._suspicions.items()):
            deadline, record = self._deadline(suspicion), self.records[node]
            if suspicion.burial(deadline) <= now:
                dead = replace(record, state=MemberState.DEAD, accusers=())
                self.learn(dead, now, effects, f"fell silent: suspected for {now - suspicion.started:.1f} s")
            elif suspicion.next_call(deadline) <= now:
                suspicion.ask(now)
                effects.append(SendMessage(node, Ping(0, node, (record,))))
        self._plan_looks()

    def was_late(self, seconds: float) -> None:
        """This node slept for ``seconds``: nobody had the chance to refute meanwhile."""
        for suspicion in self._suspicions.values():
            suspicion.delay(seconds)
        self._plan_looks()

    def is_suspect(self, node: NodeId) -> bool:
        """Whether it is doubted already that ``node`` is there."""
        record = self.records.get(node)
        return record is not None and record.state is MemberState.SUSPECT

    def is_expelled(self, node: NodeId) -> bool:
        """Whether nothing that ``node`` says counts any more."""
        record = self.records.get(node)
        return record is not None and record.expelled

    def silent(self) -> list[MemberRecord]:
        """Members that were called dead without proof: perhaps only cut off."""
        departed = map(self.records.__getitem__, self._departed)
        return [record for record in departed if record.state is MemberState.DEAD and not record.proven]

    def buried(self) -> list[MemberRecord]:
        """Members whose death is proven: refused connects prove it, and a firewall may refuse them as well."""
        departed = map(self.records.__getitem__, self._departed)
        return [r for r in departed if r.state is MemberState.DEAD and r.proven and not r.expelled]

    def expire(self, now: float, seconds: float) -> None:
        """Forget members that departed more than ``seconds`` ago; never one that was expelled."""
        records = self.records
        for node in [n for n, since in self._departed.items() if now - since >= seconds and not records[n].expelled]:
            del self._departed[node]
            self.roster.forget(node)
            self.news.drop(node)

    def check(self) -> None:
        """Assert the invariants."""
        self.roster.check()
        self.news.check()
        suspects = {n for n, r in self.records.items() if r.state is MemberState.SUSPECT}
        assert suspects == set(self._suspicions), "suspects without a suspicion"
        assert self.own.state in {MemberState.ALIVE, MemberState.LEFT}, "a node calls itself dead"
        for node, suspicion in self._suspicions.items():
            assert self.records[node].accusers == suspicion.accusers, "accusers differ"

    def learn_all(self, records: tuple[MemberRecord, ...], now: float, effects: list[Effect]) -> None:
        """Take in gossip."""
        for record in records:
            if self.records.get(record.node) is not record:
                self.learn(record, now, effects)

    def learn(self, record: MemberRecord, now: float, effects: list[Effect], reason: str = "") -> None:
        """Take in what is said of a member, if it is newer than what is known."""
        node = record.node
        mine = self.records.get(node)
        if node == self._node:
            self._heard_of_self(record, now, effects)
        elif mine is None:
            self._learn_newcomer(record, now, effects, reason)
        elif record.boot > mine.boot and is_present(mine):
            gone = replace(mine, state=MemberState.DEAD, accusers=(), proven=True)
            self._store(gone, now, effects, "its process was started anew")
            self._store(record, now, effects, reason or "started anew")
        elif overrides(record, mine):
            self._store(record, now, effects, reason)
        elif record.state is MemberState.SUSPECT and mine.state is MemberState.SUSPECT and not overrides(mine, record):
            joined = join_accusers(mine.accusers, record.accusers)
            if joined is not mine.accusers:
                self._store(replace(mine, accusers=joined), now, effects, reason)

    def _stand_apart(self, other: MemberRecord, now: float, effects: list[Effect]) -> None:
        """Of two members of one name the one whose id comes later adds some of its id: people could not tell them."""
        own = self.own
        if other.name != own.name or other.node >= own.node or own.state is not MemberState.ALIVE:
            return
        name = f"{own.name[: LONGEST_NAME - 1 - ID_DIGITS]}-{own.node[:ID_DIGITS]}"
        text = f"another node is called {own.name}, too: this one is {name} here; `--name` gives it a name of its own"
        effects.append(Log("warning", "membership", text))
        self._store(replace(own, name=name, incarnation=own.incarnation + 1), now, effects, "another has its name")

    def _learn_newcomer(self, record: MemberRecord, now: float, effects: list[Effect], reason: str) -> None:
        if is_present(record):
            self._store(record, now, effects, reason or "joined")
        else:
            self.roster.put(record)
            self._departed[record.node] = now
            if record.expelled:
                self._spread(record)
                effects.append(Expel(record))

    def _store(self, record: MemberRecord, now: float, effects: list[Effect], reason: str) -> None:
        """Make ``record`` the truth here, tell the other machines what changed, and spread it."""
        node = record.node
        before = self.records.get(node)
        self.roster.put(record)
        self._spread(record)
        self._follow_suspicion(record, now, anew=before is not None and before.incarnation != record.incarnation)
        was_present = before is not None and is_present(before)
        if is_present(record):
            self._stand_apart(record, now, effects)
            self._departed.pop(node, None)
            if not was_present or before is None or before.addresses != record.addresses:
                effects.append(Admit(record))
            if not was_present and node != self._node:
                effects += self._marks_for(node)
        elif node != self._node:
            self._departed[node] = now
            if record.expelled and (before is None or not before.expelled):
                effects += [SendMessage(node, Gossip((record,))), Expel(record)]
            elif was_present:
                effects.append(Dismiss(node))
        if before is None or replace(before, accusers=record.accusers) != record:
            text = reason or self._describe(record, before)
            effects.append(TellMember(record, None if before is None else before.state, text))

    def _marks_for(self, node: NodeId) -> list[Effect]:
        """Who was away may have missed who was expelled, and must not wait for the next exchange of lists."""
        marks = tuple(record for record in self.records.values() if record.expelled)
        return [SendMessage(node, Gossip(marks))] if marks else []

    def _follow_suspicion(self, record: MemberRecord, now: float, *, anew: bool) -> None:
        known = self._suspicions.get(record.node)
        if record.state is not MemberState.SUSPECT:
            self._suspicions.pop(record.node, None)
        elif known is None or anew:
            self._suspicions[record.node] = Suspicion(now, record.accusers)
        else:
            known.accusers = record.accusers
        if record.state is MemberState.SUSPECT or known is not None:
            self._plan_looks()

    def _deadline(self, suspicion: Suspicion) -> float:
        return suspicion.deadline(len(self.roster), self._shortest, self._longest)

    def _plan_looks(self) -> None:
        self._next_look = min(map(self._look, self._suspicions.values()), default=math.inf)

    def _look(self, suspicion: Suspicion) -> float:
        deadline = self._deadline(suspicion)
        return min(suspicion.burial(deadline), suspicion.next_call(deadline))

    def _spread(self, record: MemberRecord) -> None:
        self.news.add(record, transmissions(len(self.roster), self._gossip_factor))

    def _heard_of_self(self, record: MemberRecord, now: float, effects: list[Effect]) -> None:
        """Refute what is wrong; only this node may raise its incarnation."""
        own = self.own
        if record.expelled:
            effects.append(Depart(EXPELLED, failed=True))
            return
        if record.boot > own.boot and record.boot > self._twin_boot:
            self._twin_boot = record.boot
            effects.append(
                Log("error", "membership", "another process runs under this node's identity: a copied home?")
            )
        if record.boot != own.boot or own.state is MemberState.LEFT:
            return
        if record.incarnation < own.incarnation:
            if record.state is not MemberState.ALIVE:
                self._spread(own)  # somebody has missed the refutation
            return
        if record.state is not MemberState.ALIVE:
            self._awareness.change(1)
            said = "suspected" if record.state is MemberState.SUSPECT else "declared dead"
            text = f"this node was {said} by others; it goes on with incarnation {record.incarnation + 1}"
            effects.append(Log("warning", "membership", text))
        elif record.incarnation == own.incarnation:
            return
        self._store(replace(own, incarnation=record.incarnation + 1), now, effects, "refuted what was said of it")

    def soften(self, sender: NodeId, record: MemberRecord) -> MemberRecord:
        """A member that an exchange calls dead without proof is suspected here, so that the living can refute."""
        if record.state is not MemberState.DEAD or record.proven:
            return record
        mine = self.records.get(record.node)
        if mine is None or not is_present(mine) or record.node == self._node:
            return record
        return replace(record, state=MemberState.SUSPECT, accusers=(sender,))

    def _describe(self, record: MemberRecord, before: MemberRecord | None) -> str:
        """Why ``record`` is what it is; that it died, or does not answer, its state says itself."""
        if record.expelled:
            return "it was expelled"
        match record.state:
            case MemberState.ALIVE:
                came_back = before is None or not is_present(before)
                return "came back" if came_back else "answered" if before is not None and before.state else "changed"
            case MemberState.SUSPECT:
                accusers = (self.records.get(node) for node in record.accusers)
                names = [known.name if known is not None else "a node unknown here" for known in accusers]
                return f"so {'says' if len(names) == 1 else 'say'} {' and '.join(names)}"
            case MemberState.LEFT:
                return "left"
            case MemberState.DEAD:
                return "its process is gone" if record.proven else "it fell silent"
