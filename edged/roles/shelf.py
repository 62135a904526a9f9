"""The shelf: state parcels that have arrived, until the core says what they are for."""

from __future__ import annotations

from collections.abc import Sequence

from edged.core.ids import Stamp
from edged.core.messages import StateParcel

MOST_UNREAD = 2
"""An export and the result, or what is kept of a job that fails, can be on their way at once. Where a third version
comes, that of which nothing came for the longest time was given up."""

Held = tuple[StateParcel, tuple[memoryview, ...]]


class Shelf:
    """Holds state by plan, version and layers. The same parcel twice is held once.

    What stages have been built of is taken away. What weights are written of stays, because others may want the same
    version, until parcels of a later one come.
    """

    def __init__(self) -> None:
        """Start empty."""
        self._held: dict[Stamp, dict[int, dict[tuple[int, int], Held]]] = {}
        self._read: dict[Stamp, set[int]] = {}

    @property
    def size_bytes(self) -> int:
        """Bytes of all tensors that are held."""
        parcels = (each for versions in self._held.values() for held in versions.values() for each, _ in held.values())
        return sum(spec.size_bytes for header in parcels for spec in header.tensors)

    def put(self, header: StateParcel, buffers: Sequence[memoryview]) -> None:
        """Hold a parcel of a plan that is not over."""
        versions = self._held.setdefault(header.stamp, {})
        place = (header.first_layer, header.last_layer)
        versions[header.version] = versions.pop(header.version, {}) | {place: (header, tuple(buffers))}
        read = self._read.get(header.stamp, set())
        unread = [version for version in versions if version not in read]
        for version in [*(old for old in read if old < header.version), *unread[:-MOST_UNREAD]]:
            read.discard(version)
            versions.pop(version, None)

    def take(self, stamp: Stamp, version: int) -> tuple[Held, ...]:
        """Give away all that is held of a plan at ``version``, in the order of the layers."""
        self._read.get(stamp, set()).discard(version)
        return _in_order(self._held.get(stamp, {}).pop(version, {}))

    def read(self, stamp: Stamp, version: int) -> tuple[Held, ...]:
        """Show all that is held of a plan at ``version``, in the order of the layers."""
        held = self._held.get(stamp, {}).get(version, {})
        if held:
            self._read.setdefault(stamp, set()).add(version)
        return _in_order(held)

    def drop(self, stamp: Stamp) -> None:
        """The plan is over: forget everything of it."""
        self._held.pop(stamp, None)
        self._read.pop(stamp, None)


def _in_order(held: dict[tuple[int, int], Held]) -> tuple[Held, ...]:
    return tuple(held[place] for place in sorted(held))
