"""Whether what the nodes hold together is enough for a job to go on, and the sentence for people where it is not."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from edged.core.ids import NodeId
from edged.core.inventory import Inventories, nearest_miss, newest_complete, newest_stored, ranges_in_words
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord
from edged.core.plan import Plan
from edged.core.watch import GONE, named

BEGINNING_SECONDS = 60.0
"""A job goes back to its beginning only after waiting for lost layers as long as it has to repeat; this long at least
where nobody knows how long that is."""

STEP_SECONDS = 0.5
"""What a step is taken to last where that is not known."""


@dataclass(frozen=True, slots=True)
class Stock:
    """The job can go on from weight version ``version``; ``source`` draws the samples, ``None``: nobody can now.

    ``patience_seconds``: how long it is worth waiting, from the beginning of the trouble, for those who hold something
    newer: 0.0 unless the job would begin anew.
    """

    version: int
    source: NodeId | None
    program_holder: NodeId
    patience_seconds: float


def take_stock(
    spec: JobSpec,
    inventories: Inventories,
    members: Mapping[NodeId, MemberRecord],
    *,
    leaving: AbstractSet[NodeId],
    doubted: AbstractSet[NodeId],
    before: Plan | None,
    committed: int,
    step_seconds: float | None,
    stands: bool = False,
) -> Stock | str:
    """Return what the job goes on with, or the sentence that says what it lacks.

    ``before`` is the plan that ran last, ``committed`` the newest version that is known to have been safe (-1: none).
    ``stands``: no samples are wanted, its layers only move.
    """
    source = _source(spec, inventories, members, leaving, doubted)
    if source is None and not stands:
        return _without_source(spec.source, inventories, members)
    version = newest_complete(len(spec.layers), inventories)
    if version is None:
        return lost_layers(spec, inventories, members, before)
    programs = sorted(node for node, its in inventories.items() if its.program)
    if not programs:
        return f"the program was lost with node {named([spec.source], members)}; the job goes on when it is back"
    again = max(committed, newest_stored(inventories))
    repeating = max(BEGINNING_SECONDS, again * STEP_SECONDS) if step_seconds is None else again * step_seconds
    patience = repeating if version == 0 and again > 0 else 0.0
    return Stock(version, source, source if source is not None and source in programs else programs[0], patience)


def lost_layers(
    spec: JobSpec,
    inventories: Inventories,
    members: Mapping[NodeId, MemberRecord],
    before: Plan | None,
    *,
    above: int = -1,
) -> str:
    """Say which layers nobody holds at the version (> ``above``) that lacks the fewest, and with whom they went."""
    gaps = nearest_miss(len(spec.layers), inventories, above)
    layers = ranges_in_words(gaps)
    nodes = () if before is None else before.nodes()
    culprits = [n for n in nodes if n not in inventories and before is not None and _ran(before, n, gaps)]
    if not culprits:
        nobody = f"nobody who is here holds {layers}{_first(spec, inventories, members)}"
        return f"{nobody}; the job goes on when a node that does is back"
    noun, pronoun = ("node", "it is") if len(culprits) == 1 else ("nodes", "they are")
    verb = "was" if len(gaps) == 1 and gaps[0][0] == gaps[0][1] else "were"
    return f"{layers} {verb} lost with {noun} {named(culprits, members)}; the job goes on when {pronoun} back"


def _first(spec: JobSpec, inventories: Inventories, members: Mapping[NodeId, MemberRecord]) -> str:
    """Say that the source lacks them too, where nobody has anything of the job."""
    if spec.source not in inventories or any(its.holdings for its in inventories.values()):
        return ""
    return f", and node {named([spec.source], members)} does not have the first weights"


def _ran(plan: Plan, node: NodeId, gaps: tuple[tuple[int, int], ...]) -> bool:
    hops = [hop for _, _, hop in plan.hops_of(node)]
    return any(hop.first_layer <= last and first <= hop.last_layer for hop in hops for first, last in gaps)


def _source(
    spec: JobSpec,
    inventories: Inventories,
    members: Mapping[NodeId, MemberRecord],
    leaving: AbstractSet[NodeId],
    doubted: AbstractSet[NodeId],
) -> NodeId | None:
    """Return who draws the samples: the source, unless it is gone, has lost them, or leaves while another has them."""
    able = [node for node, its in inventories.items() if its.data]
    staying = sorted(node for node in able if node not in leaving)
    if spec.source in staying or (spec.source in able and not staying):
        return spec.source
    record = members.get(spec.source)
    silent = record is not None and record.state not in GONE and spec.source not in {*inventories, *doubted}
    if silent:
        return None
    return next(iter(staying or sorted(able)), None)


def _without_source(source: NodeId, inventories: Inventories, members: Mapping[NodeId, MemberRecord]) -> str:
    name, record = named([source], members), members.get(source)
    if source in inventories:
        return f"node {name} does not have the job's data, and nobody else does"
    if record is not None and record.state not in GONE:
        return f"only node {name} has the job's data"
    return f"node {name} is gone, and nobody else has the job's data; the job goes on when it is back"
