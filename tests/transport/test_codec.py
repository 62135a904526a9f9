import math
import random

import msgpack
import pytest
from hypothesis import given, settings

from edged.core import messages as m
from edged.core.ids import PROTOCOL_VERSION, JobId, NodeId
from edged.core.job import JobSpec
from edged.core.plan import Hop, Plan, Route
from edged.errors import BrokenInvariantError, MalformedError
from edged.transport import kinds
from edged.transport.codec import compile_form, decode, encode
from tests.transport.hostile import hostile
from tests.transport.nodes import STAMP, message
from tests.transport.values import ALL, assert_sound, frames_of, of_type


def same(left, right):
    """Equality in which nan equals nan."""
    return repr(left) == repr(right)


def test_every_message_has_exactly_one_number():
    assert sorted(kinds.KINDS.values(), key=lambda kind: kind.__name__) == ALL


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_message_survives_the_wire(kind):
    @settings(max_examples=15, derandomize=True, database=None)
    @given(of_type(kind))
    def round_trip(value):
        got = decode(encode(value))
        assert type(got) is kind
        assert same(got, value)

    round_trip()


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_a_missing_a_further_and_an_exchanged_field_are_refused(kind):
    @settings(max_examples=3, derandomize=True, database=None)
    @given(of_type(kind))
    def refuse(value):
        data = encode(value)
        values = msgpack.unpackb(data[1:])
        for wrong in (values[:-1], [*values, 0], [values[0], *[{}] * (len(values) - 1)]):
            with pytest.raises(MalformedError):
                decode(data[:1] + msgpack.packb(wrong))

    refuse()


def test_ten_thousand_hostile_frames_of_all_kinds_give_sound_messages_or_malformed():
    rng = random.Random(20_000)
    counts = {kind: [0, 0] for kind in ALL}
    for number in range(max(10_000, 250 * len(ALL))):
        kind = ALL[number % len(ALL)]
        good = frames_of(kind)
        data = next(hostile(rng, good, 2 * kinds.FRAME_BYTES))
        try:
            got = decode(data)
        except MalformedError:
            assert data not in good, "a replayed frame is as sound as it was"
            counts[kind][0] += 1
            continue
        assert len(data) <= kinds.FRAME_BYTES
        assert_sound(got, type(got))
        assert same(decode(encode(got)), got)
        counts[kind][1] += 1
    assert all(refused > 50 and passed > 5 for refused, passed in counts.values()), counts


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


def test_the_refusal_of_a_plan_does_not_repeat_all_of_it():
    """It is told to people, and logged, when the member is cut off."""
    route = Route((Hop(NodeId("a" * 16), 0, 0, 1),), (0,))
    values = msgpack.unpackb(encode(m.PlanChosen(Plan(STAMP, "auto", "", 1, 1, (route,), 0.0), spec()))[1:])
    values[1][5] = [[values[1][5][0][0], list(range(1, 60_000))]]
    with pytest.raises(MalformedError, match="each follow one route") as refusal:
        decode(bytes([PROTOCOL_VERSION]) + msgpack.packb(values))
    assert len(str(refusal.value)) < 300


def spec(**changes):
    values = {
        "job": JobId("0" * 12), "name": "n", "source": NodeId("a" * 16), "strategy": "auto", "mode": "sync",
        "program": "", "layers": (), "parameters": 1, "inputs": 1, "samples": 8, "batch_size": 4,
        "micro_batches": 2, "drop_last": True, "epochs": 1, "steps": 2, "eval_samples": 0, "seed": 0, "clips": False,
        "optimizer_copies": 0, "keep_inputs_home": "", "source_slowness": 1.0, "training": "{}",
        "shuffle": True, "replicate_every": 0, "on_nan": "stop",
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
        encode(m.Start(STAMP, "1", 1, (), ""))
    with pytest.raises(BrokenInvariantError, match="no form"):
        compile_form(dict)
    with pytest.raises(BrokenInvariantError, match="no union"):
        compile_form(int | str)
