"""Drawn micro-batches, and rows to be copied, as a feeder hands them to its node: a length, a JSON header, raw buffers.

::

    node -> feeder   {"draw": [version, phase, micro_batch]}
                     {"copy": [phase, first_row]}
    feeder -> node   {"work": [version, phase, micro_batch], "tensors": [...]} buffer buffer ...
                     {"rows": [phase, first_row, rows], "tensors": [...], "layouts": [...]} buffer buffer ...
                     {"uncopied": why there can be no copy}
                     {"changed": in what the data is not that which was submitted, "detail": traceback}
                     {"error": one line, "detail": traceback}

Each header is preceded by its length, four bytes, big-endian.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import asdict
from typing import BinaryIO, Final

import torch

from edged.compute.rows import Rows, WantRows
from edged.compute.tensors import to_wire
from edged.core.job import Phase, Work
from edged.errors import UNREADABLE, MalformedError

_LENGTH: Final = struct.Struct(">I")
_LARGEST_HEADER_BYTES: Final = 1 << 20


def read_request(stream: BinaryIO) -> Work | WantRows | None:
    """The next micro-batch or rows that the node wants; none at the end of the stream. Raises ``MalformedError``."""
    prefix = stream.read(_LENGTH.size)
    if len(prefix) < _LENGTH.size:
        return None
    (size,) = _LENGTH.unpack(prefix)
    if size > _LARGEST_HEADER_BYTES:
        raise MalformedError(f"a request of {size} bytes")
    text = stream.read(size)
    if len(text) < size:
        return None
    try:
        document = json.loads(text)
        if "copy" in document:
            phase, first_row = document["copy"]
            return WantRows(Phase(phase), int(first_row))
        version, phase, micro_batch = document["draw"]
        return Work(int(version), Phase(phase), int(micro_batch))
    except UNREADABLE as error:
        raise MalformedError(f"a request that asks for no micro-batch: {text[:100]!r}") from error


def drawn(work: Work, tensors: Mapping[str, torch.Tensor]) -> list[bytes | memoryview]:
    """The pieces of one answer, to be sent one after the other; the views keep the tensors alive."""
    return _with_tensors({"work": [work.version, int(work.phase), work.micro_batch]}, tensors)


def copied(rows: Rows) -> list[bytes | memoryview]:
    """The pieces of the answer that holds rows."""
    place = [int(rows.phase), rows.first_row, rows.stop - rows.first_row]
    return _with_tensors({"rows": place, "layouts": [asdict(spec) for spec in rows.layouts]}, rows.tensors)


def uncopied(reason: str) -> list[bytes | memoryview]:
    """The answer that there can be no copy of the samples; the job goes on without."""
    return [_framed({"uncopied": reason})]


def changed(difference: str, detail: str) -> list[bytes | memoryview]:
    """The answer that nothing is drawn, as it would be something else than what was submitted."""
    return [_framed({"changed": difference, "detail": detail})]


def failed(error: str, detail: str) -> list[bytes | memoryview]:
    """The answer that ends a job: one line for people, and a traceback."""
    return [_framed({"error": error, "detail": detail})]


def _with_tensors(header: dict[str, object], tensors: Mapping[str, torch.Tensor]) -> list[bytes | memoryview]:
    wired = [to_wire(name, tensor) for name, tensor in tensors.items()]
    return [_framed({**header, "tensors": [asdict(spec) for spec, _ in wired]}), *(view for _, view in wired)]


def _framed(header: dict[str, object]) -> bytes:
    text = json.dumps(header).encode()
    return _LENGTH.pack(len(text)) + text
