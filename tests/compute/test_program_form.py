"""Programs as bytes: what is written can be read, and nothing else can."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from edged.compute.check import check_program
from edged.compute.program import Named, Program, Ref
from edged.compute.program_form import MAX_DEPTH, MAX_TEXT, dump, load
from edged.errors import ProgramRefusedError
from tests.compute.models import CASES
from tests.compute.samples import captured, linear_program, op, program


@pytest.mark.parametrize("name", CASES)
def test_a_captured_program_is_read_as_it_was_written(name: str) -> None:
    written = captured(name).program
    assert load(dump(written)) == written


def test_every_kind_of_argument_survives() -> None:
    arguments = (Ref("x"), Named("dtype", "float32"), Named("device", "node"), 1, -2.5, float("inf"), True, "s", None)
    written = program(op("aten.relu.default", *arguments, (1, (2, (Ref("w"),))), out="loss"))
    assert load(dump(written)) == written


def document(**fields: Any) -> bytes:
    plain = msgpack.unpackb(dump(linear_program()))
    return bytes(msgpack.packb({**plain, **fields}))


def first_operation(position: int, value: Any) -> bytes:
    operations = msgpack.unpackb(dump(linear_program()))["operations"]
    operations[0][position] = value
    return document(operations=operations)


def nested(depth: int) -> Any:
    return [nested(depth - 1)] if depth else 1


REFUSED = {
    "not msgpack": b"\xc1",
    "nothing": b"",
    "trailing bytes": dump(linear_program()) + b"\x00",
    "not a map": msgpack.packb([1]),
    "missing field": msgpack.packb({"version": 1}),
    "extra field": document(code="print()"),
    "other version": document(version=2),
    "extension type": document(loss=msgpack.ExtType(5, b"x")),
    "timestamp": document(loss=msgpack.Timestamp(0)),
    "bytes": document(loss=b"loss"),
    "long text": document(loss="l" * (MAX_TEXT + 1)),
    "wrong type": document(evaluates=1),
    "boolean for integer": document(fixed_batch=True),
    "unknown operation": first_operation(0, "aten.from_file.default"),
    "foreign code": first_operation(0, "os.system"),
    "unknown value": first_operation(1, [{"ref": "nobody"}]),
    "strange argument": first_operation(1, [{"call": "x"}]),
    "deep argument": first_operation(1, [nested(MAX_DEPTH + 1)]),
    "very deep argument": first_operation(1, [nested(900)]),
    "other device": first_operation(2, [["device", {"kind": "device", "text": "cuda:7"}]]),
    "unknown kind": first_operation(2, [["device", {"kind": "module", "text": "os"}]]),
    "output twice": first_operation(3, ["x"]),
    "flip of nothing": first_operation(7, [[9, False]]),
    "flip to another value": first_operation(7, [[0, {"ref": "b"}]]),
    "flip to text": first_operation(7, [[0, "x"]]),
    "autocast": first_operation(8, "int8"),
    "layer gap": document(layers=[[0, 1], [2, 4]]),
    "empty layer": document(layers=[[0, 0], [0, 4]]),
    "layers too short": document(layers=[[0, 3]]),
    "loss unknown": document(loss="nobody"),
    "loss in evaluation only": document(loss="top"),
    "metric unknown": document(metrics=[["top", "nobody"]]),
    "metric twice": document(metrics=[["top", "top"], ["top", "top"]]),
    "no evaluation": document(evaluates=False),
    "batch": document(fixed_batch=3),
    "dtype": document(inputs=[["x", "object", [4, 3]]]),
    "no samples": document(inputs=[["x", "float32", []]]),
    "negative size": document(inputs=[["x", "float32", [4, -3]]]),
    "rank": document(inputs=[["x", "float32", [1] * 17]]),
    "overlapping state": document(state=[["w", "float32", [3, 3], [0, 1], True, True, True, []]]),
    "integer gradient": document(state=[["w", "int64", [3, 3], [3, 1], True, True, True, []]]),
    "alias taken": document(state=[["w", "float32", [3, 3], [3, 1], True, True, True, ["x"]]]),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED.keys())
def test_a_malformed_program_is_refused(data: bytes) -> None:
    with pytest.raises(ProgramRefusedError):
        load(data)


def test_a_program_damaged_anywhere_is_refused_or_still_a_program() -> None:
    dice = random.Random(5)
    good = dump(linear_program())
    for _ in range(2_000):
        data = bytearray(good)
        for _ in range(dice.randint(1, 3)):
            data[dice.randrange(len(data))] = dice.randrange(256)
        try:
            assert isinstance(load(bytes(data[: dice.choice((len(data), dice.randrange(len(data))))])), Program)
        except ProgramRefusedError:
            continue


def test_a_value_of_evaluation_cannot_be_used_in_training() -> None:
    good = linear_program()
    late = replace(good.operations[3], evaluation_only=False, arguments=(Ref("only"),), outputs=("all",))
    early = op("aten.relu.default", Ref("r"), out="only", evaluation_only=True)
    bad = replace(good, operations=(*good.operations, early, late), layers=((0, 6),))
    with pytest.raises(ProgramRefusedError, match="which training does not make"):
        load(dump(bad))


MISFITS = {
    "shape": program(op("aten.view.default", Ref("x"), (7, 7), out="h"), op("aten.mean.default", Ref("h"), out="loss")),
    "type": program(op("aten.relu.default", "x", out="loss")),
    "missing argument": program(op("aten.matmul.default", Ref("x"), out="loss")),
    "outputs": program(op("aten.mean.default", Ref("w"), out=("loss", "more"))),
    "not a scalar": program(op("aten.relu.default", Ref("w"), out="loss")),
    "no gradient": program(op("aten.mean.default", Ref("x"), out="loss")),
    "text arithmetic": program(op("_operator.mul", "a", 9, out="h"), op("aten.mean.default", Ref("w"), out="loss")),
    "huge number": program(op("_operator.mul", 2**62, 4, out="h"), op("aten.mean.default", Ref("w"), out="loss")),
    "zero division": program(op("_operator.mod", 1, 0, out="h"), op("aten.mean.default", Ref("w"), out="loss")),
    "huge value": program(
        op("aten.zeros.default", (2**20, 2**20), out="h"), op("aten.mean.default", Ref("w"), out="loss")
    ),
    "too many pieces": program(
        op("aten.zeros.default", (2**30,), out="h"),
        op("aten.unbind.int", Ref("h"), out=("", "")),
        op("aten.mean.default", Ref("w"), out="loss"),
    ),
    "too many sections": program(
        op("aten.tensor_split.sections", Ref("w"), 2**40, out=("", "")), op("aten.mean.default", Ref("w"), out="loss")
    ),
    "vector metric": program(op("aten.mean.default", Ref("w"), out="loss"), metrics=(("m", "w"),)),
    "shape out of data": program(
        op("aten.gt.Scalar", Ref("w"), 0.0, out="g"),
        op("aten.index.Tensor", Ref("w"), (Ref("g"),), out="h"),
        op("aten.mean.default", Ref("h"), out="loss"),
    ),
    "not allowed": program(op("aten.from_file.default", "/etc/passwd", out="loss")),
}


@pytest.mark.parametrize("bad", MISFITS.values(), ids=MISFITS.keys())
def test_a_program_that_does_not_fit_its_shapes_is_refused(bad: Program) -> None:
    with pytest.raises(ProgramRefusedError):
        check_program(bad)


def test_values_are_described_for_any_size_of_micro_batch() -> None:
    values = check_program(linear_program(), 2)
    assert values["h"].shape == (2, 3)
    assert values["h"].requires_grad
    assert not values["x"].requires_grad
    assert values["top"].shape == ()
    assert values["w"].size_bytes == 36
