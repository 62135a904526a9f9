"""Which plan computed a version: asynchronous training does not come to the same bits twice.

Synchronous, a layer at a version has the same bits whoever computed it. Asynchronous, they depend on the cuts and on
where the run began last (``stashing.py``). A plan that begins at version b makes the versions above b once more, and
pieces that an older plan has made of these must not be mixed with them. So every piece has an *origin*: term and number
of the plan that computed it. A piece of the version at which a plan begins keeps the origin that it had::

    plan (1, 1)   0 ─── 1 ─── 2 ─── 3 ─── 4 ─── 5        its pieces of 4 and 5 are let go ...
    plan (1, 2)                     3 ─── 4 ─── 5 ─── 6  ... where (1, 2) is heard of; elsewhere they are told apart
                          of origin (1, 1)  of origin (1, 2)

``UNKNOWN`` is the origin of all pieces of synchronous jobs and of the first weights. It goes with any other. On a disk
pieces keep their origins.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from edged.core.ids import NodeId, Stamp
from edged.core.messages import Inventory
from edged.core.plan import Plan

Origin = tuple[int, int]
"""Term and number of a plan."""

UNKNOWN: Origin = (0, 0)


def origin_under(plan: Plan, stamp: Stamp, version: int) -> Origin:
    """Return the origin of what was copied at ``version`` under ``stamp``; ``plan`` is the newest one known."""
    return plan.origin if stamp == plan.stamp and version == plan.start else (stamp.term, stamp.version)


def is_stale(plan: Plan, origin: Origin, version: int) -> bool:
    """Whether ``plan`` makes, or begins with, another version of this number."""
    own = (plan.stamp.term, plan.stamp.version)
    if version < plan.start or UNKNOWN in {origin, plan.origin if version == plan.start else own}:
        return False
    return origin != (plan.origin if version == plan.start else own)


def origin_at(inventories: Mapping[NodeId, Inventory], version: int) -> Origin:
    """Return the origin of what is held at ``version``, of which there is one besides ``UNKNOWN`` at most."""
    held = (holding for its in inventories.values() for holding in its.holdings)
    return max((holding.origin for holding in held if holding.version == version), default=UNKNOWN)


def of_one_origin(inventories: Mapping[NodeId, Inventory]) -> dict[NodeId, Inventory]:
    """Return what goes together: of each version the origin that covers the most layers, the newest of equals."""
    covered: dict[int, dict[Origin, set[int]]] = {}
    for its in inventories.values():
        for held in its.holdings:
            layers = covered.setdefault(held.version, {}).setdefault(held.origin, set())
            layers.update(range(held.first_layer, held.last_layer + 1))
    chosen = {version: _best(origins) for version, origins in covered.items()}
    return {node: _of_origins(its, chosen) for node, its in inventories.items()}


def _of_origins(its: Inventory, chosen: Mapping[int, Origin]) -> Inventory:
    if all(held.origin in {UNKNOWN, chosen[held.version]} for held in its.holdings):
        return its
    return replace(its, holdings=tuple(h for h in its.holdings if h.origin in {UNKNOWN, chosen[h.version]}))


def _best(origins: Mapping[Origin, set[int]]) -> Origin:
    anyway = origins.get(UNKNOWN, set())
    return max(origins, key=lambda origin: (len(origins[origin] | anyway), origin))
