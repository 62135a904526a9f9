"""What a stage costs on a node: seconds and bytes, from the source's profile of the layers. Shared by all planners.

All sums over layers come from prefix sums, so that a planner may ask for every range.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from statistics import fmean

from edged.core.holdings import COMMITTED_KEPT
from edged.core.job import JobSpec
from edged.core.messages import MemberRecord
from edged.errors import JobFailedError

UNLIMITED = 1 << 40
"""A window where a micro-batch in flight takes no memory."""

COPIES = COMMITTED_KEPT + 1
"""Versions of a copied layer that a node keeps in memory, as a rule."""

ALIKE = 1.1
"""Devices measured within this factor of each other count as equal: a measurement is no better on a busy machine."""


class PlanImpossibleError(JobFailedError):
    """No plan exists for this job on these members; the message carries the numbers."""


class StageCost:
    """Seconds and bytes of any range of a job's layers."""

    def __init__(self, spec: JobSpec) -> None:
        """Sum up the profile once."""
        layers = spec.layers
        self._copies = 1 + spec.optimizer_copies
        self._stashes = spec.asynchronous
        self._seconds = _prefix([layer.forward_seconds + layer.backward_seconds for layer in layers])
        self._state = _prefix([layer.state_bytes for layer in layers])
        self._parameters = _prefix([layer.parameter_bytes for layer in layers])
        self._activations = _prefix([layer.activation_bytes for layer in layers])
        self._crossing = [0, *(layer.crossing_bytes for layer in layers)]

    def seconds(self, first: int, last: int, slowness: float) -> float:
        """Forward and backward of one micro-batch through these layers, on a node ``slowness`` times the source."""
        return slowness * (self._seconds[last + 1] - self._seconds[first])

    def size_bytes(self, first: int, last: int, window: int) -> int:
        """Memory of layers ``first..last`` with ``window`` micro-batches in flight.

        Parameters and buffers, gradients, the optimizer's copies; for every micro-batch in flight its activations and
        what was received across the cut before ``first``. In an asynchronous job each of them but one keeps a version
        of the parameters of its own.
        """
        kept = self._state[last + 1] - self._state[first]
        kept += self._copies * (self._parameters[last + 1] - self._parameters[first])
        moving = self._activations[last + 1] - self._activations[first] + self._crossing[first]
        stashed = self._parameters[last + 1] - self._parameters[first] if self._stashes else 0
        return int(kept + window * moving + (window - 1) * stashed)

    def widest(self, first: int, last: int, memory_bytes: int) -> int:
        """The largest window with which these layers fit into so much memory; 0 or less: not even one."""
        room = memory_bytes - self.size_bytes(first, last, 0)
        each = self.size_bytes(first, last, 1) - self.size_bytes(first, last, 0)
        return int(room // each) if each else (UNLIMITED if room >= 0 else 0)

    def copy_bytes(self, first: int, last: int) -> int:
        """What the copies take that a node keeps of layers, its own or another's (``core/holdings.py``).

        At most two committed versions and three others stay; where copying keeps up with training those are the two
        and the one on its way, and that many are counted. A store that has no room refuses further copies and says so
        (``roles/worker.py``), so copies never keep a job from running: a planner counts them where it can.
        """
        state = self._state[last + 1] - self._state[first]
        copied = self._parameters[last + 1] - self._parameters[first]
        return int(COPIES * (state + (self._copies - 1) * copied))

    def crossing_bytes(self, first: int) -> int:
        """What crosses the cut before layer ``first``, forward, for one micro-batch."""
        return self._crossing[first]


def slowness_of(record: MemberRecord, spec: JobSpec) -> float:
    """How many times slower than the source a member is; 1.0 where either has not been measured."""
    if record.slowness <= 0.0 or spec.source_slowness <= 0.0:
        return 1.0
    return record.slowness / spec.source_slowness


def levelled(slowness: Sequence[float]) -> list[float]:
    """The same numbers with those that a measurement cannot tell apart made equal: equal devices get equal shares.

    Ascending, a group begins with its least and holds what is within ``ALIKE`` of that; it takes its mean.
    """
    levels = list(slowness)
    ascending = sorted(range(len(levels)), key=levels.__getitem__)
    while ascending:
        most = slowness[ascending[0]] * ALIKE
        group = [index for index in ascending if slowness[index] <= most]
        ascending = ascending[len(group) :]
        mean = fmean(slowness[index] for index in group)
        for index in group:
            levels[index] = mean
    return levels


def shortage(spec: JobSpec, alive: Sequence[MemberRecord]) -> str:
    """Why memory is not enough: the tightest of what is wanting, in numbers, and what would help."""
    cost, layers = StageCost(spec), len(spec.layers)
    needed, largest = (
        cost.size_bytes(0, layers - 1, 1),
        max(cost.size_bytes(layer, layer, 1) for layer in range(layers)),
    )
    there, most = (
        sum(record.memory_bytes for record in alive),
        max((record.memory_bytes for record in alive), default=0),
    )
    budgets = ", ".join(f"{record.name} {as_size(record.memory_bytes)}" for record in alive) or "no members"
    offers = f"the members offer {as_size(there)} ({budgets})"
    if needed <= there and largest <= most:
        offers += ", but no way of dividing the layers fits all parts"
    return (
        f"this job needs {as_size(needed)} of memory, at least {as_size(largest)} of it on one device; {offers}: "
        "join another device, raise --memory, or use smaller micro-batches"
    )


def as_size(size_bytes: float) -> str:
    """Bytes, for people."""
    for unit in ("B", "kB", "MB", "GB"):
        if size_bytes < 1000:  # noqa: PLR2004 - SI units
            return f"{size_bytes:.3g} {unit}"
        size_bytes /= 1000
    return f"{size_bytes:.3g} TB"


def _prefix(values: list[float] | list[int]) -> list[float]:
    return list(accumulate(values, initial=0))
