"""Parcels on their way between simulated devices: how long they take, and what becomes of those that do not arrive.

The roads are those of every prediction (``strategies/links.py``). Replicas and samples travel behind everything else,
so they have roads of their own here, on which they only wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable

from edged.core.events import LinkLost, ParcelLost
from edged.core.ids import NodeId, Stamp
from edged.core.messages import DataParcel, Parcel, StateParcel
from edged.core.simulate import Simulation
from edged.simulation.description import ClusterDescription
from edged.strategies.links import Traffic, Wire

SILENCE_SECONDS = 4.0
"""How long a transport waits for acknowledgements before it gives a connection up."""


class Roads:
    """The wires between all devices of a description, made as they are asked for."""

    def __init__(self, cluster: ClusterDescription) -> None:
        """An interface is as fast as the fastest link of its device."""
        self._cluster = cluster
        self._names = {device.node: device.name for device in cluster.devices}
        fastest: dict[str, float] = {}
        others = dict.fromkeys(self._names.values(), len(cluster.devices) - 1)
        for (one, _), link in cluster.links.items():
            fastest[one] = max(link.bytes_per_second, fastest.get(one, 0.0))
            others[one] -= 1
        usual = cluster.link.bytes_per_second
        self._interfaces = {
            node: max(fastest.get(name, usual), usual if others[name] else 0.0) for node, name in self._names.items()
        }
        self._wires: dict[tuple[NodeId, NodeId], Wire] = {}

    def wire(self, sender: NodeId, receiver: NodeId) -> Wire:
        """The wire from one device to another."""
        key = (sender, receiver)
        found = self._wires.get(key)
        if found is None:
            link = self._cluster.link_between(self._names[sender], self._names[receiver])
            up, down = 1.0 / self._interfaces[sender], 1.0 / self._interfaces[receiver]
            found = Wire(sender, receiver, link.latency_seconds, up, 1.0 / link.bytes_per_second, down)
            self._wires[key] = found
        return found


class Freight:
    """Everything that is on its way. ``deliver(sender, to, parcel)`` takes what has arrived."""

    def __init__(self, simulation: Simulation, roads: Roads, deliver: Callable[[NodeId, NodeId, Parcel], None]) -> None:
        """Nothing is on its way."""
        self._simulation = simulation
        self._roads = roads
        self._deliver = deliver
        self._urgent, self._behind = Traffic(), Traffic()
        self._travelling: dict[int, tuple[NodeId, NodeId, Parcel]] = {}
        self._number = 0
        self.sent_bytes = 0

    def send(self, sender: NodeId, to: NodeId, parcel: Parcel, size_bytes: int) -> None:
        """Hand a parcel to the sender's interface; one to the node itself is there at once."""
        if sender == to:
            self._deliver(sender, to, parcel)
            return
        self.sent_bytes += size_bytes
        self._number += 1
        number = self._number
        self._travelling[number] = (sender, to, parcel)
        simulation, wire = self._simulation, self._roads.wire(sender, to)
        traffic = self._behind if _is_patient(parcel) else self._urgent
        start = traffic.leave(wire, size_bytes, simulation.now)

        def reach() -> None:
            end = traffic.reach(wire, size_bytes, simulation.now)
            simulation.at(end, lambda: self._arrive(number))

        if start > simulation.now:
            simulation.at(start, reach)
        else:
            reach()

    def lose(self, node: NodeId) -> None:
        """The process on this node has ended, and with it every connection."""
        for number, (sender, to, parcel) in [*self._travelling.items()]:
            if node in {sender, to}:
                del self._travelling[number]
                self._tell_lost(sender, to, parcel)

    def forget(self, node: NodeId, stamp: Stamp) -> None:
        """A plan is over on this node: what it has not sent of it need not be."""
        over = [
            number
            for number, (sender, _, parcel) in self._travelling.items()
            if sender == node and getattr(parcel, "stamp", None) == stamp
        ]
        for number in over:
            del self._travelling[number]

    def _arrive(self, number: int) -> None:
        entry = self._travelling.get(number)
        if entry is None:
            return
        sender, to, parcel = entry
        if self._is_broken(sender, to):
            self._simulation.at(self._simulation.now + SILENCE_SECONDS, lambda: self._give_up(number))
            return
        del self._travelling[number]
        self._deliver(sender, to, parcel)

    def _give_up(self, number: int) -> None:
        """What was kept while the way was cut goes on if that is mended; else the connection is given up."""
        entry = self._travelling.pop(number, None)
        if entry is None:
            return
        sender, to, parcel = entry
        if self._is_broken(sender, to):
            self._tell_lost(sender, to, parcel)
        else:
            self._deliver(sender, to, parcel)

    def _is_broken(self, sender: NodeId, to: NodeId) -> bool:
        simulation = self._simulation
        return simulation.hosts[to].stopped or simulation.is_cut(sender, to) or simulation.is_cut(to, sender)

    def _tell_lost(self, sender: NodeId, to: NodeId, parcel: Parcel) -> None:
        if not self._simulation.hosts[sender].stopped:
            self._simulation.post(sender, LinkLost(to))
            self._simulation.post(sender, ParcelLost(to, parcel))


def _is_patient(parcel: Parcel) -> bool:
    return isinstance(parcel, DataParcel) or (isinstance(parcel, StateParcel) and parcel.replica)
