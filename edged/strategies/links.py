"""What a parcel takes from one node to another, and how parcels share the nodes' interfaces. Pure arithmetic.

A node has one network interface with two directions, and between two nodes lies a path. A parcel takes its share of
the sender's uplink, of the path, and of the receiver's downlink, each in the order in which parcels come to it; they
overlap, so that an idle road takes the time of its slowest part, plus the start-up::

    uplink    |---A---|---B---|            A and B leave one node, for two others
    path             |----B----|           B's path is the slower one
    downlink         |--B--|   . . |->  arrival, a start-up later

In truth parcels to different nodes share an interface at the same time (TCP); in turns takes as long for all of them
together, and can be computed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from edged.core.ids import NodeId
from edged.core.situation import LinkSpeed

STARTUP_SECONDS = 1e-3
"""What a parcel of no bytes is assumed to take where nothing has been measured ..."""

BYTES_PER_SECOND = 100e6
"""... and how fast a path is assumed to be, where neither of its ends is known to be slower."""


class Wire(NamedTuple):
    """One direction between two nodes: its start-up, and seconds per byte on uplink, path and downlink.

    Between a node and itself everything is 0.0.
    """

    sender: NodeId
    receiver: NodeId
    startup: float
    up: float
    path: float
    down: float

    def seconds(self, size_bytes: int) -> float:
        """What a parcel takes on an idle road."""
        return self.startup + size_bytes * self.path


class Links:
    """All wires, from those that have been measured."""

    def __init__(self, measured: Iterable[LinkSpeed]) -> None:
        """An interface is as fast as the fastest path that was measured through it."""
        self._measured = {(link.sender, link.receiver): link for link in measured if link.bytes_per_second > 0.0}
        self._up: dict[NodeId, float] = {}
        self._down: dict[NodeId, float] = {}
        self._wires: dict[tuple[NodeId, NodeId], Wire] = {}
        for (sender, receiver), link in self._measured.items():
            each = 1.0 / link.bytes_per_second
            self._up[sender] = min(each, self._up.get(sender, each))
            self._down[receiver] = min(each, self._down.get(receiver, each))

    def wire(self, sender: NodeId, receiver: NodeId) -> Wire:
        """The wire from one node to another, measured or assumed."""
        key = (sender, receiver)
        if key not in self._wires:
            self._wires[key] = self._make(sender, receiver)
        return self._wires[key]

    @property
    def alike(self) -> bool:
        """Whether nothing tells one wire from another."""
        return not self._measured

    def _make(self, sender: NodeId, receiver: NodeId) -> Wire:
        if sender == receiver:
            return Wire(sender, receiver, 0.0, 0.0, 0.0, 0.0)
        assumed = 1.0 / BYTES_PER_SECOND
        up, down = self._up.get(sender, assumed), self._down.get(receiver, assumed)
        link = self._measured.get((sender, receiver))
        if link is None:
            return Wire(sender, receiver, STARTUP_SECONDS, up, max(up, down), down)
        return Wire(sender, receiver, max(0.0, link.startup_seconds), up, 1.0 / link.bytes_per_second, down)


class Traffic:
    """Until when every interface and path is taken. Parcels of one wire keep their order."""

    def __init__(self) -> None:
        """Nothing is under way."""
        self._up: dict[NodeId, float] = {}
        self._path: dict[Wire, float] = {}
        self._down: dict[NodeId, float] = {}

    def leave(self, wire: Wire, size_bytes: int, now: float) -> float:
        """A parcel is handed to its sender's interface; returns when its first byte reaches the receiver's."""
        start = max(now, self._up.get(wire.sender, 0.0))
        self._up[wire.sender] = start + size_bytes * wire.up
        start = max(start, self._path.get(wire, 0.0))
        self._path[wire] = start + size_bytes * wire.path
        return start

    def reach(self, wire: Wire, size_bytes: int, now: float) -> float:
        """Its first byte reaches the receiver's interface now; returns when the parcel has arrived."""
        start = max(now, self._down.get(wire.receiver, 0.0))
        done = start + size_bytes * wire.down
        self._down[wire.receiver] = done
        return max(done, now + size_bytes * wire.path) + wire.startup
