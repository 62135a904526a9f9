"""What a model and a batch are made of, in plain words: their tensors, by name, with types and shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from edged.compute.program import InputSpec, StateSpec
from edged.compute.tensors import DTYPES, dtype_name, is_dense
from edged.errors import JobError


def describe_batch(batch: Any) -> tuple[InputSpec, ...]:
    """The tensors of a batch, in the order of flattening, named by where they stand: ``batch[0]``, ``batch['label']``.

    Raises ``JobError`` for what is not a tensor, and if the first dimensions differ.
    """
    specs = []
    for path, leaf in pytree.tree_leaves_with_path(batch):
        name = f"batch{pytree.keystr(path)}"
        if not isinstance(leaf, Tensor):
            raise JobError(
                f"{name} is of type {type(leaf).__name__}: a batch holds tensors only; convert it in the data set"
            )
        if str(leaf.dtype).removeprefix("torch.") not in DTYPES:
            raise JobError(f"{name} has the type {leaf.dtype}, which cannot be sent; convert it in the data set")
        if leaf.dim() == 0 or leaf.shape[0] == 0:
            raise JobError(f"{name} has no first dimension that counts samples; give every sample its own value")
        specs.append(InputSpec(name, dtype_name(leaf.dtype), tuple(leaf.shape)))
    if not specs:
        raise JobError("the batch holds no tensor")
    for spec in specs:
        if spec.shape[0] != specs[0].shape[0]:
            raise JobError(
                f"{specs[0].name} has {specs[0].shape[0]} samples and {spec.name} has {spec.shape[0]}: "
                "the first dimension of everything in a batch must count its samples"
            )
    return tuple(specs)


def own_state(model: nn.Module) -> dict[str, Tensor]:
    """Parameters in the model's order, then buffers, each under its first name.

    Raises ``JobError`` for what cannot be sent or has no values, and if nothing can be trained.
    """
    names: dict[str, Tensor] = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    memory: dict[int, str] = {}
    for name, tensor in names.items():
        if str(tensor.dtype).removeprefix("torch.") not in DTYPES or tensor.layout is not torch.strided:
            raise JobError(f"{name} has the type {tensor.dtype} ({tensor.layout}), which cannot be sent")
        if tensor.is_meta:
            raise JobError(f"{name} has no values yet: write weights='FILE.safetensors', or give it some")
        if isinstance(tensor, nn.Parameter) and tensor.numel():
            other = memory.setdefault(tensor.untyped_storage().data_ptr(), name)
            if other != name:
                raise JobError(
                    f"{other} and {name} share memory without being one parameter; assign the same nn.Parameter"
                )
    if not any(tensor.requires_grad for tensor in names.values()):
        raise JobError("no parameter of the model wants a gradient: nothing can be trained")
    return names


def describe_state(model: nn.Module, names: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> tuple[StateSpec, ...]:
    """Describe ``state`` (the program's, constants included); ``names`` are the model's own tensors."""
    aliases: dict[int, list[str]] = {}
    for name, tensor in (
        *model.named_parameters(remove_duplicate=False),
        *model.named_buffers(remove_duplicate=False),
    ):
        aliases.setdefault(id(tensor), []).append(name)
    persistent = set(model.state_dict(keep_vars=True))
    return tuple(
        StateSpec(
            name=name,
            dtype=dtype_name(tensor.dtype),
            shape=tuple(tensor.shape),
            strides=tuple(tensor.stride()),
            parameter=isinstance(names.get(name), nn.Parameter),
            requires_grad=name in names and names[name].requires_grad,
            persistent=name in persistent,
            aliases=tuple(alias for alias in aliases.get(id(names.get(name)), ()) if alias != name),
        )
        for name, tensor in state.items()
    )


def dense_copy(tensor: Tensor) -> Tensor:
    """A copy on the CPU with the same strides; contiguous if the tensor does not fill one block of memory."""
    plain = tensor.detach().cpu()
    dense = is_dense(tuple(plain.shape), plain.stride())
    return plain.clone(memory_format=torch.preserve_format if dense else torch.contiguous_format)
