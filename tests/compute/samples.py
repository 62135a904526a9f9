"""Small programs made by hand, and captured models kept for the length of the test run."""

from __future__ import annotations

from functools import cache
from typing import Any

from edged.compute.capture import Captured, capture
from edged.compute.program import Argument, InputSpec, Operation, Program, Ref, StateSpec
from tests.compute.models import CASES, DROPOUT_CASES

SIZE = 4
"""Samples in the example batches."""


@cache
def captured(name: str) -> Captured:
    """The model ``name`` of ``CASES``, or of ``DROPOUT_CASES`` for ``dropout/name``, captured once."""
    case = DROPOUT_CASES[name.removeprefix("dropout/")] if name.startswith("dropout/") else CASES[name]
    return capture(case.build(), case.objective, case.batch(SIZE, 1), case.metrics)


def op(name: str, *arguments: Argument, out: str | tuple[str, ...], **fields: Any) -> Operation:
    """An operation; ``out`` is its output's name or all their names."""
    outputs = (out,) if isinstance(out, str) else out
    plain: dict[str, Any] = {
        "keywords": (), "random": False, "gradient": True, "evaluation_only": False, "flip": (),
    }  # fmt: skip
    return Operation(name=name, arguments=arguments, outputs=outputs, **{**plain, **fields})


def program(*operations: Operation, loss: str = "loss", **fields: Any) -> Program:
    """A program of one layer over the input ``x`` (4, 3), the weight ``w`` (3, 3) and the buffer ``b`` (3)."""
    plain: dict[str, Any] = {
        "inputs": (InputSpec("x", "float32", (SIZE, 3)),),
        "state": (
            StateSpec("w", "float32", (3, 3), (3, 1), True, True, True, ()),
            StateSpec("b", "float32", (3,), (1,), False, False, True, ()),
        ),
        "layers": ((0, len(operations)),), "metrics": (), "fixed_batch": 0, "evaluates": True,
    }  # fmt: skip
    return Program(operations=operations, loss=loss, **{**plain, **fields})


def linear_program() -> Program:
    """mean(relu(x @ w)), and its largest element as a metric."""
    return program(
        op("aten.matmul.default", Ref("x"), Ref("w"), out="h"),
        op("aten.relu.default", Ref("h"), out="r"),
        op("aten.mean.default", Ref("r"), out="loss"),
        op("aten.max.default", Ref("r"), out="top", evaluation_only=True),
        metrics=(("top", "top"),),
        layers=((0, 1), (1, 4)),
    )
