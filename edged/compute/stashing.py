"""A stage of an asynchronous job: older weights live on in the graphs of the micro-batches that used them.

::

    forward  i     takes the leaves w_v as they are; its graph keeps them       w_v  w_v+1  w_v+2 = live
    backward i     d loss / d w_v lands in w_v.grad, and is handed to the live leaf    │      │
    update         a graph is in flight? the optimizer goes on with a copy     w_v+2 stays as it was, w_v+3 = live
                   else it writes where the weights lie

So stashing itself copies nothing: an update that must not touch what a graph still needs begins with one copy of the
newest weights, and a version goes with the last graph that used it. Where one micro-batch is in flight at most (the
last stage, a node alone) there is no copy at all. autograd checks the rest: a backward raises if a leaf that its
graph has saved was written.

Forwards run ahead of updates, so the running statistics of a norm do as well. A *settled* value is what a buffer held
after the forward of the micro-batch whose update came last: that is the buffer at this stage's version, and what a
copy takes. A run that begins again there sees every micro-batch once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from edged.compute.layers import StageInterface
from edged.compute.program import Program
from edged.compute.stage import Output, Stage
from edged.compute.state import own
from edged.core.job import Phase, Work


@dataclass(frozen=True, slots=True)
class _Stashed:
    """What one micro-batch in flight has used, and the buffers as its forward left them.

    ``version``: the updates that its weights had seen.
    """

    version: int
    leaves: Mapping[str, torch.Tensor]
    buffers: Mapping[str, torch.Tensor]


class StashingStage(Stage):
    """As ``Stage``, with several weight versions in flight. ``settled``: buffers at the version of the last update."""

    def __init__(
        self,
        program: Program,
        interface: StageInterface,
        device: torch.device,
        state: Mapping[str, torch.Tensor],
        seed: int,
    ) -> None:
        """As ``Stage``; nothing is in flight. ``state`` is the caller's: it puts ``renewed`` leaves into it."""
        super().__init__(program, interface, device, state, seed)
        self._stash: dict[Work, _Stashed] = {}
        self._version = 0
        self.settled: Mapping[str, torch.Tensor] = self._buffers()
        self._done: Mapping[str, torch.Tensor] = self.settled

    def forward(
        self, work: Work, values: Mapping[str, Any], weight: float, timings: dict[int, float] | None = None
    ) -> Output:
        """As ``Stage.forward``, with the live weights, which the micro-batch keeps."""
        leaves = {name: tensor for name, tensor in self._state.items() if tensor.requires_grad}
        output = super().forward(work, values, weight, timings)
        if work.phase is Phase.TRAIN:
            self._stash[work] = _Stashed(self._version, leaves, self._buffers())
        return output

    def backward(self, work: Work, gradients: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """As ``Stage.backward``; the parameters' gradients end up at the live weights."""
        raw = super().backward(work, gradients)
        stashed = self._stash.pop(work)
        for name, live in self._state.items():
            leaf = stashed.leaves.get(name, live)
            if leaf is not live:
                live.grad, leaf.grad = leaf.grad, None
        self._done = stashed.buffers
        return raw

    def renewed(self, *, averages: bool = False) -> dict[str, torch.Tensor]:
        """Leaves for an update to write to, by name: copies of those live ones that have a gradient.

        None are needed, and none returned, while nothing is in flight. ``averages``: copies of all leaves, for
        ``average`` follows.
        """
        if not self.in_flight:
            return {}
        leaves = {name: leaf for name, leaf in self._state.items() if leaf.requires_grad}
        trained = {name: leaf for name, leaf in leaves.items() if averages or leaf.grad is not None}
        return {name: own(leaf, leaf.device).requires_grad_() for name, leaf in trained.items()}

    def average(self) -> None:
        """Each live leaf becomes the mean of the versions that are held of it: those in flight, oldest first, and it.

        The weight aggregation of FTPipeHD (Chen et al., arXiv 2110.02781). Call it after an update that began with
        ``renewed(averages=True)``: no graph knows the live leaves yet.
        """
        held = {flight.version: flight.leaves for flight in self._stash.values()}
        if not held:
            return
        first, *others = held.values()
        with torch.no_grad():
            for name, oldest in first.items():
                mean, live = oldest.clone(), self._state[name]
                for leaf in (*(leaves[name] for leaves in others), live):
                    mean += leaf
                live.copy_(mean.div_(len(held) + 1))

    def settle(self) -> None:
        """The update that belongs to the newest backward has been applied."""
        self.settled = self._done
        self._version += 1

    def abandon(self) -> None:
        """Forget what is in flight."""
        super().abandon()
        self._stash.clear()

    def _buffers(self) -> dict[str, torch.Tensor]:
        live = self._state
        return {name: own(live[name], live[name].device) for name in self.interface.written}
