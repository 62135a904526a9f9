"""The allow-list and what is known of single operations."""

from __future__ import annotations

import pytest

from edged.compute.operations import ALLOWED, flip_of, is_allowed, is_random, overload, twin, written
from edged.compute.program import Operation, Ref
from edged.errors import ProgramRefusedError


def call(name: str, *arguments: object) -> Operation:
    return Operation(
        name,
        arguments,
        (),
        ("out",),
        random=False,
        gradient=True,
        evaluation_only=False,
        flip=(),  # type: ignore[arg-type]
    )


FORBIDDEN = [
    "aten.from_file.default",
    "aten.set_.source_Storage",
    "aten.resize_.default",
    "aten.as_strided.default",
    "aten.empty.memory_format",
    "aten.new_empty_strided.default",
    "aten.add.out",
    "aten.nonzero.default",
    "aten.save.default",
    "aten.item.default",
    "aten._local_scalar_dense.default",
    "aten.add.__class__",
    "aten.add.",
    "aten.add",
    "aten..default",
    "prim.Print.default",
    "_operator.getitem",
    "_operator.pow",
    "os.system",
    "",
]


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_could_harm_a_node_is_not_allowed(name: str) -> None:
    assert not is_allowed(name)
    with pytest.raises(ProgramRefusedError):
        overload(name)


def test_every_allowed_name_exists_in_this_torch() -> None:
    import torch

    assert not [name for name in ALLOWED if not hasattr(torch.ops.aten, name)]


@pytest.mark.parametrize(
    ("name", "arguments", "keywords", "draws"),
    [
        ("aten.dropout.default", (Ref("x"), 0.5, True), {}, True),
        ("aten.dropout_.default", (Ref("x"), 0.5, True), {}, True),
        ("aten.bernoulli.default", (Ref("x"),), {}, True),
        ("aten.rand_like.default", (Ref("x"),), {}, True),
        ("aten.dropout.default", (Ref("x"), 0.0, True), {}, False),
        ("aten.dropout.default", (Ref("x"), 0.5, False), {}, False),
        ("aten.lstm.input", (Ref("x"), (), (), True, 2, 0.1, True, False, True), {}, True),
        ("aten.lstm.input", (Ref("x"), (), (), True, 2, 0.0, True, False, True), {}, False),
        ("aten.scaled_dot_product_attention.default", (Ref("q"), Ref("k"), Ref("v"), None, 0.1), {}, True),
        ("aten.scaled_dot_product_attention.default", (Ref("q"), Ref("k"), Ref("v")), {"dropout_p": 0.1}, True),
        ("aten.scaled_dot_product_attention.default", (Ref("q"), Ref("k"), Ref("v"), None, 0.0), {}, False),
        ("aten.scaled_dot_product_attention.default", (Ref("q"), Ref("k"), Ref("v")), {}, False),
        ("aten.relu.default", (Ref("x"),), {}, False),
        ("_operator.add", (1, 2), {}, False),
    ],
)
def test_operations_that_draw_are_known(name: str, arguments: tuple, keywords: dict, draws: bool) -> None:
    assert is_random(name, arguments, keywords) is draws


@pytest.mark.parametrize(
    ("name", "arguments", "keywords", "flip"),
    [
        ("aten.batch_norm.default", (*map(Ref, "abcde"), True, 0.1, 1e-5, False), {}, ((5, False),)),
        ("aten.batch_norm.default", (*map(Ref, "abcde"), False, 0.1, 1e-5, False), {}, ()),
        ("aten.dropout.default", (Ref("x"), 0.5, True), {}, ((2, False),)),
        ("aten.dropout_.default", (Ref("x"), 0.5, True), {}, ((2, False),)),
        ("aten.scaled_dot_product_attention.default", (*map(Ref, "qkv"), None, 0.1), {}, ((4, 0.0),)),
        ("aten.scaled_dot_product_attention.default", (*map(Ref, "qkv"),), {"dropout_p": 0.1}, (("dropout_p", 0.0),)),
        ("aten.lstm.input", (Ref("x"), (), (), True, 2, 0.1, True, False, True), {}, ((6, False),)),
        ("aten.instance_norm.default", (Ref("x"), None, None, None, None, True, 0.1, 1e-5, False), {}, ()),
        ("aten.instance_norm.default", (*map(Ref, "abcde"), True, 0.1, 1e-5, False), {}, ((5, False),)),
        ("aten.relu.default", (Ref("x"),), {}, ()),
    ],
)
def test_evaluation_changes_the_training_flags_alone(name: str, arguments: tuple, keywords: dict, flip: tuple) -> None:
    assert flip_of(name, arguments, keywords) == flip


def test_writes_are_known_from_the_schema_and_for_norms() -> None:
    assert written(call("aten.add_.Tensor", Ref("x"), 1)) == ("x",)
    assert written(call("aten.add.Tensor", Ref("x"), 1)) == ()
    norm = call("aten.batch_norm.default", *map(Ref, "abcde"), True, 0.1, 1e-5, False)
    assert written(norm) == ("d", "e")
    still = call("aten.batch_norm.default", *map(Ref, "abcde"), False, 0.1, 1e-5, False)
    assert written(still) == ()
    assert written(call("_operator.add", 1, 2)) == ()


def test_twins_of_operations_in_place() -> None:
    assert twin("aten.hardtanh_.default") == "aten.hardtanh.default"
    assert twin("aten.add_.Tensor") == "aten.add.Tensor"
    assert twin("aten.__and__.Tensor") == ""
    assert twin("aten.copy_.default") == ""
    assert twin("aten.relu.default") == ""
    assert twin("_operator.add") == ""
