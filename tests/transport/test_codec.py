import dataclasses
import math
import random
import types
import typing
from enum import IntEnum

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core import messages as m
from edged.core.ids import PROTOCOL_VERSION, JobId, NodeId
from edged.core.job import JobSpec
from edged.core.plan import Hop, Plan, Route
from edged.errors import BrokenInvariantError, MalformedError
from edged.transport import kinds
from edged.transport.codec import compile_form, decode, encode
from tests.transport.nodes import STAMP, activation, message

ALL = sorted(typing.get_args(m.Message) + typing.get_args(m.Parcel), key=lambda kind: kind.__name__)
NODE_IDS = st.text("0123456789abcdef", min_size=16, max_size=16).map(NodeId)
JOB_IDS = st.text("0123456789abcdef", min_size=12, max_size=12).map(JobId)


@st.composite
def plans(draw):
    layers, micro_batches = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    cuts = sorted(draw(st.sets(st.integers(1, layers), max_size=3)) | {layers})
    starts = [0, *cuts[:-1]]
    hops = tuple(
        Hop(draw(NODE_IDS), start, stop - 1, draw(st.integers(1, 9))) for start, stop in zip(starts, cuts, strict=True)
    )
    routes = (Route(hops, tuple(range(micro_batches))),)
    return Plan(STAMP, "auto", draw(st.text(max_size=9)), layers, micro_batches, routes, draw(st.floats(0, 1e9)))


def integers(bounds):
    return st.integers(*bounds)


def strategy(hint, key):
    """Values of a type hint, within the bounds of a field."""
    plain = {
        NodeId: NODE_IDS,
        JobId: JOB_IDS,
        Plan: plans(),
        bool: st.booleans(),
        int: integers(kinds.BOUNDS.get(key, kinds.INTEGERS)),
        float: st.floats() if key in kinds.NOT_FINITE else st.floats(allow_nan=False, allow_infinity=False),
        str: st.text(max_size=min(20, kinds.LENGTHS.get(key, 20))),
        bytes: st.binary(max_size=20),
    }
    if hint in plain:
        return plain[hint]
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(strategy(arguments[0], key), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*[strategy(argument, key) for argument in arguments])
    if origin in (types.UnionType, typing.Union):
        return st.one_of([st.none() if a is types.NoneType else strategy(a, key) for a in arguments])
    if issubclass(hint, IntEnum):
        return st.sampled_from(list(hint))
    return of_type(hint)


def of_type(kind):
    hints = typing.get_type_hints(kind)
    fields = {field.name: strategy(hints[field.name], (kind, field.name)) for field in dataclasses.fields(kind)}
    made = st.builds(kind, **fields)
    if kind is JobSpec:
        return made.map(
            lambda spec: dataclasses.replace(
                spec, batch_size=max(spec.batch_size, spec.micro_batches), samples=1, drop_last=False
            )
        )
    if kind is m.TensorSpec:
        return made.map(lambda spec: dataclasses.replace(spec, strides=(1,) * len(spec.shape)))
    return made


def same(left, right):
    """Equality in which nan equals nan."""
    return repr(left) == repr(right)


def test_every_message_has_exactly_one_number():
    assert sorted(kinds.KINDS.values(), key=lambda kind: kind.__name__) == ALL


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_message_survives_the_wire(kind):
    @settings(max_examples=15, deadline=None, derandomize=True, database=None)
    @given(of_type(kind))
    def round_trip(value):
        got = decode(encode(value))
        assert type(got) is kind
        assert same(got, value)

    round_trip()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_missing_a_further_and_an_exchanged_field_are_refused(kind):
    @settings(max_examples=3, deadline=None, derandomize=True, database=None)
    @given(of_type(kind))
    def refuse(value):
        data = encode(value)
        values = msgpack.unpackb(data[1:])
        for wrong in (values[:-1], [*values, 0], [values[0], *[{}] * (len(values) - 1)]):
            with pytest.raises(MalformedError):
                decode(data[:1] + msgpack.packb(wrong))

    refuse()


def frames(rng, good):
    """Malformed, truncated, oversized, replayed and bit-flipped frames, for ever."""
    while True:
        data = bytearray(rng.choice(good))
        choice = rng.randrange(7)
        if choice == 0:
            yield rng.randbytes(rng.randrange(200))
        elif choice == 1:
            yield bytes(data[: rng.randrange(len(data))])
        elif choice == 2:
            yield bytes(data) + rng.randbytes(rng.randrange(1, 50))
        elif choice == 3:
            for _ in range(rng.randrange(1, 8)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            yield bytes(data)
        elif choice == 4:
            yield bytes([PROTOCOL_VERSION]) + rng.choice([b"\x91", b"\x81\x01", b"\xdd\xff\xff\xff\xff"]) * 400
        elif choice == 5:
            yield bytes(data)
        else:
            yield bytes([PROTOCOL_VERSION]) + msgpack.packb([rng.choice(list(kinds.KINDS)), *rng.choices(ODD, k=7)])


ODD = [None, -1, 1 << 63, math.nan, math.inf, "x", b"x", [], [[]], {}, {"a": 1}, True, msgpack.ExtType(1, b"x")]


def test_ten_thousand_hostile_frames_raise_nothing_but_malformed():
    rng = random.Random(20_000)
    good = [encode(message(1)), encode(activation(3, 4)), encode(m.Start(STAMP, 4))]
    good.append(encode(m.GradientNorms(STAMP, 1, ((0, 1.0),), again=False)))
    stream = frames(rng, good)
    refused = 0
    for _ in range(10_000):
        try:
            decode(next(stream))
        except MalformedError:
            refused += 1
    assert refused > 6_000


def test_sizes_are_bounded():
    with pytest.raises(MalformedError, match="bytes"):
        decode(bytes([PROTOCOL_VERSION]) * (kinds.FRAME_BYTES + 1))
    with pytest.raises(MalformedError):
        decode(bytes([PROTOCOL_VERSION]) + b"\xdd\x00\x0f\xff\xff" + b"\x90" * 0xFFFFF)
    with pytest.raises(MalformedError):
        decode(b"")


def test_another_protocol_is_named():
    with pytest.raises(MalformedError, match=f"protocol 9; this node speaks {PROTOCOL_VERSION}"):
        decode(b"\x09" + encode(message())[1:])


def test_extensions_and_maps_are_refused():
    for body in (msgpack.packb([28, msgpack.ExtType(5, b"abc")]), msgpack.packb([28, {"a": 1}])):
        with pytest.raises(MalformedError):
            decode(bytes([PROTOCOL_VERSION]) + body)


def test_numbers_that_are_not_finite_pass_only_where_they_are_harmless():
    assert math.isnan(decode(encode(m.StepReport(STAMP, 1, 0, math.nan, math.inf, 0.1))).loss)
    with pytest.raises(BrokenInvariantError, match="finite"):
        encode(m.Submit(spec(source_slowness=math.nan)))


def test_a_plan_that_cannot_run_is_refused():
    plan = Plan(STAMP, "auto", "", 2, 1, (Route((Hop(NodeId("a" * 16), 0, 1, 1),), (0,)),), 0.0)
    values = msgpack.unpackb(encode(m.PlanChosen(plan, spec()))[1:])
    values[1][3] = 3
    with pytest.raises(MalformedError, match="route must end with layer 2"):
        decode(bytes([PROTOCOL_VERSION]) + msgpack.packb(values))


def spec(**changes):
    values = {
        "job": JobId("0" * 12), "name": "n", "source": NodeId("a" * 16), "strategy": "auto", "mode": "sync",
        "program": "", "layers": (), "parameters": 1, "inputs": 1, "samples": 8, "batch_size": 4,
        "micro_batches": 2, "drop_last": True, "epochs": 1, "steps": 2, "eval_samples": 0, "seed": 0, "clips": False,
        "optimizer_copies": 0, "keep_inputs_home": "", "source_slowness": 1.0, "training": "{}",
    }  # fmt: skip
    return JobSpec(**(values | changes))


@pytest.mark.parametrize("changes", [{"micro_batches": 8}, {"batch_size": 9}, {"micro_batches": 0}, {"source": "me"}])
def test_a_job_whose_arithmetic_would_fail_is_refused(changes):
    with pytest.raises(BrokenInvariantError):
        encode(m.Submit(spec(**changes)))


def test_what_is_no_message_is_this_nodes_fault():
    with pytest.raises(BrokenInvariantError, match="no number"):
        encode(STAMP)
    with pytest.raises(BrokenInvariantError):
        encode(m.Start(STAMP, "1"))
    with pytest.raises(BrokenInvariantError, match="no form"):
        compile_form(dict)
    with pytest.raises(BrokenInvariantError, match="no union"):
        compile_form(int | str)
