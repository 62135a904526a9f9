"""The interpreter runs operations as told: references, regions, seeds, freeing, evaluation."""

import weakref
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from edged.compute.interpreter import Interpreter, Seeds, constant, flipped, resolve
from edged.compute.layers import uses
from edged.compute.program import Named, Operation, Program, Ref
from edged.compute.seeding import mix, work_seed
from edged.errors import ProgramRefusedError

CPU = torch.device("cpu")
DOUBLES = (("dtype", Named("dtype", "float64")), ("device", Named("device", "node")))
CONTIGUOUS = (("memory_format", Named("memory_format", "contiguous_format")),)


def op(name: str, *arguments, out=("y",), **fields) -> Operation:
    plain = {"keywords": (), "random": False, "gradient": True, "evaluation_only": False, "flip": (), "autocast": ""}
    return Operation(name, arguments, outputs=tuple(out), **{**plain, **fields})


def run(*operations: Operation, wanted=("y",), values=None, **options):
    program = Program((), (), operations, ((0, len(operations)),), "y", (), 0, True)
    return Interpreter(program, CPU, 0, len(operations), wanted).run(dict(values or {}), **options)


X = torch.arange(6.0).reshape(2, 3)


def test_references_constants_and_keywords_are_filled_in() -> None:
    operations = [
        op("aten.sym_size.int", Ref("x"), 0, out=["n"]),
        op("_operator.mul", Ref("n"), 3, out=["m"]),
        op("aten.full.default", (Ref("n"), 3), 2, out=["twos"], keywords=DOUBLES),
        op("aten.cat.default", (Ref("x"), Ref("twos")), 1, out=["both"]),
        op("aten.add.Tensor", Ref("both"), Ref("both"), keywords=(("alpha", Ref("m")),)),
    ]  # fmt: skip
    found = run(*operations, values={"x": X})["y"]
    assert torch.equal(found, torch.cat((X, torch.full((2, 3), 2.0)), 1).double() * 7)


def test_several_results_and_results_that_nobody_uses() -> None:
    operations = [
        op("aten.split.Tensor", Ref("x"), 1, 1, out=["a", "", "c"]),
        op("aten.max.dim", Ref("x"), 1, out=["", "where"]),
        op("aten.sub.Tensor", Ref("c"), Ref("a")),
    ]
    found = run(*operations, wanted=("y", "where", "absent"), values={"x": X})
    assert torch.equal(found["y"], torch.full((2, 1), 2.0))
    assert torch.equal(found["where"], torch.tensor([2, 2]))
    assert "absent" not in found


def test_a_list_of_one_result_is_still_a_list() -> None:
    found = run(op("aten.split.Tensor", Ref("x"), 2, 0), values={"x": X})
    assert torch.equal(found["y"], X)


def test_values_are_let_go_after_their_last_use() -> None:
    seen: list[bool] = []
    big = torch.zeros(10)
    alive = weakref.ref(big)
    values = {"x": big}
    program = Program((), (), (
        op("aten.neg.default", Ref("x"), out=["a"]),
        op("aten.neg.default", Ref("a"), out=["unused"]),
        op("aten.neg.default", Ref("a")),
    ), ((0, 3),), "y", (), 0, True)  # fmt: skip
    del big
    Interpreter(program, CPU, 0, 3, ["y"]).run(values)
    seen.append(alive() is None)
    assert seen == [True]
    assert list(values) == ["y"]


def test_a_random_operation_draws_by_what_it_is() -> None:
    dropout = op("aten.dropout.default", Ref("x"), 0.5, True, random=True)
    values = {"x": torch.ones(1000)}
    seeds = Seeds(1, 2, 3)
    found = run(dropout, values=values, seeds=seeds)["y"]
    torch.manual_seed(12)
    assert torch.equal(run(dropout, values=values, seeds=seeds)["y"], found)
    torch.default_generator.manual_seed(mix(work_seed(1, 2, 3), 0))
    assert torch.equal(functional.dropout(values["x"], 0.5), found)
    for other in (Seeds(0, 2, 3), Seeds(1, 0, 3), Seeds(1, 2, 0)):
        assert not torch.equal(run(dropout, values=values, seeds=other)["y"], found)
    shifted = run(op("aten.neg.default", Ref("x"), out=["z"]), dropout, values=values, seeds=seeds)["y"]
    assert not torch.equal(shifted, found)


def test_without_seeds_the_generator_is_drawn_from_in_turn() -> None:
    dropout = op("aten.dropout.default", Ref("x"), 0.5, True, random=True)
    torch.manual_seed(5)
    found = [run(dropout, values={"x": torch.ones(100)})["y"] for _ in range(2)]
    torch.manual_seed(5)
    assert all(torch.equal(one, functional.dropout(torch.ones(100), 0.5)) for one in found)


def test_evaluation_applies_flips_and_runs_what_is_its_own() -> None:
    operations = [
        op("aten.dropout.default", Ref("x"), 0.5, True, random=True, flip=((2, False),)),
        op("aten.clone.default", Ref("x"), out=["k"], keywords=(("memory_format", None),), flip=CONTIGUOUS),
        op("aten.neg.default", Ref("y"), out=["metric"], evaluation_only=True),
    ]  # fmt: skip
    wanted = ("y", "metric")
    assert run(*operations, wanted=wanted, values={"x": X}, evaluate=True)["metric"].equal(-X)
    assert "metric" not in run(*operations, wanted=wanted, values={"x": X})
    assert flipped(operations[1]).keywords == CONTIGUOUS
    assert flipped(operations[2]) is operations[2]


def test_regions_switch_gradients_and_autocast_and_back() -> None:
    weight = torch.randn(3, 3, requires_grad=True)
    operations = [
        op("aten.mm.default", Ref("x"), Ref("w"), out=["a"]),
        op("aten.mm.default", Ref("a"), Ref("w"), out=["b"], gradient=False),
        op("aten.mm.default", Ref("a"), Ref("w"), out=["c"], autocast="bfloat16"),
        op("aten.mm.default", Ref("a"), Ref("w"), out=["d"]),
    ]
    found = run(*operations, wanted="abcd", values={"x": X, "w": weight})
    assert [found[name].requires_grad for name in "abcd"] == [True, False, True, True]
    assert [found[name].dtype for name in "abcd"] == [torch.float32, torch.float32, torch.bfloat16, torch.float32]
    with torch.no_grad():
        found = run(*operations, wanted="abcd", values={"x": X, "w": weight})
        assert not any(found[name].requires_grad for name in "abcd")
    assert torch.is_grad_enabled()


def test_a_failure_leaves_the_modes_as_they_were() -> None:
    bad = op("aten.mm.default", Ref("x"), Ref("x"), gradient=False, autocast="bfloat16")
    with pytest.raises(RuntimeError):
        run(bad, values={"x": X})
    assert torch.is_grad_enabled()
    assert not torch.is_autocast_enabled("cpu")


def test_timings_add_up_by_operation() -> None:
    timings = {0: 1.0}
    run(op("aten.neg.default", Ref("x")), values={"x": X}, timings=timings)
    assert list(timings) == [0]
    assert timings[0] > 1.0


@pytest.mark.parametrize(
    "name",
    [
        "aten.relu",
        "aten.nothing.default",
        "os.system",
        "aten.relu.none",
        "_operator.attrgetter",
        "",
        "aten.__class__.mro",
    ],
)
def test_names_that_torch_does_not_know_are_refused(name: str) -> None:
    with pytest.raises(ProgramRefusedError):
        resolve(name)


@pytest.mark.parametrize("named", [Named("dtype", "load"), Named("layout", "float32"), Named("module", "os")])
def test_constants_of_another_kind_are_refused(named: Named) -> None:
    with pytest.raises(ProgramRefusedError):
        constant(named, CPU)


def test_references_are_found_at_any_depth() -> None:
    deep = op("aten.index.Tensor", Ref("x"), (None, (Ref("i"), Ref("x"))), keywords=(("k", Ref("z")),))
    assert list(uses(deep)) == ["x", "i", "x", "z"]
    assert not list(uses(replace(deep, arguments=(), keywords=())))
