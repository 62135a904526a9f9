"""What a job would survive right now: for every single node, what its death would cost, and why.

::

    layers    live      committed at 120 on
    0..6      macbook   macbook, pi-4         pi-4 dies: macbook holds 0..6, desk 7..11, all at 120: go on from there
    7..11     pi-4      pi-4, desk            both die: nobody holds 0..6: wait

The answer is cautious: it counts only the committed version, and the first weights with the node that the job was
handed to. Newer versions that some nodes hold already can only make it better.

What the job lacks already, with everyone who is there, is one thing (``lacking``); what one more death would add to
that is another (``verdict``).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

from edged.core.ids import NodeId
from edged.core.inventory import ranges
from edged.core.plan import Plan
from edged.core.recovery_messages import Committed


@dataclass(frozen=True, slots=True)
class Standing:
    """How a job stands. ``step``: the newest step done. ``alive``: the members that are there.

    ``committed``: the newest word of the leader, ``None`` before the first. ``source`` draws the samples; ``origin`` is
    the node that the job was handed to, which keeps the first weights as long as it lives. ``runs``: the plan is in
    force, and steps are done by it, as far as its nodes are there. ``silent``:
    those of ``alive`` that do not answer just now, and so may not be there after all.
    """

    plan: Plan
    step: int
    source: NodeId
    origin: NodeId
    alive: frozenset[NodeId]
    committed: Committed | None
    runs: bool = True
    silent: frozenset[NodeId] = frozenset()

    @property
    def whole(self) -> bool:
        """Whether steps are done now: the plan runs, and each of its nodes and the source are there."""
        return self.runs and {self.source, *self.plan.nodes()} <= self.alive

    @property
    def version(self) -> int:
        """The committed version; -1 if there is none."""
        return -1 if self.committed is None else self.committed.version

    @property
    def copyist(self) -> NodeId | None:
        """Another node that is there and can draw the samples."""
        holder = None if self.committed is None or not self.committed.data_holder else self.committed.data_holder
        return NodeId(holder) if holder in self.alive and holder != self.source else None


@dataclass(frozen=True, slots=True)
class Cover:
    """Layers (inclusive) that lie on the same nodes: who runs them, and who else holds the committed version."""

    first_layer: int
    last_layer: int
    live: tuple[NodeId, ...]
    replicas: tuple[NodeId, ...]


@dataclass(frozen=True, slots=True)
class Lack:
    """What nobody who is there has: ``layers`` (ranges, inclusive) of the version to go on from, and the ``samples``.

    ``nodes`` are those that took it with them, as far as is known. ``begins_anew``: the first weights are there, so
    the job does not wait for the layers for ever.
    """

    nodes: tuple[NodeId, ...] = ()
    layers: tuple[tuple[int, int], ...] = ()
    samples: bool = False
    begins_anew: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the death of ``node`` would mean.

    ``version``: the weight version that the job would go on from; ``None``: it would wait. ``lost`` (ranges of layers,
    inclusive) lie only on ``node``, also where the job lacks others already; it alone has the ``samples``; it alone has
    the ``first`` weights, which the job would begin anew from; it is the ``last`` node. ``steps_again``: at most so
    many steps are done again. ``heir``: who would draw the samples instead. ``relies_on``: those who do not answer just
    now, and without whom it would be worse.
    """

    node: NodeId
    version: int | None
    steps_again: int
    lost: tuple[tuple[int, int], ...] = ()
    samples: bool = False
    last: bool = False
    heir: NodeId | None = None
    first: bool = False
    relies_on: tuple[NodeId, ...] = ()

    @property
    def waits(self) -> bool:
        """Whether the job would wait for this very node, for whomever else it waits already."""
        return self.version is None and (self.last or self.samples or self.first or bool(self.lost))


def covers(standing: Standing) -> tuple[Cover, ...]:
    """All layers in order, cut where the nodes that run or hold them change. Only nodes that are there count."""
    found: list[Cover] = []
    for layer in range(standing.plan.layers):
        live = _live(standing, layer)
        cover = Cover(layer, layer, live, tuple(node for node in _holders(standing, layer) if node not in live))
        if found and (found[-1].live, found[-1].replicas) == (cover.live, cover.replicas):
            found[-1] = Cover(found[-1].first_layer, layer, cover.live, cover.replicas)
        else:
            found.append(cover)
    return tuple(found)


def lacking(standing: Standing) -> Lack | None:
    """What the job lacks with everyone who is there; ``None`` while it runs, or has all that it needs to go on."""
    if standing.whole:
        return None
    gaps = _gaps(standing, standing.alive)
    samples = not _drawn(standing, standing.alive)
    if not gaps and not samples:
        return None
    gone = [standing.source] if samples else []
    gone += [node for layer in gaps for node in _took(standing, layer)]
    begins_anew = bool(gaps) and standing.origin in standing.alive
    return Lack(tuple(dict.fromkeys(gone)), ranges(gaps), samples, begins_anew)


def verdict(standing: Standing, node: NodeId) -> Verdict:
    """What happens if ``node``, and no other, dies now."""
    told = _verdict(standing, node)
    return told if told.waits else replace(told, relies_on=_relied_on(standing, node))


def _verdict(standing: Standing, node: NodeId) -> Verdict:
    survivors = standing.alive - {node}
    if not survivors:
        return Verdict(node, None, 0, last=True)
    heir = standing.copyist if node == standing.source else None
    if _drawn(standing, standing.alive) and not _drawn(standing, survivors):
        return Verdict(node, None, 0, samples=True)
    if _idle(standing, node):
        return Verdict(node, standing.step, 0)
    lost = _lost(standing, node)
    version = _version_left(standing, survivors)
    if version is None:
        first = node == standing.origin and not lost
        return Verdict(node, None, 0, lost=lost, heir=heir, first=first)
    return Verdict(node, version, max(0, standing.step - version), lost=lost, heir=heir)


def verdicts(standing: Standing) -> tuple[Verdict, ...]:
    """One for each node that is there, in the order of the plan, then the others."""
    planned = [node for node in standing.plan.nodes() if node in standing.alive]
    others = sorted(standing.alive - set(planned))
    return tuple(verdict(standing, node) for node in (*planned, *others))


def _idle(standing: Standing, node: NodeId) -> bool:
    """Whether steps are done now, and no step needs ``node``."""
    return standing.whole and node not in {standing.source, *standing.plan.nodes()}


def _relied_on(standing: Standing, node: NodeId) -> tuple[NodeId, ...]:
    """Which of those that do not answer just now would be missed after the death of ``node``.

    Two of them may hold the same: both are named then.
    """
    silent, there = standing.silent - {node}, standing.alive - {node}
    if _idle(standing, node):
        return tuple(sorted(silent & {standing.source, *standing.plan.nodes()}))
    gaps = _gaps(standing, there - silent)
    wanted: set[NodeId | None] = {holder for layer in gaps for holder in _holders(standing, layer)}
    wanted |= {standing.origin} if gaps and _version_left(standing, there) == 0 else set()
    wanted |= set() if _drawn(standing, there - silent) else {standing.source, standing.copyist}
    return tuple(sorted(each for each in silent if each in wanted))


def _drawn(standing: Standing, nodes: Collection[NodeId]) -> bool:
    """Whether one of ``nodes`` can draw the samples."""
    return standing.source in nodes or standing.copyist in nodes


def _version_left(standing: Standing, survivors: Collection[NodeId]) -> int | None:
    """The newest version of which ``survivors`` are known to hold every layer."""
    if standing.version >= 0 and not _uncovered(standing, survivors):
        return standing.version
    return 0 if standing.origin in survivors else None


def _gaps(standing: Standing, nodes: Collection[NodeId]) -> list[int]:
    """The layers that ``nodes`` lack to go on from the committed version, or from the first one before that."""
    if standing.version <= 0 and standing.origin in nodes:
        return []
    return _uncovered(standing, nodes)


def _lost(standing: Standing, node: NodeId) -> tuple[tuple[int, int], ...]:
    """The layers that go with ``node``: of what the job lacks then, that which it does not lack already.

    While the plan runs nothing is lacking yet: what ``node`` alone runs, or holds as committed, goes with it.
    """
    others = _gaps(standing, standing.alive - {node})
    if not standing.whole:
        return ranges(set(others) - set(_gaps(standing, standing.alive)))
    alone = {node}
    own = [n for n in others if node in _holders(standing, n) or alone.issuperset(_live(standing, n))]
    return ranges(own or others)


def _took(standing: Standing, layer: int) -> tuple[NodeId, ...]:
    """Who is not there and ran this layer."""
    hops = (hop for route in standing.plan.routes for hop in route.hops if hop.first_layer <= layer <= hop.last_layer)
    return tuple(dict.fromkeys(hop.node for hop in hops if hop.node not in standing.alive))


def _uncovered(standing: Standing, survivors: Collection[NodeId]) -> list[int]:
    return [
        layer
        for layer in range(standing.plan.layers)
        if not any(node in survivors for node in _holders(standing, layer))
    ]


def _live(standing: Standing, layer: int) -> tuple[NodeId, ...]:
    running = (
        hop.node
        for route in standing.plan.routes
        for hop in route.hops
        if hop.first_layer <= layer <= hop.last_layer and hop.node in standing.alive
    )
    return tuple(dict.fromkeys(running))


def _holders(standing: Standing, layer: int) -> tuple[NodeId, ...]:
    """Who holds this layer at the committed version, and is there."""
    if standing.committed is None or standing.version < 0:
        return ()
    holding = (
        node
        for lying in standing.committed.layers
        if lying.first_layer <= layer <= lying.last_layer
        for node in lying.holders
        if node in standing.alive
    )
    return tuple(dict.fromkeys(holding))
