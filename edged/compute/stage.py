"""A stage: contiguous layers of a program, run forward and backward, micro-batch by micro-batch.

::

              received ──> [ operations of the stage ] ──> sent          forward
    raw gradients of      <──────────────────────────      gradients     backward
    what was received          .grad of parameters         of what was sent

What autograd would have added up in one graph is added up here in the same order, so that any cuts give the same bits:

- A received value is a leaf. Its *raw* gradient, as autograd hands it over, goes back with its own strides; ``.grad``
  would have been laid out anew.
- A value that is passed on is a root of the backward too. Roots' gradients enter autograd's buffers before anything
  from within the stage, which is autograd's own order: the latest consumer first.
- A buffer that a training forward changes and also uses is lent out as a copy, and takes over what the forward made of
  it: the graphs of the micro-batches in flight keep the values that they have seen.
- A tied parameter crosses as a value; at home it is a root of its own, so that per micro-batch the late and the early
  contribution are joined before they reach ``.grad``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from edged.compute.interpreter import Interpreter, Seeds
from edged.compute.layers import StageInterface
from edged.compute.program import Program
from edged.compute.tensors import is_dense, misalignment
from edged.core.job import Phase, Work
from edged.errors import BrokenInvariantError


@dataclass(frozen=True, slots=True)
class Output:
    """What a forward leaves: values for the next hop by name, and on the last hop loss and metrics."""

    sent: dict[str, Any]
    loss: torch.Tensor | None
    metrics: dict[str, torch.Tensor]


@dataclass(slots=True)
class _Raw:
    """The raw gradient of one leaf: kept only where ``.grad`` would have other strides or another alignment."""

    strides: tuple[int, ...] | None = None
    kept: torch.Tensor | None = None


@dataclass(slots=True)
class _Flight:
    """A micro-batch between its forward and its backward: holds the graph alive."""

    leaves: dict[str, torch.Tensor] = field(default_factory=dict)
    raws: dict[str, _Raw] = field(default_factory=dict)
    roots: dict[str, torch.Tensor] = field(default_factory=dict)
    loss: torch.Tensor | None = None


class Stage:
    """Runs one hop's layers on one device.

    ``state`` holds the live parameters (leaves) and buffers that the stage owns, by name; stages with layers in common
    share them. Not safe for use by two threads.
    """

    def __init__(
        self,
        program: Program,
        interface: StageInterface,
        device: torch.device,
        state: Mapping[str, torch.Tensor],
        seed: int,
    ) -> None:
        """Prepare the operations; nothing is computed. ``seed`` is the job's."""
        self.interface = interface
        self._program = program
        self._seed = seed
        self._shared = state
        self._last = interface.last_layer == len(program.layers) - 1
        self._per_step = {crossing.name for crossing in interface.receives if crossing.per_step}
        self._wants_gradient = {crossing.name for crossing in interface.receives if crossing.gradient}
        self._roots = [crossing.name for crossing in interface.sends if crossing.gradient]
        finals = {program.loss, *(value for _, value in program.metrics)} if self._last else set()
        wanted = {crossing.name for crossing in interface.sends} | finals
        self._interpreter = Interpreter(program, device, interface.start, interface.stop, wanted)
        self._kept: tuple[tuple[int, Phase], dict[str, Any]] | None = None
        self._flights: dict[Work, _Flight] = {}

    @property
    def _state(self) -> dict[str, torch.Tensor]:
        """The live tensors that the stage owns, by name."""
        return {name: self._shared[name] for name in self.interface.state}

    @property
    def in_flight(self) -> int:
        """Micro-batches whose backward is still to come."""
        return len(self._flights)

    def forward(
        self,
        work: Work,
        values: Mapping[str, Any],
        weight: float,
        timings: dict[int, float] | None = None,
    ) -> Output:
        """Compute one micro-batch.

        ``values``: the inputs that the stage uses and what it received, by name, on the device; values that travel once
        a step come with the first micro-batch alone and are kept. ``weight`` is n_i / N: the loss of a training
        micro-batch is multiplied by it before the backward, the loss returned is not.
        """
        given = {**self._recall(work, values), **values}
        evaluate = work.phase is Phase.EVALUATE
        flight = _Flight()
        if not evaluate:
            for name in self._wants_gradient & given.keys():
                given[name] = self._leaf(flight, name, given[name])
        seeds = Seeds(self._seed, work.version, work.micro_batch)
        with torch.set_grad_enabled(not evaluate):
            state = self._state
            lent = {} if evaluate else {name: state[name].clone() for name in self.interface.changing}
            made = self._interpreter.run({**state, **lent, **given}, evaluate=evaluate, seeds=seeds, timings=timings)
            for name, tensor in lent.items():
                state[name].copy_(tensor.detach())
            loss = self._loss(made)
            if not evaluate:
                self._flights[work] = flight
                flight.roots = {name: made[name] for name in self._roots if name in made}
                flight.loss = None if loss is None else loss * weight
        sent = {crossing.name: made[crossing.name] for crossing in self.interface.sends if crossing.name in made}
        metrics = {key: made[name].detach() for key, name in self._program.metrics if self._last and name in made}
        return Output(sent, None if loss is None else loss.detach(), metrics)

    def backward(self, work: Work, gradients: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Add the micro-batch's gradients to the parameters' ``.grad``, and let its graph go.

        ``gradients``: of what was sent, by name, raw, with their strides; a value without one is absent. Returns the
        raw gradients of what was received; again, a value that got none is absent.
        """
        flight = self._flights.pop(work, None)
        if flight is None:
            raise BrokenInvariantError(f"a backward of {work} without its forward")
        roots = [(flight.roots[name], gradients[name]) for name in self._roots if name in gradients]
        tensors: list[torch.Tensor] = [root for root, _ in roots if root.requires_grad]
        given: list[torch.Tensor | None] = [gradient for root, gradient in roots if root.requires_grad]
        if flight.loss is not None and flight.loss.requires_grad:
            tensors.append(flight.loss)
            given.append(None)
        if tensors:
            torch.autograd.backward(tensors, given)
        return {
            name: _raw_gradient(flight.leaves[name], raw)
            for name, raw in flight.raws.items()
            if raw.strides is not None
        }

    def abandon(self) -> None:
        """Forget the step: graphs, gradients, kept values."""
        self._flights.clear()
        self._kept = None
        for tensor in self._state.values():
            tensor.grad = None

    def _recall(self, work: Work, values: Mapping[str, Any]) -> Mapping[str, Any]:
        """Values that travel once a step: kept from the first micro-batch, given again to the rest."""
        if not self._per_step:
            return {}
        key = (work.version, work.phase)
        fresh = {name: values[name] for name in self._per_step if name in values}
        if fresh:
            self._kept = (key, fresh)
        if self._kept is None or self._kept[0] != key:
            raise BrokenInvariantError(f"{work}: what crosses once a step has not come")
        return self._kept[1]

    def _leaf(self, flight: _Flight, name: str, value: torch.Tensor) -> torch.Tensor:
        leaf = value.detach().requires_grad_()
        raw = flight.raws[name] = _Raw()
        strides = tuple(leaf.stride())
        hook = partial(_keep, raw, strides if is_dense(leaf.shape, strides) else None)
        leaf.register_hook(hook)  # type: ignore[no-untyped-call]
        flight.leaves[name] = leaf
        return leaf

    def _loss(self, made: Mapping[str, Any]) -> torch.Tensor | None:
        if not self._last:
            return None
        loss: torch.Tensor = made[self._program.loss]
        return loss


def _keep(raw: _Raw, strides: tuple[int, ...] | None, gradient: torch.Tensor) -> None:
    """Tensor hook of a leaf with these strides (``None``: it is not dense).

    Where strides agree, ``.grad`` takes the raw tensor over without a copy, if nobody else holds it; a copy is aligned.
    """
    raw.strides = tuple(gradient.stride())
    if raw.strides != strides or misalignment(gradient):
        raw.kept = gradient


def _raw_gradient(leaf: torch.Tensor, raw: _Raw) -> torch.Tensor:
    gradient = leaf.grad if raw.kept is None else raw.kept
    if gradient is None or tuple(gradient.stride()) != raw.strides:
        raise BrokenInvariantError("a leaf's gradient was laid out anew, although its strides agreed")
    return gradient
