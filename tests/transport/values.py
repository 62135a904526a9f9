"""Values of every kind of message and parcel, within the wire's bounds, and a judge of what came off the wire."""

import dataclasses
import functools
import math
import types
import typing
from enum import IntEnum

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.core import messages as m
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.plan import Hop, Plan, Route
from edged.transport import kinds
from edged.transport.codec import encode
from tests.transport.nodes import STAMP

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


@functools.cache
def frames_of(kind):
    """Some sound frames of a kind, the same ones in every run."""
    found = []

    @settings(max_examples=6, derandomize=True, database=None)
    @given(of_type(kind))
    def collect(value):
        found.append(encode(value))

    collect()
    return found


def assert_sound(value, hint, key=None):
    """A value has its hint's type all the way down, and keeps the bounds of its field."""
    if hint in (NodeId, JobId):
        assert type(value) is str
        assert (kinds.NODE_ID if hint is NodeId else kinds.JOB_ID).fullmatch(value), key
        return
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        assert type(value) is tuple
        inner = [arguments[0]] * len(value) if arguments[-1] is Ellipsis else arguments
        assert len(value) == len(inner) <= kinds.LENGTHS.get(key, kinds.ITEMS), key
        for entry, wanted in zip(value, inner, strict=True):
            assert_sound(entry, wanted, key)
    elif origin in (types.UnionType, typing.Union):
        if value is not None:
            assert_sound(value, next(a for a in arguments if a is not types.NoneType), key)
    elif dataclasses.is_dataclass(hint):
        assert type(value) is hint
        for name, wanted in typing.get_type_hints(hint).items():
            assert_sound(getattr(value, name), wanted, (hint, name))
    else:
        assert type(value) is hint, key
        if hint is int:
            least, most = kinds.BOUNDS.get(key, kinds.INTEGERS)
            assert least <= value <= most, key
        elif hint is float:
            assert math.isfinite(value) or key in kinds.NOT_FINITE, key
        elif hint is str:
            assert len(value) <= kinds.LENGTHS.get(key, kinds.TEXT_BYTES), key
