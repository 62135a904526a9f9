"""Who keeps copies of what while a plan runs, how often, and which version is safe: the leader's side.

Every node of the plan snapshots at the version the plan starts from and at every multiple of ``every``, and sends a
replica to its holders: its ring successors on the plan, and the leader, as far as its memory has room. When every node
and all of its holders have told that they hold its layers at a version, that version is *committed*: older ones may go.
A commit only cleans up and informs; recovery goes by what nodes say that they hold.

Where copies travel more slowly than snapshots are taken, nodes would hold ever other versions, and none would be
complete. A node that has told of as many as it keeps, and none committed, makes the leader double the interval: the
nodes let go of what does not fit, and meet at a coarser version. Each commit halves it again, down to what is wanted.
What was said before the halving was heard may be gone: it counts when it is said again.

What a node has said counts for the process that it was: one that was restarted has nothing in memory. So its word is
void, and its name goes from what everyone is told, whether it works by the plan or only keeps copies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from statistics import median
from types import MappingProxyType
from typing import NamedTuple

from edged.core.effects import Effect, SendMessage
from edged.core.holdings import COMMITTED_KEPT, OTHERS_KEPT
from edged.core.ids import NodeId
from edged.core.inventory import Apart, never, state_bytes
from edged.core.job import JobSpec
from edged.core.messages import Committed, DataHeld, Held, Lying, MemberRecord, Message, Start, StepReport, Stored
from edged.core.plan import Plan
from edged.core.storing import Storing

FIRST_EVERY = 16
"""Steps between two snapshots until it is known what one costs."""

START_SECONDS = 5.0
"""The cadence and the committed version are told again this often."""

VERSIONS = 8
"""Versions that are counted at a time; what is older than these will not be complete any more."""

STEPS = 17
"""Steps over which the usual step time is taken."""


COPIES = COMMITTED_KEPT + 1
"""Versions of a piece that a holder has in memory as a rule: those that stay, and the one that comes."""


class Cost(NamedTuple):
    """What one copy costs: seconds that it keeps a node from computing, and the bytes of a node that are copied."""

    seconds: float
    size_bytes: int


Interval = Callable[[Cost, float], int]
"""What a copy costs, seconds of a step -> steps between two snapshots, a power of two."""


def unmeasured(cost: Cost, step_seconds: float) -> int:
    """Return the interval that is used where nothing chooses a better one."""
    del cost, step_seconds
    return FIRST_EVERY


def without(told: Committed, node: NodeId) -> Committed:
    """Return what was ``told``, now that ``node`` is another process, which holds none of it."""
    layers = (replace(each, holders=tuple(n for n in each.holders if n != node)) for each in told.layers)
    data_holder = "" if told.data_holder == node else told.data_holder
    return replace(told, layers=tuple(each for each in layers if each.holders), data_holder=data_holder)


_NOBODY: Mapping[NodeId, MemberRecord] = MappingProxyType({})


class Protection:
    """Counts copies of the layers of one plan and tells everyone the cadence and the newest version that is safe."""

    def __init__(
        self,
        plan: Plan,
        spec: JobSpec,
        version: int,
        leader: NodeId,
        *,
        replicas: int,
        interval: Interval,
        apart: Apart = never,
        members: Mapping[NodeId, MemberRecord] = _NOBODY,
    ) -> None:
        """Protect ``plan``, which goes on from ``version``. Nothing is held yet, nobody has been told.

        Nobody keeps copies for a node that it cannot reach (``apart``, which changes with time). ``members``: the live
        list, which tells a restarted process from the one before; what is said by who is not on it does not count.
        """
        self.plan = plan
        self.version = version
        self.committed = -1
        self.every = self._wanted = spec.replicate_every or FIRST_EVERY
        self.data_holder = ""
        self._spec = spec
        self._leader = leader
        self._replicas = replicas
        self._interval = interval
        self._apart = apart
        self._members = members
        self._boots: dict[NodeId, int] = {}
        self._narrowed = -1  # the version at whose commit the interval last came to fit more versions than before
        self._storing = Storing()
        self._has_data: set[NodeId] = set()
        self._held: dict[int, set[tuple[NodeId, int, int]]] = {}
        self._costs: dict[NodeId, Cost] = {}
        self._gaps: list[float] = []
        self._step_at: float | None = None
        self._present: tuple[NodeId, ...] = ()
        self._staying: dict[NodeId, None] = {}  # in their order
        self._for_leader = frozenset(plan.nodes())
        self._lying: tuple[Lying, ...] = ()
        self._told: object = None
        self._tell_at: float | None = None

    def remember(self, known: Committed) -> None:
        """Go on from what an earlier leader has told of this plan."""
        if known.stamp == self.plan.stamp:
            self.committed, self.every, self._lying = known.version, known.every, known.layers
            for node in {node for lying in known.layers for node in lying.holders}:
                self._meet(node)
            self._wanted = self._spec.replicate_every or known.every
            self._narrowed = known.version
            self.data_holder = known.data_holder
            self._storing.go_on(known.stored)
            self.inventory(NodeId(node) for node in (known.data_holder,) if node)

    def inventory(self, nodes: Iterable[NodeId]) -> None:
        """These nodes have said that they can draw the job's samples."""
        for node in nodes:
            self._meet(node)
            self._has_data.add(node)

    # --------------------------------------------------------------------------------------------- for reading

    @property
    def step_seconds(self) -> float | None:
        """The usual time between two steps, if any are known."""
        return median(self._gaps) if self._gaps else None

    @property
    def members(self) -> tuple[NodeId, ...]:
        """Those who work by the plan: the source, and the plan's nodes."""
        return tuple(dict.fromkeys((self._spec.source, *self.plan.nodes())))

    def data_held(self, without: NodeId) -> bool:
        """Whether some present node but this one can draw the job's samples."""
        return any(node in self._has_data and node != without for node in self._staying)

    def holders(self, node: NodeId) -> tuple[NodeId, ...]:
        """Return who is to keep replicas of this node's layers; nobody where it is alone."""
        ring = self.plan.nodes()
        if node not in ring:
            return ()
        place, staying = ring.index(node), self._staying

        def able(nodes: Iterable[NodeId]) -> Iterator[NodeId]:
            return (each for each in nodes if each != node and each in staying and not self._apart(node, each))

        chosen = [*islice(able((*ring[place + 1 :], *ring[:place])), self._replicas)]
        if node in self._for_leader or self._leader in chosen:
            chosen += able((self._leader,))
        return tuple(dict.fromkeys(chosen or islice(able(staying), 1 if self._replicas else 0)))

    def start(self, node: NodeId) -> Start:
        """Return the word to go on for one node of the plan."""
        data_holder = self.data_holder if node == self._spec.source else ""
        return Start(self.plan.stamp, self.version, self.every, self.holders(node), data_holder)

    def state(self) -> Committed:
        """Return what everyone is told."""
        keepers = {piece[1:]: self._keepers(piece) for piece in self._pieces()}
        lying = tuple(Lying(first, last, tuple(sorted(nodes))) for (first, last), nodes in keepers.items() if nodes)
        holder = self.data_holder if self.data_holder in self._has_data else ""
        disks = self._storing
        return Committed(
            self.plan.stamp, self.committed, self.every, lying or self._lying, holder, disks.version, disks.stored
        )

    def safe_without(self, node: NodeId) -> bool:
        """Whether the committed version would still lie with its owners, and in a second place if there is one."""
        pieces = {piece: self._keepers(piece) & {*self._staying} - {node} for piece in self._pieces()}
        return self.committed >= 0 and all(
            piece[0] in keepers and (len(keepers) > 1 or not self.holders(piece[0]))
            for piece, keepers in pieces.items()
        )

    # --------------------------------------------------------------------------------------------- taking in

    def arrange(
        self, present: Sequence[NodeId], staying: Sequence[NodeId], now: float, *, again: bool = False
    ) -> list[Effect]:
        """Choose holders among ``staying``; say what has changed, or is due (``again``: all), to who is ``present``."""
        self._present, self._staying = tuple(present), dict.fromkeys(staying)
        self._for_leader = self._fitting_leader()
        for node in self._boots:
            self._meet(node)
        self._choose_data_holder()
        self._commit()
        self._storing.look(present, now)
        if self._complete(self._held.get(self.committed, set())):
            keepers = {piece[1:]: self._keepers(piece) for piece in self._pieces()}
            self._storing.begin(self.committed, keepers, now)
        starts = tuple(self.start(node) for node in self.members)
        state = self.state()
        old = (starts, state, self._present) == self._told and self._tell_at is not None and now < self._tell_at
        if old and not again:
            return []
        self._told, self._tell_at = (starts, state, self._present), now + START_SECONDS
        commands = [SendMessage(node, start) for node, start in zip(self.members, starts, strict=True)]
        return [*commands, *(SendMessage(node, state) for node in self._present)]

    def hear(self, sender: NodeId, message: Message, now: float) -> None:
        """Count a copy, or a step."""
        match message:
            case Held(stamp=stamp) if stamp == self.plan.stamp:
                self._count(sender, message)
            case Stored(stamp, version, problem) if stamp == self.plan.stamp:
                self._storing.hear(sender, version, problem)
            case DataHeld(job) if job == self.plan.stamp.job:
                self.inventory([sender])
            case StepReport(stamp=stamp) if stamp == self.plan.stamp:
                if self._step_at is not None:
                    self._gaps = [*self._gaps, now - self._step_at][-STEPS:]
                    self._hasten()
                self._step_at = now
            case _:
                pass

    def deadline(self) -> float | None:
        """Return when everything is said again."""
        return self._tell_at

    # ------------------------------------------------------------------------------------------ small parts

    def _fitting_leader(self) -> frozenset[NodeId]:
        """Return whose layers the leader's budget has room for, besides what it runs and keeps all the same.

        A successor keeps replicas whatever its budget: without them one death would cost the job.
        """
        ring, leader = self.plan.nodes(), self._members.get(self._leader)
        if leader is None or not leader.memory_bytes:  # not measured yet
            return frozenset(ring)
        self._for_leader = frozenset()
        sizes = dict.fromkeys(ring, 0)
        for node, first, last in self._pieces():
            sizes[node] += COPIES * state_bytes(self._spec, first, last)
        own = {node for node in ring if node == self._leader or self._leader in self.holders(node)}
        room = leader.memory_bytes - self._live_bytes(self._leader) - sum(sizes[node] for node in own)
        fitting = set(own)
        for node in ring:
            if node not in own and sizes[node] <= room:
                room -= sizes[node]
                fitting.add(node)
        return frozenset(fitting)

    def _live_bytes(self, node: NodeId) -> int:
        """Return what a node's own layers take: state, gradients, and the micro-batches in flight."""
        size = 0
        for _, _, hop in self.plan.hops_of(node):
            layers = self._spec.layers[hop.first_layer : hop.last_layer + 1]
            size += state_bytes(self._spec, hop.first_layer, hop.last_layer)
            size += sum(layer.parameter_bytes + hop.window * layer.activation_bytes for layer in layers)
        return size

    def _meet(self, node: NodeId) -> None:
        """What this node has said is void if it is another process now."""
        boot = self._members[node].boot if node in self._members else 0
        if self._boots.setdefault(node, boot) == boot:
            return
        self._boots[node] = boot
        self._has_data.discard(node)
        self._held = {v: {piece for piece in held if piece[0] != node} for v, held in self._held.items()}
        self._lying = without(self.state(), node).layers

    def _count(self, sender: NodeId, held: Held) -> None:
        self._meet(sender)
        if held.boot != self._boots[sender]:  # from before its process was started anew, or not known to be so yet
            return
        if held.version < self.committed or held.committed < self._narrowed or not self._fits(held.version):
            return
        self._held.setdefault(held.version, set()).add((sender, held.first_layer, held.last_layer))
        told = [v for v, pieces in self._held.items() if v > self.committed and any(sender in each for each in pieces)]
        if len(told) >= OTHERS_KEPT:  # it takes no more; others may hold none of these
            self.every *= 2
            self._held = {version: held for version, held in self._held.items() if self._fits(version)}
        if held.seconds > 0.0:
            self._costs[sender] = Cost(held.seconds, held.size_bytes)
        kept = {self.committed, *sorted(self._held)[-VERSIONS:]}
        self._held = {version: held for version, held in self._held.items() if version in kept}

    def _commit(self) -> None:
        newer = (version for version in sorted(self._held, reverse=True) if version > self.committed)
        version = next((version for version in newer if self._complete(self._held[version])), None)
        if version is None:
            return
        self.committed, self._lying = version, ()
        before, slow = self.every, self.every // self._wanted
        self._wanted = self._chosen()
        self.every = self._wanted * max(1, slow // 2)
        self._narrowed = version if self.every % before else self._narrowed
        self._held = {each: held for each, held in self._held.items() if each >= version and self._fits(each)}

    def _chosen(self) -> int:
        """Return the interval for what has been measured; the one so far where that is not enough, or the job's."""
        if self._spec.replicate_every or not self._costs or not self._gaps:
            return self._wanted
        seconds, sizes = zip(*self._costs.values(), strict=True)
        return max(1, self._interval(Cost(max(seconds), max(sizes)), median(self._gaps)))

    def _hasten(self) -> None:
        """Choose a shorter interval as soon as a step is known: the first one is much to do again if steps are long."""
        untouched = self.every == self._wanted == FIRST_EVERY and self._narrowed < 0
        if untouched and self.committed == self.version and len(self._gaps) == 1:
            self._wanted = self.every = min(FIRST_EVERY, self._chosen())

    def _fits(self, version: int) -> bool:
        """Whether a version may be committed: nodes let go of others."""
        return version in {self.version, self.committed} or version % self.every == 0

    def _complete(self, held: set[tuple[NodeId, int, int]]) -> bool:
        return all(
            (keeper, first, last) in held
            for node, first, last in self._pieces()
            for keeper in (node, *self.holders(node))
        )

    def _pieces(self) -> tuple[tuple[NodeId, int, int], ...]:
        """Return who runs which layers, by layer."""
        hops = {(hop.first_layer, hop.last_layer, hop.node) for route in self.plan.routes for hop in route.hops}
        return tuple((node, first, last) for first, last, node in sorted(hops))

    def _keepers(self, piece: tuple[NodeId, int, int]) -> set[NodeId]:
        """Return who holds these layers at the committed version."""
        held = self._held.get(self.committed, set())
        return {node for node, first, last in held if (first, last) == piece[1:]}

    def _choose_data_holder(self) -> None:
        """Keep to the node that was chosen as long as it stays; prefer one that has the data already."""
        source = self._spec.source
        others = [node for node in self._staying if node != source and not self._apart(source, node)]
        if self._spec.keep_inputs_home or not others:
            self.data_holder = ""
            return
        if self.data_holder in others:
            return
        ring = self.plan.nodes()
        place = ring.index(self._spec.source) if self._spec.source in ring else -1
        behind = [node for node in (*ring[place + 1 :], *ring[: max(place, 0)]) if node in others]
        able = [node for node in (*behind, *others) if node in self._has_data]
        self.data_holder = (able or behind or others)[0]
