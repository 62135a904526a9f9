"""One held state as one file in the safetensors format, written and read without torch and without copying tensors.

::

    8 bytes   length of the header (little endian)
    header    JSON: {"__metadata__": {"edged": DOCUMENT, "sha256": digest, "format": "pt"},
                     NAME: {"dtype": "F32", "shape": [...], "data_offsets": [begin, end]}, ...}
    data      the tensors' buffers, one after the other

Anything that reads safetensors can read these files. A tensor that is not laid out row by row appears there as its
elements in the order of the memory; the document says how they are laid out: it holds every ``TensorSpec``, the
optimizer's numbers and what the layers are. The digest is over the document and all data, so a bit that flips on the
disk is found when the file is read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import astuple
from itertools import accumulate, pairwise
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

from edged.core.ids import JobId
from edged.core.messages import Holding, HoldingKind, TensorSpec
from edged.errors import UNREADABLE, MalformedError, brief
from edged.replication.snapshots import HeldState

_FORM: Final = 1
"""Of the document; another number is another version of edged."""

_LONGEST_HEADER: Final = 64 * 2**20
_PREFIX: Final = 8
_PIECE: Final = 2**20

_NAMES: Final = {
    "float64": ("F64", 8), "float32": ("F32", 4), "float16": ("F16", 2), "bfloat16": ("BF16", 2),
    "int64": ("I64", 8), "int32": ("I32", 4), "int16": ("I16", 2), "int8": ("I8", 1),
    "uint8": ("U8", 1), "bool": ("BOOL", 1),
}  # fmt: skip
"""Names of types in the format, and bytes of one element; others (complex numbers) are written as bytes."""


class OtherFormError(MalformedError):
    """The file is sound, and another version of edged wrote it."""


def write(path: Path, held: HeldState, origin: tuple[int, int] = (0, 0)) -> None:
    """Write a file that is there whole or not at all: temporary file, fsync, rename, fsync of the folder.

    ``origin``: as in ``Holding``. Raises ``OSError`` if the disk refuses; nothing is left behind then.
    """
    document = json.dumps(_described(held) | {"origin": origin})
    metadata = {"edged": document, "sha256": _digest(document, held.buffers), "format": "pt"}
    header: dict[str, Any] = {}
    ends = accumulate((spec.size_bytes for spec in held.tensors), initial=0)
    for spec, offsets in zip(held.tensors, pairwise(ends), strict=True):
        dtype, shape = _shown(spec)
        header[spec.name] = {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}
    header["__metadata__"] = metadata
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _PREFIX)
    write_file(path, [len(text).to_bytes(_PREFIX, "little"), text, *held.buffers])


def write_file(path: Path, parts: Iterable[bytes | memoryview]) -> None:
    """Write these bytes, one part after the other, as ``write`` promises. Raises ``OSError``."""
    temporary = path.with_name(f".{path.name}.part")
    try:
        with temporary.open("wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make what was renamed or removed in a folder survive a loss of power. Raises ``OSError``."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> HeldState:
    """Read a file and verify it. Raises ``MalformedError`` if it is damaged, ``OSError`` if it cannot be read."""
    with path.open("rb") as file:
        text, digest = _header(file)
        document = _parsed(path, text)
        tensors = _tensors(document)
        held = _holding(document)
        buffers = tuple(_read_buffer(file, spec) for spec in tensors)
        if file.read(1) or _digest(text, buffers) != digest:
            raise MalformedError(f"{path} is damaged: its digest is not that of its content")
    return HeldState(
        JobId(document["job"]),
        held.first_layer,
        held.last_layer,
        held.version,
        tensors,
        buffers,
        document["extra"].encode(),
    )


def look(path: Path) -> Holding:
    """What a file holds, by its header alone. Raises as ``read`` does, also if the file is too short."""
    with path.open("rb") as file:
        text, _ = _header(file)
        document = _parsed(path, text)
        rest = path.stat().st_size - file.tell()
    if rest != sum(spec.size_bytes for spec in _tensors(document)):
        raise MalformedError(f"{path} is damaged: it has not the size that it should have")
    return _holding(document)


def verify(path: Path) -> Holding:
    """As ``look``, but the digest is compared first; the file is read, and not held in memory.

    Raises as ``read`` does, and ``OtherFormError``.
    """
    with path.open("rb") as file:
        text, expected = _header(file)
        digest = hashlib.sha256(text.encode())
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != expected:
        raise MalformedError(f"{path} is damaged: its digest is not that of its content")
    return look(path)


def _described(held: HeldState) -> dict[str, Any]:
    return {
        "form": _FORM,
        "job": held.job,
        "first_layer": held.first_layer,
        "last_layer": held.last_layer,
        "version": held.version,
        "tensors": [astuple(spec) for spec in held.tensors],
        "extra": held.extra.decode(),
    }


def _shown(spec: TensorSpec) -> tuple[str, list[int]]:
    """Type and shape under which others see a tensor."""
    dtype, size = _NAMES.get(spec.dtype, ("U8", 1))
    rows = [prod(spec.shape[place + 1 :]) for place in range(len(spec.shape))]
    plain = prod(spec.shape) * size == spec.size_bytes and list(spec.strides) == rows
    return dtype, list(spec.shape) if plain else [spec.size_bytes // size]


def _digest(document: str, buffers: Iterable[memoryview]) -> str:
    digest = hashlib.sha256(document.encode())
    for buffer in buffers:
        digest.update(buffer)
    return digest.hexdigest()


def _header(file: BinaryIO) -> tuple[str, str]:
    """Document and digest; the file stands at its data afterwards."""
    size = int.from_bytes(file.read(_PREFIX), "little")
    if not 0 < size <= _LONGEST_HEADER:
        raise MalformedError(f"{file.name} is damaged: its header would have {size} bytes")
    try:
        metadata = json.loads(file.read(size))["__metadata__"]
        return str(metadata["edged"]), str(metadata["sha256"])
    except UNREADABLE as error:
        raise MalformedError(f"{file.name} is damaged or not edged's: {brief(error)}") from error


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
        form = document["form"]
    except UNREADABLE as error:
        raise MalformedError(f"{path} is damaged: {brief(error)}") from error
    if form != _FORM or not isinstance(document, dict):
        raise OtherFormError(f"{path} was written by another version of edged")
    return document


def _tensors(document: dict[str, Any]) -> tuple[TensorSpec, ...]:
    try:
        return tuple(
            TensorSpec(str(name), str(dtype), tuple(map(int, shape)), tuple(map(int, strides)), int(size), int(offset))
            for name, dtype, shape, strides, size, offset in document["tensors"]
        )
    except UNREADABLE as error:
        raise MalformedError(f"a damaged description of tensors: {brief(error)}") from error


def _holding(document: dict[str, Any]) -> Holding:
    try:
        first, last, version = (int(document[key]) for key in ("first_layer", "last_layer", "version"))
        term, plan = map(int, document.get("origin", (0, 0)))  # files of before have none
        if not (isinstance(document["job"], str) and isinstance(document["extra"], str) and 0 <= first <= last):
            raise MalformedError("a damaged description of layers")
    except UNREADABLE as error:
        raise MalformedError(f"a damaged description of layers: {brief(error)}") from error
    return Holding(first, last, version, HoldingKind.DISK, (term, plan))


def _read_buffer(file: BinaryIO, spec: TensorSpec) -> memoryview:
    if not 0 <= spec.size_bytes <= os.fstat(file.fileno()).st_size:
        raise MalformedError(f"{file.name} is damaged: {spec.name} would have {spec.size_bytes} bytes")
    buffer = memoryview(bytearray(spec.size_bytes))
    if file.readinto(buffer) != spec.size_bytes:  # type: ignore[attr-defined]
        raise MalformedError(f"{file.name} is damaged: {spec.name} is cut off")
    return buffer
