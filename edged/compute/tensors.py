"""Tensors to bytes and back, with their strides and alignment, without copies where the memory allows it.

Matrix products and attention give other last bits for memory that is not aligned, sums and means for other strides. So
a tensor that has crossed has the strides that the sender's had and begins as many bytes past a multiple of 64: a piece
of a split, say, seldom begins at one.

- *Dense* (every element of a block of memory once, in whatever order): the buffer is that block.
- *Otherwise* (an expanded tensor, a slice): the buffer holds the elements that differ, contiguous; dimensions of stride
  0 count once; the receiver places them with their strides.

Memory of an accelerator is staged through the host.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import torch

from edged.core.messages import TensorSpec
from edged.errors import BrokenInvariantError, MalformedError

ALIGNMENT: Final = 64
"""Bytes: what torch's own allocator guarantees everywhere. ``TensorSpec.offset`` is counted from a multiple of it."""

DTYPES: Final = {
    name: dtype
    for name in (
        "float64", "float32", "float16", "bfloat16", "complex64", "complex128",
        "int64", "int32", "int16", "int8", "uint8", "bool",
    )
    if isinstance(dtype := getattr(torch, name), torch.dtype)
}  # fmt: skip
"""The types that may travel, by the names that they have on the wire."""

_SPREAD: Final = 16
"""How many times its elements' size a placed tensor may take in memory; a peer that asks for more is refused."""


_LARGEST: Final = 2**38
"""Bytes over which any tensor may spread; how far a peer's may is decided at its header."""


def dtype_name(dtype: torch.dtype) -> str:
    """Name on the wire: ``float32`` for ``torch.float32``. Raises ``BrokenInvariantError`` if it cannot travel."""
    name = str(dtype).removeprefix("torch.")
    if name not in DTYPES:
        raise BrokenInvariantError(f"tensors of type {dtype} cannot be sent")
    return name


def is_dense(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether shape and strides (elements) name every element of one block of memory exactly once."""
    if 0 in shape:
        return True
    expected = 1
    for stride, size in sorted((stride, size) for size, stride in zip(shape, strides, strict=True) if size != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def payload_bytes(dtype: str, shape: Sequence[int], strides: Sequence[int]) -> int:
    """Bytes of the buffer that carries such a tensor: an expanded dimension counts once."""
    item = DTYPES[dtype].itemsize
    if is_dense(shape, strides):
        return prod(shape) * item
    return prod(_kept(shape, strides)) * item


def acceptable(spec: TensorSpec, room: int = 0) -> bool:
    """Whether a peer's description makes sense in itself.

    A type that travels, sizes that agree, an offset of whole elements, bounded memory, and no element named twice but
    by expanded dimensions. ``room``: bytes that it may spread over in any case (a slice lies within what it was cut
    from).
    """
    shape, strides = spec.shape, spec.strides
    if spec.dtype not in DTYPES or len(shape) != len(strides) or min((*shape, *strides), default=0) < 0:
        return False
    if spec.size_bytes != payload_bytes(spec.dtype, shape, strides):
        return False
    if not 0 <= spec.offset < ALIGNMENT or spec.offset % DTYPES[spec.dtype].itemsize:
        return False
    if is_dense(shape, strides):
        return True
    within = _extent(shape, strides) * DTYPES[spec.dtype].itemsize <= max(room, _SPREAD * spec.size_bytes)
    return within and not overlaps(shape, strides)


def to_wire(name: str, tensor: torch.Tensor, *, copy: bool = False) -> tuple[TensorSpec, memoryview]:
    """Describe a tensor and show its bytes.

    The view shares the tensor's memory where that is dense and on the CPU, unless ``copy`` asks for memory of its own
    (for a tensor that will change while the bytes wait to be sent).
    """
    plain = tensor.detach().resolve_conj().resolve_neg()
    offset = misalignment(plain)
    shape, strides = tuple(plain.shape), tuple(plain.stride())
    if is_dense(shape, strides):
        if plain.device.type != "cpu" or copy:
            plain = _copy_dense(plain)
        payload = plain.as_strided((plain.numel(),), (1,))
    else:
        kept = plain
        for dimension, stride in enumerate(strides):
            if stride == 0:
                kept = kept.narrow(dimension, 0, 1)
        if overlaps(shape, strides):
            kept = plain
            strides = tuple(torch.empty(shape, device="meta").stride())
        payload = kept.to("cpu", memory_format=torch.contiguous_format).contiguous()
        payload = payload.clone() if payload.data_ptr() == plain.data_ptr() and copy else payload
        payload = payload.as_strided((payload.numel(),), (1,))
    size_bytes = payload.numel() * payload.element_size()
    return TensorSpec(name, dtype_name(plain.dtype), shape, strides, size_bytes, offset), _view(payload)


def from_wire(spec: TensorSpec, buffer: memoryview, device: torch.device) -> torch.Tensor:
    """The tensor that ``spec`` describes, on ``device``, as far past aligned memory as it says, not wanting a gradient.

    It shares the buffer's memory if it is dense, begins at no offset, and the buffer is aligned, writable and on the
    right device. Raises ``MalformedError`` if the description makes no sense or the buffer has another size.
    """
    if not acceptable(spec, _LARGEST) or buffer.nbytes != spec.size_bytes:
        raise MalformedError(f"tensor {spec.name}: {spec} does not fit a buffer of {buffer.nbytes} bytes")
    dtype = DTYPES[spec.dtype]
    flat = _flat(buffer, dtype)
    if 0 in spec.shape:
        return torch.empty_strided(spec.shape, spec.strides, dtype=dtype, device=device)
    dense = is_dense(spec.shape, spec.strides)
    if dense and not spec.offset:
        return flat.to(device).as_strided(spec.shape, spec.strides)
    memory, view = _room(spec, device)
    kept = _kept(spec.shape, spec.strides)
    elements = flat.as_strided(spec.shape, spec.strides) if dense else flat.reshape(kept)
    memory.as_strided(elements.shape, spec.strides, view.storage_offset()).copy_(elements)
    return view


def placed(spec: TensorSpec, elements: torch.Tensor) -> torch.Tensor:
    """``elements`` (on the CPU, of the type and shape that ``spec`` names) in memory laid out as ``spec`` says."""
    if 0 in spec.shape:
        return torch.empty_strided(spec.shape, spec.strides, dtype=elements.dtype)
    memory, view = _room(spec, elements.device)
    for dimension, stride in enumerate(spec.strides):
        if stride == 0:
            elements = elements.narrow(dimension, 0, 1)
    memory.as_strided(elements.shape, spec.strides, view.storage_offset()).copy_(elements)
    return view


def _room(spec: TensorSpec, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Zeroed memory for such a tensor, as far past aligned memory as it says, and the tensor in it."""
    dtype = DTYPES[spec.dtype]
    lead = spec.offset // dtype.itemsize
    memory = torch.zeros(lead + _extent(spec.shape, spec.strides), dtype=dtype, device=device)
    return memory, memory.as_strided(spec.shape, spec.strides, lead)


def misalignment(tensor: torch.Tensor) -> int:
    """Bytes by which a tensor's first element lies past a multiple of 64: whole elements, 0 for none.

    On an accelerator it is counted from the start of its allocation, whose address may be hidden.
    """
    item = tensor.element_size()
    start = tensor.data_ptr() if tensor.device.type == "cpu" else int(tensor.storage_offset()) * item
    offset = start % ALIGNMENT
    return 0 if offset % item else offset


def _copy_dense(tensor: torch.Tensor) -> torch.Tensor:
    copied = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    return copied.copy_(tensor)


def _kept(shape: Sequence[int], strides: Sequence[int]) -> list[int]:
    """The shape of the elements that differ: an expanded dimension counts once."""
    return [1 if stride == 0 else size for size, stride in zip(shape, strides, strict=True)]


def _extent(shape: Sequence[int], strides: Sequence[int]) -> int:
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def overlaps(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether two elements might share memory (sorted by stride, a dimension reaches into the next one).

    Those of an expanded dimension do not count.
    """
    reach = 0
    kept = _kept(shape, strides)
    for stride, size in sorted((stride, size) for size, stride in zip(kept, strides, strict=True) if size != 1):
        if stride <= reach:
            return True
        reach += (size - 1) * stride
    return False


def _view(flat: torch.Tensor) -> memoryview:
    data: memoryview = flat.view(torch.uint8).numpy().data
    return data


def _flat(buffer: memoryview, dtype: torch.dtype) -> torch.Tensor:
    if buffer.nbytes == 0:
        return torch.empty(0, dtype=dtype)
    data = bytearray(buffer) if buffer.readonly else buffer
    raw = torch.frombuffer(data, dtype=torch.uint8)
    if raw.data_ptr() % ALIGNMENT:
        raw = raw.clone()
    return raw.view(dtype)
