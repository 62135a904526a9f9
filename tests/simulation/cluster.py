"""Clusters of membership and election in one process, with disks that survive a restart."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable

from edged.core.effects import Effect, SaveVote, TellLeader, TellMember
from edged.core.election import Election, ElectionOptions
from edged.core.electorate import SavedVote
from edged.core.events import Event, MemberChanged, PeerMet
from edged.core.ids import NodeId
from edged.core.membership import Membership, MembershipOptions
from edged.core.messages import MemberRecord
from edged.core.simulate import Network, Simulation
from tests.core.records import member, node_id

REUNION_SECONDS = 8.0
"""Longest that two lineages both lead after the last cut between them was mended."""

REFUSED_SECONDS = 40.0
"""The same after a cut that refused connects: who is proven dead is tried more rarely, one after the other."""


class Pair:
    """Both machines of one node, joined as the node joins them: every ``TellMember`` is a ``MemberChanged``."""

    def __init__(
        self,
        record: MemberRecord,
        rng: random.Random,
        saved: SavedVote | None = None,
        known=(),
        options: ElectionOptions | None = None,
    ) -> None:
        self.steps = 0
        self.membership = Membership(record, MembershipOptions(), rng, known)
        options = options or ElectionOptions()
        self.election = Election(record.node, options, rng, saved, lambda: self.steps)

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects = self.membership.handle(event, now)
        for effect in list(effects):
            if isinstance(effect, TellMember):
                effects += self.election.handle(MemberChanged(effect.record, effect.before, effect.reason), now)
        return effects + self.election.handle(event, now)

    def deadline(self) -> float | None:
        moments = [m for m in (self.membership.deadline(), self.election.deadline()) if m is not None]
        return min(moments, default=None)

    def check(self) -> None:
        self.membership.check()
        self.election.check()


class Cluster:
    """Some nodes, and what must hold of them after every event."""

    def __init__(
        self,
        seed: int,
        size: int,
        network: Network | None = None,
        *,
        strangers: bool = False,
        waiting: frozenset[int] = frozenset(),
    ) -> None:
        """``strangers`` have not met; those ``waiting`` never go on as a fork."""
        self.seed = seed
        self.rng = random.Random(seed)
        self.simulation = Simulation(seed, network, self.perform, self.after, checks=True)
        self.disks: dict[NodeId, SavedVote] = {}
        self.boots: dict[NodeId, int] = {}
        self.strangers = strangers
        self.waiting = waiting
        self.observe: Callable[[NodeId, Effect], None] = lambda _node, _effect: None
        self.leaders: dict[tuple[str, int], NodeId] = {}
        self.elected: dict[tuple[str, int], float] = {}
        self.refused = False
        self.cut_at = -math.inf
        self.clans: dict[str, str] = {}
        self.forks_seen = 0
        self.reunion = 0.0
        self.heard: dict[NodeId, list[tuple[float, NodeId | None, int]]] = {}
        self.votes: dict[tuple[NodeId, int], NodeId] = {}
        self.nodes = [node_id(i) for i in range(size)]
        records = [member(i, slowness=1.0 + i % 3) for i in range(size)]
        for i in range(size):
            self.start(i, () if strangers else records)

    @property
    def now(self) -> float:
        return self.simulation.now

    def start(self, i: int, known=()) -> None:
        node = node_id(i)
        self.boots[node] = self.boots.get(node, 0) + 1
        record = member(i, slowness=1.0 + i % 3, boot=self.boots[node])
        options = ElectionOptions(forks=i not in self.waiting)
        rng = random.Random(self.rng.getrandbits(64))
        self.simulation.add(node, Pair(record, rng, self.disks.get(node), known, options))

    def restart(self, i: int) -> None:
        """A killed node comes back from its disk and meets everyone that runs."""
        self.start(i)
        self.meet(i, [j for j, node in enumerate(self.nodes) if j != i and self.runs(node)])

    def meet(self, i: int, others: list[int]) -> None:
        for j in others:
            one, other = self.pair(node_id(i)).membership.own, self.pair(node_id(j)).membership.own
            self.simulation.post(node_id(i), PeerMet(other), 0.01)
            self.simulation.post(node_id(j), PeerMet(one), 0.01)

    def runs(self, node: NodeId) -> bool:
        return not self.simulation.hosts[node].stopped

    def pair(self, node: NodeId) -> Pair:
        machine = self.simulation.hosts[node].machine
        assert isinstance(machine, Pair)
        return machine

    def running(self) -> list[Pair]:
        return [self.pair(node) for node in self.nodes if self.runs(node)]

    def leading(self) -> list[NodeId]:
        """Every running node that holds a lease now."""
        return [pair.election._node for pair in self.running() if pair.election.has_lease(self.now)]

    def perform(self, node: NodeId, effect: Effect) -> None:
        self.observe(node, effect)
        if isinstance(effect, SaveVote):
            old = self.disks.get(node)
            assert old is None or effect.term >= old.term, f"seed {self.seed}: {node} went back in terms"
            if effect.voted_for is not None:
                vote = self.votes.setdefault((node, effect.term), effect.voted_for)
                assert vote == effect.voted_for, f"seed {self.seed}: {node} voted twice in term {effect.term}"
            if effect.electorate is not None and effect.electorate.lineage not in self.clans:
                parent = old.electorate if old is not None else None
                lineage = effect.electorate.lineage
                self.clans[lineage] = self.clans[parent.lineage] if parent is not None else lineage
            self.disks[node] = SavedVote(effect.term, effect.voted_for, effect.electorate)
        elif isinstance(effect, TellLeader):
            self.heard.setdefault(node, []).append((self.now, effect.leader, effect.term))

    def after(self, node: NodeId) -> None:
        """What is promised, looked at after every event of every node.

        One leader in a term: a number is led by one node only, in a cluster and all its forks, from its beginning to
        its end. (Who founds while out of reach of all others founds another cluster, which counts for itself, until
        one takes in the other; no job can have been in both.)

        One lease at a time: within a lineage always, but that a majority which was made to believe that its leader is
        dead (a cut refused their connects) does not wait for the end of that leader's lease; it is not renewed, and
        what is decided under it has the lower term. Two lineages may each have a leader with a lease only where a
        cut has parted them: one is a *fork*, founded by nodes that had heard of no leader for 15 s, or hold all others
        for dead, and it lives until a few seconds after the cut is mended, when its nodes change over.
        """
        if self.simulation._cuts or self.strangers:
            self.cut_at = self.now
        self.refused = self.refused or bool(self.simulation._resets)
        leases: dict[NodeId, Election] = {}
        for other in self.nodes:
            host = self.simulation.hosts.get(other)
            if host is None or host.stopped:
                continue
            election = host.machine.election  # type: ignore[attr-defined]
            if election._lead is None:
                continue
            lineage = election.electorate.lineage
            self.elected.setdefault((lineage, election.term), self.now)
            clan = self.clans[lineage]
            known = self.leaders.setdefault((clan, election.term), other)
            assert known == other, f"seed {self.seed}: two leaders in term {election.term}: {known} and {other}"
            if election.has_lease(self.now):
                leases[other] = election
        if len(leases) > 1:
            self.forks_seen += 1
            for one, two in itertools.combinations(leases.values(), 2):
                self.judge_leases(*sorted((one, two), key=lambda election: election.term))
            parted = self.now - self.cut_at
            self.reunion = max(self.reunion, parted)
            assert parted <= (REFUSED_SECONDS if self.refused else REUNION_SECONDS), (
                f"seed {self.seed}: at {self.now} two leases, uncut for {parted}: {sorted(leases)}"
            )

    def judge_leases(self, older: Election, newer: Election) -> None:
        """Of one lineage there are two only where the older runs out since the newer leader was elected."""
        lineage = newer.electorate.lineage
        if older.electorate.lineage == lineage:
            latest = self.elected[lineage, newer.term] + ElectionOptions().lease_seconds
            ends = self.refused and older._lease_until(self.now) <= latest
            assert ends, f"seed {self.seed}: two leases of lineage {lineage}: {older._node} and {newer._node}"
