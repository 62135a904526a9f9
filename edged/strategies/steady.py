"""How often an asynchronous pipeline finishes a micro-batch once it is full: there is no flush, so nothing drains.

The gates allow hop h of P just P - h micro-batches in flight, and each backward is followed by an update. So the
seconds between two micro-batches are the most of: what a stage computes for one; what an interface or a path carries
of one; and the way from a hop to the last and back, shared by those that are on it.
"""

from __future__ import annotations

from collections import defaultdict

from edged.strategies.timing import Road


def seconds_between(route: Road) -> float:
    """Seconds from one micro-batch to the next, in the long run."""
    stretches, count = route.stretches, len(route.stretches)
    loads: dict[object, float] = defaultdict(float)
    for stretch in stretches:
        loads[stretch.node] += stretch.forward + stretch.backward
    for node, flush in route.flush.items():
        loads[node] += flush.norms + flush.update
    parcels = [(wire, stretches[h + 1].crossing_bytes) for h, wires in enumerate(route.wires) for wire in wires]
    parcels += [(wire, s.input_bytes or 0) for wire, s in zip(route.from_source, stretches, strict=True)]
    for wire, size in parcels:
        loads["up", wire.sender] += size * wire.up
        loads["path", wire.sender, wire.receiver] += size * wire.path
        loads["down", wire.receiver] += size * wire.down
    way, ways = 0.0, []
    for h in range(count - 1, -1, -1):
        if h + 1 < count:
            way += sum(wire.seconds(stretches[h + 1].crossing_bytes) for wire in route.wires[h])
        way += stretches[h].forward + stretches[h].backward
        ways.append(way / (count - h))
    return max(*loads.values(), *ways)
