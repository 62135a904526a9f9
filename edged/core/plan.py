"""The plan: who runs which layers for which micro-batches. A value, validated when it is built.

Index letters, used in the whole core: ``l`` layer, ``h`` hop within a route, ``r`` route, ``v`` weight version,
``m`` micro-batch within a step.
"""

from __future__ import annotations

from dataclasses import dataclass

from edged.core.ids import NodeId, Stamp

SHOWN = 16
"""Most micro-batches that a refusal names: a peer's plan may have sixty thousand, and its refusal is logged."""


class PlanError(ValueError):
    """A plan that no cluster can run; the message says which rule it breaks."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Contiguous layers, run as a unit (a stage) by one node.

    ``first_layer`` and ``last_layer`` are inclusive. ``window`` is the most micro-batches in flight at this hop
    (forward done or running, backward not done).
    """

    node: NodeId
    first_layer: int
    last_layer: int
    window: int


@dataclass(frozen=True, slots=True)
class Route:
    """The road of the micro-batches ``micro_batches`` (numbers within every step) over all layers."""

    hops: tuple[Hop, ...]
    micro_batches: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Who runs what, under one stamp.

    ``layers`` and ``micro_batches`` are the numbers of layers of the program and of micro-batches of a full step.
    ``reason`` is one sentence for people. ``predicted_step_seconds`` is 0.0 where nothing was predicted.

    Of an asynchronous job the leader adds ``start``, the weight version that the plan begins with, and ``origin``: term
    and number of the plan that computed that version (``origins.py``).
    """

    stamp: Stamp
    strategy: str
    reason: str
    layers: int
    micro_batches: int
    routes: tuple[Route, ...]
    predicted_step_seconds: float
    start: int = 0
    origin: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        """Refuse a plan in which some micro-batch does not pass every layer exactly once, in order."""
        if not self.routes:
            raise PlanError("a plan needs at least one route")
        dealt = sorted(m for route in self.routes for m in route.micro_batches)
        if dealt != list(range(self.micro_batches)):
            got = f"{dealt}" if len(dealt) <= SHOWN else f"{len(dealt)} numbers: {dealt[:SHOWN]}..."
            raise PlanError(f"micro-batches 0..{self.micro_batches - 1} must each follow one route, got {got}")
        for route in self.routes:
            _check_route(route, self.layers)

    def nodes(self) -> tuple[NodeId, ...]:
        """Every node that runs layers, once, in order of first appearance."""
        return tuple(dict.fromkeys(hop.node for route in self.routes for hop in route.hops))

    def hops_of(self, node: NodeId) -> tuple[tuple[int, int, Hop], ...]:
        """``(route, hop index, hop)`` for every hop that ``node`` runs."""
        return tuple(
            (r, h, hop) for r, route in enumerate(self.routes) for h, hop in enumerate(route.hops) if hop.node == node
        )

    def route_of(self, micro_batch: int) -> int:
        """Index of the route that micro-batch number ``micro_batch`` follows."""
        return next(r for r, route in enumerate(self.routes) if micro_batch in route.micro_batches)


def layers_in_words(first: int, last: int) -> str:
    """How people read a range of layers: ``layer 3``, ``layers 3–7``."""
    return f"{'layer' if first == last else 'layers'} {layer_numbers(first, last)}"


def layer_numbers(first: int, last: int) -> str:
    """The same where a word stands before it, or none is needed: ``3``, ``3–7``."""
    return f"{first}" if first == last else f"{first}–{last}"


def _check_route(route: Route, layers: int) -> None:
    expected = 0
    for hop in route.hops:
        if hop.first_layer != expected or hop.last_layer < hop.first_layer:
            raise PlanError(f"layers must follow each other: expected layer {expected}, got {hop}")
        if hop.window < 1:
            raise PlanError(f"a window holds at least one micro-batch: {hop}")
        expected = hop.last_layer + 1
    if expected != layers:
        raise PlanError(f"a route must end with layer {layers - 1}, it ends with {expected - 1}")
