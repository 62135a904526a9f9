"""The state of some layers at one version, as values that never change; and all that a node holds of them in memory.

::

    HeldState: layers 4..7 at version 32          cut(held, 5, 6)
    tensors   parameter/NAME  buffer/NAME  optimizer/NAME/KEY     -> those of the layers' own names
    extra     {"layers": [[places in tensors], ...],  one list per layer: whose parameters and buffers are whose
               "entries": {NAME: ...},                            -> those of the layers' own names
               "group": ..., "scheduler": ...}                    -> as they are: the same on every node

So any layer of it can be handed on by a node that has never seen the program.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from edged.core.ids import JobId, Stamp
from edged.core.messages import StateParcel, TensorSpec
from edged.errors import UNREADABLE, MalformedError, brief


@dataclass(frozen=True, slots=True, eq=False)
class HeldState:
    """Layers ``first_layer`` to ``last_layer`` (inclusive) of a job at ``version``, whole.

    ``buffers``: one for each of ``tensors``; nobody writes into them. ``extra`` is a JSON document, see above.
    """

    job: JobId
    first_layer: int
    last_layer: int
    version: int
    tensors: tuple[TensorSpec, ...]
    buffers: tuple[memoryview, ...]
    extra: bytes

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(spec.size_bytes for spec in self.tensors)

    def covers(self, first_layer: int, last_layer: int) -> bool:
        """Whether these layers are all among its own."""
        return self.first_layer <= first_layer <= last_layer <= self.last_layer

    def parcel(self, stamp: Stamp, *, replica: bool) -> StateParcel:
        """The header under which it travels."""
        return StateParcel(
            stamp, self.first_layer, self.last_layer, self.version, self.tensors, self.extra, replica=replica
        )


def held_of(header: StateParcel, buffers: Collection[memoryview]) -> HeldState:
    """What a parcel brought. Raises ``MalformedError`` if it does not say which tensor belongs to which layer."""
    held = HeldState(
        header.stamp.job,
        header.first_layer,
        header.last_layer,
        header.version,
        header.tensors,
        tuple(buffers),
        header.extra,
    )
    _layers(held, _document(held))
    return held


def cut(held: HeldState, first_layer: int, last_layer: int) -> HeldState:
    """Some of its layers, sharing its memory. Raises ``MalformedError`` if they are not in it, or it is not sound."""
    if (first_layer, last_layer) == (held.first_layer, held.last_layer):
        return held
    if not held.covers(first_layer, last_layer):
        raise MalformedError(f"layers {first_layer}..{last_layer} are not in {held.first_layer}..{held.last_layer}")
    document = _document(held)
    layers = _layers(held, document)[first_layer - held.first_layer : last_layer - held.first_layer + 1]
    names = {_owner(held.tensors[place]) for places in layers for place in places}
    kept = [place for place, spec in enumerate(held.tensors) if _owner(spec) in names]
    moved = {place: index for index, place in enumerate(kept)}
    document["layers"] = [[moved[place] for place in places] for places in layers]
    document["entries"] = {name: entry for name, entry in document["entries"].items() if name in names}
    return HeldState(
        held.job,
        first_layer,
        last_layer,
        held.version,
        tuple(held.tensors[place] for place in kept),
        tuple(held.buffers[place] for place in kept),
        json.dumps(document).encode(),
    )


def _owner(spec: TensorSpec) -> str:
    """Name of the parameter or buffer that an entry belongs to."""
    kind, _, name = spec.name.partition("/")
    return name.rpartition("/")[0] if kind == "optimizer" else name


def _document(held: HeldState) -> dict[str, Any]:
    try:
        document = json.loads(held.extra)
    except UNREADABLE as error:
        raise MalformedError(f"what belongs to held layers is no JSON: {brief(error)}") from error
    if not isinstance(document, dict) or not isinstance(document.get("entries"), dict):
        raise MalformedError("held layers lack the optimizer's entries")
    return document


def _layers(held: HeldState, document: dict[str, Any]) -> list[list[int]]:
    """Places of parameters and buffers by layer; every one in exactly one layer."""
    layers = document.get("layers")
    if len(held.buffers) != len(held.tensors):
        raise MalformedError(f"{len(held.tensors)} tensors in {len(held.buffers)} buffers")
    if not isinstance(layers, list) or len(layers) != held.last_layer - held.first_layer + 1:
        raise MalformedError(f"held layers {held.first_layer}..{held.last_layer} do not say whose tensors are whose")
    if not all(isinstance(places, list) and all(type(place) is int for place in places) for places in layers):
        raise MalformedError("places of tensors are whole numbers")
    own = [place for place, spec in enumerate(held.tensors) if not spec.name.startswith("optimizer/")]
    if sorted(place for places in layers for place in places) != own:
        raise MalformedError("a tensor of held layers belongs to no layer, or to two")
    return layers


MOST_VERSIONS = 8
"""Of one job: more than the core ever wants held, so that nothing grows where it has lost count."""


class Snapshots:
    """What one node holds in memory: its own snapshots, and replicas of others'."""

    def __init__(self, release: Callable[[list[memoryview]], None] = list.clear) -> None:
        """Hold nothing; ``release`` is given the memory of whatever is not held any more."""
        self._release = release
        self._held: dict[tuple[JobId, int], dict[tuple[int, int], HeldState]] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors that are held."""
        return sum(held.size_bytes for ranges in self._held.values() for held in ranges.values())

    def put(self, held: HeldState) -> None:
        """Hold this, but no layer twice where one has all of another: layers at a version have the same bits."""
        ranges = self._held.pop((held.job, held.version), {})
        place = (held.first_layer, held.last_layer)
        if any(known.covers(*place) and known is not held for known in ranges.values()):
            self._release(list(held.buffers))
        else:
            for within in [known for known in ranges.values() if held.covers(known.first_layer, known.last_layer)]:
                del ranges[within.first_layer, within.last_layer]
                self._release(list(within.buffers) if within is not held else [])
            ranges[place] = held
        self._held[held.job, held.version] = ranges
        versions = [version for job, version in self._held if job == held.job]
        self.drop(held.job, versions[:-MOST_VERSIONS])  # those that were put longest ago

    def at(self, job: JobId, version: int) -> tuple[HeldState, ...]:
        """All that is held of a job at this version, in the order of the layers."""
        ranges = self._held.get((job, version), {})
        return tuple(ranges[place] for place in sorted(ranges))

    def find(self, job: JobId, version: int, first_layer: int, last_layer: int) -> HeldState | None:
        """The smallest thing held that has all these layers at this version, not yet cut."""
        fitting = [held for held in self.at(job, version) if held.covers(first_layer, last_layer)]
        return min(fitting, key=lambda held: held.last_layer - held.first_layer, default=None)

    def drop(self, job: JobId, versions: Collection[int]) -> None:
        """Let these versions go."""
        for version in versions:
            for held in self._held.pop((job, version), {}).values():
                self._release(list(held.buffers))

    def drop_job(self, job: JobId) -> None:
        """Let everything of a job go."""
        self.drop(job, [version for of, version in self._held if of == job])
