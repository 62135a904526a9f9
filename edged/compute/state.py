"""The state of layers: parameters, buffers, optimizer; copied between computations, sent, restored, written to disk.

Entries are named ``parameter/NAME``, ``buffer/NAME`` and ``optimizer/NAME/KEY``, where NAME is the model's own
``state_dict`` name. Strides are kept everywhere: channels-last weights restored as contiguous would give other bits.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from edged.compute.optimizer import Optimizer
from edged.compute.program import Program, StateSpec
from edged.compute.tensors import from_wire, to_wire
from edged.core.messages import StateParcel, TensorSpec
from edged.errors import UNREADABLE, JobError, MalformedError, brief

_STRIDES: Final = "strides"
_HOST: Final = torch.device("cpu")


@dataclass(frozen=True, slots=True)
class StateCopy:
    """Layers' state as a parcel carries it: descriptions, their bytes, and the optimizer's numbers as JSON."""

    tensors: tuple[TensorSpec, ...]
    buffers: tuple[memoryview, ...]
    extra: bytes


@dataclass(slots=True)
class Restored:
    """State read from parcels: ``tensors``, ``kept`` (the optimizer's, by parameter and key); numbers if any."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    kept: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    numbers: dict[str, Any] | None = None


def copy_state(
    program: Program, names: Iterable[str], state: Mapping[str, torch.Tensor], optimizer: Optimizer | None
) -> StateCopy:
    """Copy the state called ``names``, now; the live tensors may change at once afterwards.

    Without an optimizer (first weights) the optimizer's part stays empty, and the receiver begins a fresh one.
    """
    wanted = set(names)
    entries: list[tuple[TensorSpec, memoryview]] = []
    trained = []
    for spec in program.state:
        if spec.name not in wanted:
            continue
        kind = "parameter" if spec.parameter else "buffer"
        entries.append(to_wire(f"{kind}/{spec.name}", state[spec.name], copy=True))
        if spec.parameter and spec.requires_grad:
            trained.append(spec.name)
    numbers = None
    if optimizer is not None:
        numbers = optimizer.numbers(trained)
        for name in trained:
            for key, tensor in optimizer.tensors(name).items():
                entries.append(to_wire(f"optimizer/{name}/{key}", tensor, copy=True))
    extra = b"" if numbers is None else json.dumps(numbers).encode()
    return StateCopy(tuple(spec for spec, _ in entries), tuple(view for _, view in entries), extra)


def copy_layers(
    program: Program, layers: Sequence[Sequence[str]], state: Mapping[str, torch.Tensor], optimizer: Optimizer | None
) -> StateCopy:
    """As ``copy_state``, of layers with these names of state each, and ``extra`` tells which tensor is whose.

    Its key ``layers`` holds, for each layer, the places of its parameters and buffers in ``StateCopy.tensors``; what
    the optimizer keeps goes by its parameter's name.
    """
    copy = copy_state(program, [name for names in layers for name in names], state, optimizer)
    places = {spec.name.partition("/")[2]: place for place, spec in enumerate(copy.tensors) if _is_own(spec)}
    owned = [sorted(places[name] for name in names) for names in layers]
    numbers = json.loads(copy.extra) if copy.extra else {"entries": {}}
    return StateCopy(copy.tensors, copy.buffers, json.dumps({**numbers, "layers": owned}).encode())


def _is_own(entry: TensorSpec) -> bool:
    return not entry.name.startswith("optimizer/")


def read_state(
    program: Program,
    parcels: Sequence[tuple[StateParcel, Sequence[memoryview]]],
    device: torch.device,
) -> Restored:
    """State in memory of its own on ``device``, parameters as leaves that want gradients where the program says so.

    Raises ``MalformedError`` for unknown names, or types and shapes other than the program's, and where an optimizer's
    part is missing.
    """
    specs = {spec.name: spec for spec in program.state}
    found = Restored()
    for header, buffers in parcels:
        for tensor_spec, buffer in zip(header.tensors, buffers, strict=True):
            _read_entry(found, specs, tensor_spec, buffer, device)
        numbers = _numbers(header.extra) if header.extra else {}
        if "group" in numbers:
            entries = {**found.numbers["entries"], **numbers["entries"]} if found.numbers else numbers["entries"]
            found.numbers = {**numbers, "entries": entries}
        elif header.version > 0:  # first weights have no optimizer yet
            raise MalformedError(f"the state at version {header.version} lacks what its optimizer keeps")
    return found


def _read_entry(
    found: Restored, specs: Mapping[str, StateSpec], entry: TensorSpec, buffer: memoryview, device: torch.device
) -> None:
    kind, _, rest = entry.name.partition("/")
    name, key = rest, ""
    if kind == "optimizer":
        name, _, key = rest.rpartition("/")
    spec = specs.get(name)
    if spec is None or kind != ("optimizer" if key else "parameter" if spec.parameter else "buffer"):
        raise MalformedError(f"the program has no state called {entry.name}")
    if not key and (entry.dtype, entry.shape) != (spec.dtype, spec.shape):
        raise MalformedError(f"{entry.name} is {entry.dtype} {entry.shape}, not {spec.dtype} {spec.shape}")
    tensor = own(from_wire(entry, buffer, _HOST), device)
    if key:
        found.kept.setdefault(name, {})[key] = tensor
    else:
        found.tensors[name] = tensor.requires_grad_(spec.requires_grad) if spec.parameter else tensor


def _numbers(extra: bytes) -> dict[str, Any]:
    try:
        numbers = json.loads(extra)
    except UNREADABLE as error:
        raise MalformedError(f"the optimizer's numbers are no JSON: {brief(error)}") from error
    if not isinstance(numbers, dict) or not isinstance(numbers.get("entries"), dict):
        raise MalformedError("the optimizer's numbers lack their entries")
    return numbers


def own(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A copy in memory of its own, with the same strides."""
    plain = tensor.detach()
    extent = 1 + sum((size - 1) * stride for size, stride in zip(plain.shape, plain.stride(), strict=True))
    memory = torch.zeros(max(extent, 0) if plain.numel() else 0, dtype=plain.dtype, device=device)
    return memory.as_strided(plain.shape, plain.stride()).copy_(plain)


def state_dict(program: Program, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What ``model.state_dict()`` would hold: contiguous, on the CPU, tied names each with a copy of its own.

    Raises ``JobError`` naming what is missing.
    """
    found: dict[str, torch.Tensor] = {}
    for spec in program.state:
        if not spec.persistent:
            continue
        if spec.name not in tensors:
            raise JobError(f"the weights are not complete: {spec.name} is missing")
        tensor = tensors[spec.name].detach().to(_HOST).contiguous()
        for name in (spec.name, *spec.aliases):
            found[name] = tensor.clone(memory_format=torch.contiguous_format)
    return found


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file that is there whole or not at all: temporary file, fsync, rename, fsync of the folder.

    Raises ``JobError`` if the disk refuses.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(dict(tensors), temporary, metadata={"format": "pt", **(metadata or {})})
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        raise JobError(f"cannot write {path}: {error}; make room there, or choose another place") from error


def write_first_state(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write a program's first state (all of ``Program.state``, by name), strides in the file's metadata."""
    strides = {name: tuple(tensor.stride()) for name, tensor in tensors.items()}
    contiguous = {
        name: tensor.detach().to(_HOST).clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()
    }
    write_tensors(path, contiguous, {_STRIDES: json.dumps(strides)})


def read_first_state(path: Path, names: Iterable[str]) -> dict[str, torch.Tensor]:
    """Read some of what ``write_first_state`` wrote, with its strides. Raises ``JobError`` if it is not there."""
    try:
        with safe_open(path, framework="pt") as file:
            strides = json.loads((file.metadata() or {}).get(_STRIDES, "{}"))
            return {name: _laid_out(file.get_tensor(name), strides.get(name)) for name in names}
    except (OSError, SafetensorError, ValueError) as error:
        raise JobError(f"cannot read the first weights in {path}: {error}") from error


def _laid_out(tensor: torch.Tensor, strides: Sequence[int] | None) -> torch.Tensor:
    if strides is None or tuple(strides) == tensor.stride():
        return tensor
    return torch.empty_strided(tensor.shape, strides, dtype=tensor.dtype).copy_(tensor)


def sync(path: Path) -> None:
    """Make a file, or what was renamed in a folder, survive a loss of power. Raises ``OSError``."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
