"""The shelf: state parcels that have arrived, until the core says what they are for."""

from __future__ import annotations

from collections.abc import Sequence

from edged.core.ids import Stamp
from edged.core.messages import StateParcel

Held = tuple[StateParcel, tuple[memoryview, ...]]


class Shelf:
    """Holds state by plan, version and layers. The same parcel twice is held once."""

    def __init__(self) -> None:
        """Start empty."""
        self._held: dict[Stamp, dict[tuple[int, int, int], Held]] = {}

    def put(self, header: StateParcel, buffers: Sequence[memoryview]) -> None:
        """Hold a parcel."""
        place = (header.version, header.first_layer, header.last_layer)
        self._held.setdefault(header.stamp, {})[place] = (header, tuple(buffers))

    def take(self, stamp: Stamp, version: int) -> tuple[Held, ...]:
        """Give away all that is held of a plan at ``version``, in the order of the layers."""
        held = self._held.get(stamp, {})
        return tuple(held.pop(place) for place in sorted(held) if place[0] == version)

    def drop(self, stamp: Stamp) -> None:
        """Forget everything of a plan."""
        self._held.pop(stamp, None)
