"""The figures that all predictions rest on: seconds of every computation on every node, bytes of every parcel.

They come from the source's profile of the layers, from how slow each node has been measured to be, and from the links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import median

from edged.core.ids import NodeId
from edged.core.situation import Situation
from edged.core.speed import MOST_BIAS
from edged.strategies.cost import levelled, slowness_of
from edged.strategies.links import Links, Wire

SECONDS_PER_UPDATED_BYTE = 2e-10
"""What an update takes on the source for each byte that it reads or writes: 5 GB/s, a small device's memory."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """One hop in figures: seconds of its passes, and what it receives.

    ``crossing_bytes``: what comes from the hop before, and goes back to it, for one micro-batch. ``input_bytes``: what
    comes from the source, ``None`` where nothing does.
    """

    node: NodeId
    forward: float
    backward: float
    crossing_bytes: int
    input_bytes: int | None


@dataclass(frozen=True, slots=True)
class Flush:
    """What a node does at the end of a step: seconds of its gradients' norms, and of its update."""

    norms: float
    update: float


class Figures:
    """Seconds and bytes of whatever a plan for this situation does.

    ``level``: nodes that a measurement cannot tell apart count as equally fast, unless they are sure ones; for
    choosing, not for predicting.
    """

    def __init__(self, situation: Situation, *, level: bool = False) -> None:
        """Sum up the profile once."""
        spec, layers = situation.spec, situation.spec.layers
        self.spec = spec
        self.links = Links(situation.links)
        self.slowness = _slowness(situation, level=level)
        self.clips = spec.clips
        self.agrees = spec.clips or spec.on_nan == "skip"
        self._forward = [*accumulate((layer.forward_seconds for layer in layers), initial=0.0)]
        self._backward = [*accumulate((layer.backward_seconds for layer in layers), initial=0.0)]
        self._parameters = [*accumulate((layer.parameter_bytes for layer in layers), initial=0)]
        self._state = [*accumulate((layer.state_bytes for layer in layers), initial=0)]
        self._next_input = _next_inputs([bool(layer.inputs) for layer in layers])

    def stretch(self, node: NodeId, first: int, last: int) -> Stretch:
        """Layers ``first..last`` on a node."""
        slow = self.slowness.get(node, 1.0)
        return Stretch(
            node,
            slow * (self._forward[last + 1] - self._forward[first]),
            slow * (self._backward[last + 1] - self._backward[first]),
            self.spec.layers[first - 1].crossing_bytes if first else 0,
            self.input_bytes(first, last),
        )

    def input_bytes(self, first: int, last: int) -> int | None:
        """What the source sends to these layers for each micro-batch; ``None`` if nothing (see ``inputs_of``).

        The profile does not tell how large the program's inputs are: those of the first layer count as large as what
        leaves it, those of all others (labels, as a rule) as nothing.
        """
        if first == 0:
            return self.spec.layers[0].crossing_bytes
        return 0 if self._next_input[first] <= last else None

    def flush(self, node: NodeId, ranges: Sequence[tuple[int, int]]) -> Flush:
        """The end of a step on a node that has these layers.

        The norms read all gradients; the update reads parameters, gradients and the optimizer's copies, and writes all
        but the gradients.
        """
        size = sum(self._parameters[last + 1] - self._parameters[first] for first, last in ranges)
        each = self.slowness.get(node, 1.0) * SECONDS_PER_UPDATED_BYTE
        return Flush(each * size if self.clips else 0.0, each * size * (3 + 2 * self.spec.optimizer_copies))

    def state_bytes(self, first: int, last: int) -> int:
        """What has to be moved of these layers: parameters and buffers, the optimizer's copies."""
        parameters = self._parameters[last + 1] - self._parameters[first]
        return self._state[last + 1] - self._state[first] + self.spec.optimizer_copies * parameters

    def wire(self, sender: NodeId, receiver: NodeId) -> Wire:
        """How parcels travel from one node to another."""
        return self.links.wire(sender, receiver)

    def word_seconds(self, sender: NodeId, receiver: NodeId) -> float:
        """What a control message takes: it does not wait behind parcels."""
        return self.links.wire(sender, receiver).startup


def measured_slowness(situation: Situation) -> dict[NodeId, float]:
    """How many times slower than the profile each member is: as measured while it worked, else as it was calibrated.

    What makes all who work slower than calibrations say (the profile was taken on a quieter device, say) would make
    those who have not worked yet as slow: they are taken for that, or a member would be exchanged for its equal.
    """
    calibrated = {record.node: slowness_of(record, situation.spec) for record in situation.members}
    working = {node: slow for node, slow in situation.slowness if slow > 0.0}
    ratios = [slow / calibrated[node] for node, slow in working.items() if node in calibrated]
    usual = min(max(median(ratios), 1.0 / MOST_BIAS), MOST_BIAS) if ratios else 1.0
    return {node: working.get(node, usual * slow) for node, slow in calibrated.items()}


def _slowness(situation: Situation, *, level: bool) -> dict[NodeId, float]:
    """Every node that anything is known of."""
    found = measured_slowness(situation)
    found |= {node: slow for node, slow in situation.slowness if node not in found and slow > 0.0}
    if level:
        sure = set(situation.sure) & {node for node, slow in situation.slowness if slow > 0.0}
        others = [node for node in found if node not in sure]
        found |= zip(others, levelled([found[node] for node in others]), strict=True)
    return found


def _next_inputs(uses: Sequence[bool]) -> list[int]:
    """For each layer the first one from it on that uses an input of the program."""
    found, upcoming = [], len(uses)
    for layer in range(len(uses) - 1, -1, -1):
        upcoming = layer if uses[layer] else upcoming
        found.append(upcoming)
    return found[::-1]
