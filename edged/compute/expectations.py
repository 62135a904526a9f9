"""Which parcels the stages of a plan can take: checked from the header alone, before memory is taken for the buffers.

Built once per plan and never changed afterwards, so that the loop's thread may ask while the compute thread computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from edged.compute.layers import StageInterface
from edged.compute.program import Program, StateSpec
from edged.compute.tensors import acceptable
from edged.compute.values import Values
from edged.core.ids import Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Activation, Gradient, Inputs, StateParcel, TensorSpec

_MOST_KEYS = 8
"""Tensors that an optimizer keeps for one parameter; torch's keep at most four."""


@dataclass(frozen=True, slots=True)
class Expectations:
    """What this node's hops of one plan may be sent.

    ``values``: the program's values by size of micro-batch. ``hops``: interfaces by (route, hop).
    """

    stamp: Stamp
    spec: JobSpec
    values: Mapping[int, Values]
    hops: Mapping[tuple[int, int], StageInterface]

    def accept(self, header: Inputs | Activation | Gradient) -> bool:
        """Whether the header is for one of the hops, and every tensor is one that it takes, with its type and shape."""
        interface = self.hops.get((header.route, header.hop))
        known = self.values.get(self._size(header.work))
        if header.stamp != self.stamp or interface is None or known is None:
            return False
        names = [spec.name for spec in header.tensors]
        if isinstance(header, Activation):
            names += [name for name, _ in header.scalars]
        allowed = _names(header, interface)
        if len(set(names)) != len(names) or not allowed.issuperset(names):
            return False
        return all(_fits(spec, known) for spec in header.tensors)

    def _size(self, work: Work) -> int:
        if work.version < 0 or work.micro_batch < 0 or work.version > self.spec.steps:
            return -1
        sizes = self.spec.sizes(work.version, work.phase)
        return sizes[work.micro_batch] if work.micro_batch < len(sizes) else -1


def occurring(spec: JobSpec, phase: Phase) -> dict[int, Work]:
    """Every size of micro-batch that a job's training or its evaluations have, with the first work of that size."""
    last = min(spec.steps, spec.steps_per_epoch) - 1
    versions = [spec.steps] if phase is Phase.EVALUATE else [version for version in (0, last) if 0 <= version <= last]
    found: dict[int, Work] = {}
    for version in versions:
        for number, size in enumerate(spec.sizes(version, phase)):
            found.setdefault(size, Work(version, phase, number))
    return found


def sizes(spec: JobSpec) -> dict[int, bool]:
    """Every size of micro-batch that occurs in a job, and whether training has it; those of training come first."""
    trained = occurring(spec, Phase.TRAIN) or {spec.micro_batch_size: Work(0, Phase.TRAIN, 0)}
    return {size: size in trained for size in (*trained, *occurring(spec, Phase.EVALUATE))}


def fits_program(program: Program, header: StateParcel) -> bool:
    """Whether a state parcel holds only what the program has: parameters, buffers, with their shapes."""
    states = {spec.name: spec for spec in program.state}
    kept: dict[str, int] = {}
    for entry in header.tensors:
        kind, _, rest = entry.name.partition("/")
        name = rest.rpartition("/")[0] if kind == "optimizer" else rest
        spec = states.get(name)
        if spec is None or not acceptable(entry):
            return False
        if kind == "optimizer":
            kept[name] = kept.get(name, 0) + 1
            if not spec.parameter or kept[name] > _MOST_KEYS or prod(entry.shape) > max(1, prod(spec.shape)):
                return False
        elif (kind, entry.dtype, entry.shape) != (_kind(spec), spec.dtype, spec.shape):
            return False
    return len({entry.name for entry in header.tensors}) == len(header.tensors)


def _names(header: Inputs | Activation | Gradient, interface: StageInterface) -> set[str]:
    if isinstance(header, Inputs):
        return set(interface.inputs)
    if isinstance(header, Activation):
        return {crossing.name for crossing in interface.receives}
    return {crossing.name for crossing in interface.sends if crossing.gradient}


def _fits(spec: TensorSpec, values: Values) -> bool:
    """Type and shape of the value, and no more memory than the largest value takes, of which it may be a slice."""
    known = values[spec.name]
    if known.scalar or (spec.dtype, spec.shape) != (known.dtype, known.shape):
        return False
    return acceptable(spec) or acceptable(spec, max(value.size_bytes for value in values.values()))


def _kind(spec: StateSpec) -> str:
    return "parameter" if spec.parameter else "buffer"
