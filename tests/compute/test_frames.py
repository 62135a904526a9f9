"""Frames between a feeder and its node say exactly what was drawn."""

from __future__ import annotations

import io
import json

import pytest
import torch

from edged.compute.frames import drawn, failed, read_request
from edged.core.job import Phase, Work
from edged.errors import MalformedError


def framed(document: object) -> bytes:
    text = json.dumps(document).encode()
    return len(text).to_bytes(4, "big") + text


def test_requests_are_read_until_the_stream_ends() -> None:
    stream = io.BytesIO(framed({"draw": [3, 1, 2]}) + framed({"draw": [4, 0, 0]}) + b"\x00\x00")
    assert read_request(stream) == Work(3, Phase.TRAIN, 2)
    assert read_request(stream) == Work(4, Phase.EVALUATE, 0)
    assert read_request(stream) is None


def test_a_request_cut_off_is_the_end() -> None:
    assert read_request(io.BytesIO(framed({"draw": [3, 1, 2]})[:-1])) is None


@pytest.mark.parametrize(
    "document", [{}, {"draw": [1]}, {"draw": [1, 7, 0]}, {"draw": "abc"}, [1], {"draw": [1, 1, None]}]
)
def test_a_request_for_nothing_is_malformed(document: object) -> None:
    with pytest.raises(MalformedError):
        read_request(io.BytesIO(framed(document)))


def test_an_immense_request_is_malformed() -> None:
    with pytest.raises(MalformedError):
        read_request(io.BytesIO(b"\xff\xff\xff\xff"))


def test_an_answer_holds_the_header_and_every_byte() -> None:
    image = torch.arange(24.0).view(1, 2, 3, 4).to(memory_format=torch.channels_last)
    pieces = drawn(Work(3, Phase.TRAIN, 2), {"batch[0]": image, "batch[1]": torch.tensor([7])})
    header = json.loads(bytes(pieces[0])[4:])
    assert int.from_bytes(bytes(pieces[0])[:4], "big") == len(pieces[0]) - 4
    assert header["work"] == [3, 1, 2]
    assert [spec["name"] for spec in header["tensors"]] == ["batch[0]", "batch[1]"]
    assert header["tensors"][0]["strides"] == list(image.stride())
    assert header["tensors"][0]["dtype"] == "float32"
    assert [memoryview(piece).nbytes for piece in pieces[1:]] == [96, 8]
    assert [spec["size_bytes"] for spec in header["tensors"]] == [96, 8]
    flat = torch.frombuffer(bytearray(pieces[1]), dtype=torch.float32)
    assert torch.equal(flat.as_strided((1, 2, 3, 4), image.stride()), image)


def test_an_error_has_a_line_and_a_traceback() -> None:
    (piece,) = failed("data[3]: ValueError: x", "Traceback ...")
    assert json.loads(bytes(piece)[4:]) == {"error": "data[3]: ValueError: x", "detail": "Traceback ..."}
