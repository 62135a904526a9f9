"""Who holds which layers at which version, and where the nodes of a plan get theirs from. Pure functions.

Synchronous training is exact: a layer at a version has the same bits whoever computed it. So any holdings that cover
all layers at one version are a right place to go on from. Of asynchronous jobs ``of_one_origin`` has left only what
goes together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType

from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.messages import Holding, HoldingKind, Inventory, Transfer
from edged.core.plan import Plan, layers_in_words

Inventories = Mapping[NodeId, Inventory]
"""What each node that answered holds."""

Transfers = Mapping[NodeId, tuple[Transfer, ...]]
"""What each node of a plan has to get, and from whom; its own holdings are listed with itself as the holder."""

Apart = Callable[[NodeId, NodeId], bool]
"""Whether two nodes cannot reach each other."""

_Source = tuple[NodeId, Holding]

Rates = Mapping[tuple[NodeId, NodeId], float]
"""Bytes per second from one node to another, of links that have been measured."""

AS_QUICK = 0.5
"""Who gives layers at this share of the quickest one's rate, or more, is as near."""

PIECE_BYTES = 32_000_000
"""Layers travel in pieces of at most so many bytes, or of one layer: what has come of them need not come again."""

TRANSFER_SECONDS = 60.0
"""How long a transfer may take, besides the bytes."""

TRANSFER_BYTES_PER_SECOND = 125_000.0
"""The slowest link (1 Mbit/s) that a transfer is given time for."""


def never(one: NodeId, other: NodeId) -> bool:
    """Everyone reaches everyone."""
    del one, other
    return False


def newest_complete(layers: int, inventories: Inventories) -> int | None:
    """Return the newest version at which every one of ``layers`` layers is held by somebody, if there is one."""
    newest_first = sorted(_versions(inventories), reverse=True)
    return next((version for version in newest_first if not lacking(layers, version, inventories)), None)


def newest_stored(inventories: Inventories) -> int:
    """Return the newest version of which anything lies on a disk, where only committed ones are written; else 0."""
    held = (holding for its in inventories.values() for holding in its.holdings)
    return max((holding.version for holding in held if holding.kind is HoldingKind.DISK), default=0)


def newly_started(inventories: Inventories) -> bool:
    """Whether all that is held was read back from disks: nobody has any of it in memory."""
    kinds = {holding.kind for its in inventories.values() for holding in its.holdings}
    return kinds <= {HoldingKind.DISK, HoldingKind.FIRST}


def lacking(layers: int, version: int, inventories: Inventories) -> tuple[tuple[int, int], ...]:
    """Return the ranges of layers (inclusive) that nobody holds at ``version``."""
    held = {layer for _, holding in _at(version, inventories) for layer in _layers_of(holding)}
    return ranges(layer for layer in range(layers) if layer not in held)


def nearest_miss(layers: int, inventories: Inventories, above: int = -1) -> tuple[tuple[int, int], ...]:
    """Return what is lacking at the version (> ``above``) that lacks the fewest layers, the newest of equals."""
    newest_first = sorted((version for version in _versions(inventories) if version > above), reverse=True)
    options = [lacking(layers, version, inventories) for version in newest_first]
    return min(options, key=lambda gaps: sum(last - first + 1 for first, last in gaps), default=((0, layers - 1),))


def ranges(layers: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Join single layers, in any order, to ranges (inclusive)."""
    joined: list[tuple[int, int]] = []
    for layer in sorted(set(layers)):
        if joined and joined[-1][1] + 1 == layer:
            joined[-1] = (joined[-1][0], layer)
        else:
            joined.append((layer, layer))
    return tuple(joined)


def ranges_in_words(pieces: Iterable[tuple[int, int]]) -> str:
    """How people read several ranges: ``layers 3–5 and layer 9``."""
    return " and ".join(layers_in_words(first, last) for first, last in pieces)


def transfers(
    plan: Plan,
    spec: JobSpec,
    version: int,
    inventories: Inventories,
    apart: Apart = never,
    rates: Rates = MappingProxyType({}),
) -> Transfers:
    """Choose a holder for every layer of every node of the plan: itself, else one of the nearest by ``rates``.

    Of these, the one whose kind of holding is the quickest to read; among equals, the one that has fewest layers to
    give yet. A link that is not known to be slow counts as quick. A transfer never crosses the border of a holding,
    and what crosses the network goes in ``pieces``. Nobody gets layers from a node that it cannot reach; see
    ``out_of_reach``.
    """
    burden = dict.fromkeys(inventories, 0)
    moves = {
        node: _transfers_of(plan, node, _held(node, version, inventories, apart), rates, burden)
        for node in plan.nodes()
    }
    return {node: tuple(part for move in its for part in _parts(spec, node, move)) for node, its in moves.items()}


def pieces(spec: JobSpec, first: int, last: int) -> Iterator[tuple[int, int]]:
    """Yield layers ``first..last`` in parts that hold at most ``PIECE_BYTES`` of state, or a single layer."""
    start, held = first, 0
    for layer in range(first, last + 1):
        size = state_bytes(spec, layer, layer)
        if layer > start and held + size > PIECE_BYTES:
            yield start, layer - 1
            start, held = layer, 0
        held += size
    yield start, last


def out_of_reach(plan: Plan, version: int, inventories: Inventories, apart: Apart) -> Mapping[NodeId, frozenset[int]]:
    """Return which of its layers each node of the plan could have only from nodes that it cannot reach."""
    beyond: dict[NodeId, frozenset[int]] = {}
    for node in plan.nodes():
        reached = _reached(node, inventories, apart)
        held = {layer for _, holding in _at(version, reached) for layer in _layers_of(holding)}
        own = (layer for *_, hop in plan.hops_of(node) for layer in range(hop.first_layer, hop.last_layer + 1))
        if lost := frozenset(own) - held:
            beyond[node] = lost
    return beyond


def transfer_seconds(spec: JobSpec) -> float:
    """Return how long a transfer of this job's layers may take: all of them, to one node, on a slow link."""
    moved = sum(layer.state_bytes for layer in spec.layers) * (2 + spec.optimizer_copies)
    return TRANSFER_SECONDS + moved / TRANSFER_BYTES_PER_SECOND


def state_bytes(spec: JobSpec, first: int, last: int) -> int:
    """Return the bytes of the state of layers ``first..last``: parameters, buffers, what the optimizer keeps."""
    layers = spec.layers[first : last + 1]
    return sum(layer.state_bytes + spec.optimizer_copies * layer.parameter_bytes for layer in layers)


def moved_bytes(spec: JobSpec, moves: Transfers) -> int:
    """Return the bytes of state that cross the network."""
    foreign = [move for node, its in moves.items() for move in its if move.holder != node]
    return sum(state_bytes(spec, move.first_layer, move.last_layer) for move in foreign)


def _transfers_of(
    plan: Plan, node: NodeId, held: list[_Source], rates: Rates, burden: dict[NodeId, int]
) -> tuple[Transfer, ...]:
    chosen: list[Transfer] = []
    for first, last in dict.fromkeys((hop.first_layer, hop.last_layer) for _, _, hop in plan.hops_of(node)):
        before: _Source | None = None
        for layer in range(first, last + 1):
            source = _nearest(node, [each for each in held if layer in _layers_of(each[1])], rates, burden, before)
            holder, holding = source
            burden[holder] += 1
            start = chosen.pop().first_layer if source == before else layer
            chosen.append(Transfer(start, layer, holding.version, holder))
            before = source
    return tuple(chosen)


def _parts(spec: JobSpec, node: NodeId, move: Transfer) -> Iterator[Transfer]:
    if move.holder == node:
        yield move
        return
    for first, last in pieces(spec, move.first_layer, move.last_layer):
        yield replace(move, first_layer=first, last_layer=last)


def _nearest(
    node: NodeId, sources: list[_Source], rates: Rates, burden: Mapping[NodeId, int], before: _Source | None
) -> _Source:
    """Return who gives a layer to ``node``; raises ``ValueError`` where nobody holds it."""
    quickest = max((rates.get((holder, node), 0.0) for holder, _ in sources), default=0.0)

    def rank(source: _Source) -> tuple[bool, bool, int, bool, int, NodeId]:
        holder, holding = source
        is_far = rates.get((holder, node), quickest) < AS_QUICK * quickest
        return holder != node, is_far, int(holding.kind), source != before, burden[holder], holder

    return min(sources, key=rank)


def _held(node: NodeId, version: int, inventories: Inventories, apart: Apart) -> list[_Source]:
    """Return what ``node`` can have at ``version``."""
    return _at(version, _reached(node, inventories, apart))


def _reached(node: NodeId, inventories: Inventories, apart: Apart) -> Inventories:
    return {holder: its for holder, its in inventories.items() if not apart(node, holder)}


def _at(version: int, inventories: Inventories) -> list[_Source]:
    return [(node, each) for node, its in inventories.items() for each in its.holdings if each.version == version]


def _versions(inventories: Inventories) -> set[int]:
    return {holding.version for its in inventories.values() for holding in its.holdings}


def _layers_of(holding: Holding) -> range:
    return range(holding.first_layer, holding.last_layer + 1)
