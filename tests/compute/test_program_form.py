"""Programs as bytes: what is written can be read, and nothing else can."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgpack
import pytest

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


def test_a_refusal_does_not_repeat_what_it_refuses() -> None:
    with pytest.raises(ProgramRefusedError) as refusal:
        load(document(version=["x" * 900] * 900))
    assert len(str(refusal.value)) < 200


def test_an_operation_has_no_more_arguments_than_can_be_looked_through() -> None:
    """Each change that evaluation makes is looked up among them: 200,000 of both would take hours."""
    good = msgpack.unpackb(dump(linear_program()))["operations"]
    for position, many in ((1, [1] * 65), (2, [["out", 1]] * 65), (7, [[0, 1]] * 65)):
        operations = [list(operation) for operation in good]
        operations[0][position] = many
        with pytest.raises(ProgramRefusedError, match="at most 64 items"):
            load(document(operations=operations))
