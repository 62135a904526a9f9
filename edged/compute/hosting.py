"""This node's hops of one plan: their stages, the state that they share, what has arrived for them, the optimizer.

::

    put(Inputs, Activation) ──┐                          ┌──> Outgoing (activation for hop + 1)
                              ├─> forward(route, hop) ───┤
    put(Gradient) ──> backward(route, hop) ──> Outgoing (gradient for hop - 1);   ... update()
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from edged.compute.clipping import clip, gradient_norms, total_norm
from edged.compute.layers import Crossing, StageInterface, interface
from edged.compute.optimizer import Optimizer, Training
from edged.compute.program import Program
from edged.compute.stage import Output, Stage
from edged.compute.stashing import StashingStage
from edged.compute.state import Restored
from edged.compute.tensors import from_wire, to_wire
from edged.compute.values import Values
from edged.core.ids import NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Activation, Gradient, Inputs, TensorSpec
from edged.core.plan import Plan
from edged.errors import BrokenInvariantError, MalformedError

_Place = tuple[int, int, Work]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """What a computation left for a neighbour: tensors, their bytes, and integers."""

    tensors: tuple[TensorSpec, ...]
    buffers: tuple[memoryview, ...]
    scalars: tuple[tuple[str, int], ...]


class Hosting:
    """Built from a plan and complete state; ``version`` is the weight version that it stands at."""

    def __init__(
        self,
        program: Program,
        values: Values,
        plan: Plan,
        node: NodeId,
        spec: JobSpec,
        device: torch.device,
        found: Restored,
        training: Training,
    ) -> None:
        """Raises ``MalformedError`` if state of a hop's layers is missing."""
        self.program, self.spec, self.stamp, self.state = program, spec, plan.stamp, found.tensors
        self.version = 0
        self._device, self._training = device, training
        self._firsts = [min(route.micro_batches, default=0) for route in plan.routes]
        self._windows = {(route, index): hop.window for route, index, hop in plan.hops_of(node)}
        self._stages: dict[tuple[int, int], Stage] = {}
        self._activation_bytes: dict[tuple[int, int], int] = {}
        kind = StashingStage if spec.asynchronous else Stage
        for route, index, hop in plan.hops_of(node):
            taken = interface(program, values, hop.first_layer, hop.last_layer)
            missing = [name for name in taken.state if name not in found.tensors]
            if missing:
                raise MalformedError(f"state of layers {hop.first_layer} to {hop.last_layer} is missing: {missing[0]}")
            layers = spec.layers[hop.first_layer : hop.last_layer + 1]
            self._activation_bytes[route, index] = sum(layer.activation_bytes for layer in layers)
            self._stages[route, index] = kind(program, taken, device, found.tensors, spec.seed)
        owned = {name for stage in self._stages.values() for name in stage.interface.state}
        self._indices = {
            index: state.name
            for index, state in enumerate(program.state)
            if state.name in owned and state.parameter and state.requires_grad
        }
        self.optimizer = Optimizer(training, {name: found.tensors[name] for name in self._indices.values()})
        if found.numbers is not None:
            self.optimizer.restore(found.numbers, found.kept)
        self._arrived: dict[_Place, dict[str, Any]] = {}
        self._gradients: dict[_Place, dict[str, torch.Tensor]] = {}

    @property
    def held_bytes(self) -> int:
        """State, gradients and what the optimizer keeps, and the profile's word for the micro-batches in flight."""
        tensors = [*self.state.values(), *(tensor.grad for tensor in self.state.values() if tensor.grad is not None)]
        for name in self._indices.values():
            tensors += self.optimizer.tensors(name).values()
        flying = sum(self._activation_bytes[place] * stage.in_flight for place, stage in self._stages.items())
        return flying + sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def interfaces(self) -> Mapping[tuple[int, int], StageInterface]:
        """What each hop takes and gives, by (route, hop)."""
        return {place: stage.interface for place, stage in self._stages.items()}

    def put(self, header: Inputs | Activation | Gradient, buffers: Sequence[memoryview]) -> None:
        """Keep tensors until their computation. Raises ``MalformedError`` for what no hop takes."""
        stage = self._stages.get((header.route, header.hop))
        if stage is None or len(buffers) != len(header.tensors):
            raise MalformedError(f"nothing here takes {type(header).__name__} for hop {header.hop}")
        place = (header.route, header.hop, header.work)
        tensors = {
            spec.name: from_wire(spec, buffer, self._device)
            for spec, buffer in zip(header.tensors, buffers, strict=True)
        }
        if isinstance(header, Gradient):
            self._gradients.setdefault(place, {}).update(tensors)
            return
        values: dict[str, Any] = dict(tensors)
        if isinstance(header, Activation):
            kinds = {crossing.name: crossing.spec.dtype for crossing in stage.interface.receives}
            values.update((name, unpack_scalar(kinds.get(name, ""), bits)) for name, bits in header.scalars)
        self._arrived.setdefault(place, {}).update(values)

    def forward(self, route: int, hop: int, work: Work, weight: float) -> tuple[Output, Outgoing | None]:
        """Run a hop's forward with what has arrived for it."""
        stage = self._stage(route, hop)
        stashes = isinstance(stage, StashingStage) and work.phase is Phase.TRAIN
        if not self.version <= work.version < self.version + (self._windows[route, hop] if stashes else 1):
            raise BrokenInvariantError(f"{work} wants other weights than version {self.version}")
        output = stage.forward(work, self._arrived.pop((route, hop, work), {}), weight)
        if output.loss is not None:
            return output, None
        evaluate, first = work.phase is Phase.EVALUATE, work.micro_batch == self._firsts[route]
        crossings = [
            crossing
            for crossing in stage.interface.sends
            if (evaluate or not crossing.evaluation_only) and (first or not crossing.per_step)
        ]
        return output, _pack(crossings, output.sent)

    def backward(self, route: int, hop: int, work: Work) -> Outgoing | None:
        """Run a hop's backward with the gradients that have arrived for it."""
        stage = self._stage(route, hop)
        gradients = stage.backward(work, self._gradients.pop((route, hop, work), {}))
        if stage.interface.first_layer == 0:
            return None
        entries = [to_wire(name, gradient) for name, gradient in gradients.items()]
        return Outgoing(tuple(spec for spec, _ in entries), tuple(view for _, view in entries), ())

    def norms(self) -> tuple[tuple[int, float], ...]:
        """See ``clipping.gradient_norms``."""
        return gradient_norms({index: self.state[name] for index, name in self._indices.items()})

    def update(self, norms: Sequence[tuple[int, float]] | None, *, skip: bool = False) -> float:
        """Clip, update (or ``skip`` both), and count the version up. Returns the learning rate that was used."""
        stashing = [stage for stage in self._stages.values() if isinstance(stage, StashingStage)]
        busy = [place for place, stage in self._stages.items() if stage.in_flight]
        if busy and not stashing:
            raise BrokenInvariantError(f"an update while micro-batches are in flight at {busy}")
        if norms is not None and self._training.clip_norm is not None and not skip:
            total = total_norm(self.program, norms, self._device)
            clip((self.state[name] for name in self._indices.values()), self._training.clip_norm, total)
        every = self._training.average_every
        averages = bool(every) and (self.version + 1) % every == 0
        for stage in stashing:
            self._renew(stage.renewed(averages=averages))
        rate = self.optimizer.skip() if skip else self.optimizer.update()
        for stage in stashing if averages else ():
            stage.average()
        self.version += 1
        for stage in stashing:
            stage.settle()
        return rate

    @property
    def settled(self) -> dict[str, torch.Tensor]:
        """All state at ``version``, as it is copied: the live one, but for what forwards in flight have changed."""
        state = dict(self.state)
        for stage in self._stages.values():
            if isinstance(stage, StashingStage):
                state.update(stage.settled)
        return state

    def _renew(self, leaves: Mapping[str, torch.Tensor]) -> None:
        """Go on with other leaves of the same values; graphs in flight keep those that were."""
        self.optimizer.renew(leaves)
        self.state.update(leaves)

    def _stage(self, route: int, hop: int) -> Stage:
        stage = self._stages.get((route, hop))
        if stage is None:
            raise BrokenInvariantError(f"hop {hop} of route {route} is not run here")
        return stage


def _pack(crossings: Sequence[Crossing], values: Mapping[str, Any]) -> Outgoing:
    tensors, buffers, scalars = [], [], []
    for crossing in crossings:
        value = values[crossing.name]
        if isinstance(value, torch.Tensor):
            # State changes at the update; everything else is left alone once it is made.
            spec, view = to_wire(crossing.name, value, copy=crossing.per_step)
            tensors.append(spec)
            buffers.append(view)
        else:
            scalars.append((crossing.name, pack_scalar(value)))
    return Outgoing(tuple(tensors), tuple(buffers), tuple(scalars))


def pack_scalar(value: float) -> int:
    """A number as an integer of at most 64 bits: itself, or the bits of a float."""
    if isinstance(value, float):
        bits: int = struct.unpack(">q", struct.pack(">d", value))[0]
        return bits
    return int(value)


def unpack_scalar(kind: str, bits: int) -> float:
    """What ``pack_scalar`` was given; ``kind`` is "int", "float" or "bool"."""
    if kind == "float":
        number: float = struct.unpack(">d", struct.pack(">q", bits))[0]
        return number
    return bool(bits) if kind == "bool" else bits
