"""What a step sends over each link, as the plan and the source's profile say."""

from __future__ import annotations

from collections import Counter

from edged.core.ids import NodeId
from edged.core.job import JobSpec
from edged.core.plan import Plan


def bytes_per_step(spec: JobSpec, plan: Plan) -> dict[tuple[NodeId, NodeId], int]:
    """Bytes from one node to another in a full step: activations forward, gradients of the same size backward.

    What the source sends beside (inputs and labels) is not known to the core and left out.
    """
    sent: Counter[tuple[NodeId, NodeId]] = Counter()
    for route in plan.routes:
        for near, far in zip(route.hops, route.hops[1:], strict=False):
            amount = spec.layers[near.last_layer].crossing_bytes * len(route.micro_batches)
            if near.node != far.node:
                sent[near.node, far.node] += amount
                sent[far.node, near.node] += amount
    return dict(sent)
