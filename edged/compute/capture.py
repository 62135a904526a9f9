"""Turns a model and its objective into a ``Program``, and proves that both compute the same bits.

::

    model, objective, batch ──trace──> graph ──translate──> operations ──rewrite──> program ──compare──> Captured
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch._dynamo  # noqa: F401 -- torch.export imports it at its first call, where no collector is paused
from torch import Tensor, nn
from torch.export.graph_signature import InputKind
from torch.utils import _pytree as pytree

from edged.compute.borders import choose_layers
from edged.compute.check import check_program
from edged.compute.comparison import Subject, compare_evaluation, compare_training, preserved
from edged.compute.description import dense_copy, describe_batch, describe_state, own_state
from edged.compute.operations import SCALAR_OPERATIONS, is_allowed
from edged.compute.pretrained import pretrained_files
from edged.compute.program import Argument, InputSpec, Program, Ref
from edged.compute.rewriting import flip_counters, hold_buffers, prune, replace_in_place
from edged.compute.structure import kept_state, look
from edged.compute.tracing import Metrics, Objective, Trace, trace
from edged.compute.translation import Translation
from edged.compute.user_code import UserCode
from edged.compute.values import Values
from edged.errors import JobError, ProgramRefusedError


@dataclass(frozen=True)
class Captured:
    """A program and its first state: a copy of the model's, by ``StateSpec.name``, with the program's strides.

    ``values``: what ``check_program`` says of the program, for the example's size of micro-batch.
    ``notes``: sentences for the user about what the program cannot do (another size of micro-batch, evaluation).
    ``pretrained``: see ``pretrained_files``.
    """

    program: Program
    values: Values
    state: dict[str, Tensor]
    notes: tuple[str, ...]
    pretrained: Mapping[str, str]


def capture(model: nn.Module, objective: Objective, batch: Any, metrics: Metrics | None = None) -> Captured:
    """Capture ``objective(model, batch)`` and ``metrics(model, batch)``, and compare them with the module.

    ``batch``: an example micro-batch, a tensor or nested tuples, lists or dicts of tensors with samples in the first
    dimension. The model is traced in training mode and left as it was found. Raises ``JobError``.
    """
    inputs = describe_batch(batch)
    with preserved(model), kept_state(model), UserCode("the model cannot be captured"):
        pretrained = pretrained_files(model)  # before it runs: some models change their config then
        if not model.training:
            model.train()
        names = own_state(model)
        _try_once(model, objective, batch)
        traced = trace(model, objective, batch, metrics)
        program, values, state = _assemble(traced, model, inputs, names)
        subject = Subject(model, objective, metrics, batch, names)
        compare_training(program, state, subject)
        differs = compare_evaluation(program, state, subject)
        held = hold_buffers(program, values) if differs else program
        if held != program and not compare_evaluation(held, state, subject):
            compare_training(held, state, subject)
            program, values, differs = held, check_program(held), ""
    notes = [traced.note] if traced.note else []
    if differs:
        notes.append(f"the model cannot be evaluated during training: {differs}")
        program = _without_evaluation(program)
        values = check_program(program)
    return Captured(replace(program, layers=choose_layers(program, values)), values, state, tuple(notes), pretrained)


def _try_once(model: nn.Module, objective: Objective, batch: Any) -> None:
    """Run the eager model, and refuse what is no loss, and what capture would lose."""
    with preserved(model), UserCode("the objective fails on the example batch"):
        look(model, objective, lambda: _loss(model, objective, batch))


def _loss(model: nn.Module, objective: Objective, batch: Any) -> Tensor:
    loss = objective(model, pytree.tree_map(lambda leaf: leaf.clone(), batch))
    if not isinstance(loss, Tensor):
        raise JobError(f"the objective returns a {type(loss).__name__}; return the loss as a tensor")
    if loss.dim() != 0:
        raise JobError(f"the objective returns shape {tuple(loss.shape)}; return one number, for example loss.mean()")
    if not loss.is_floating_point() or not loss.requires_grad:
        raise JobError(
            "the loss does not depend on any parameter that wants a gradient: no .detach(), .item(), argmax or "
            "torch.no_grad() between the model and the loss"
        )
    return loss


def _assemble(
    traced: Trace, model: nn.Module, inputs: tuple[InputSpec, ...], names: Mapping[str, Tensor]
) -> tuple[Program, Values, dict[str, Tensor]]:
    state = {name: dense_copy(tensor) for name, tensor in names.items()}
    given, constants = _given(traced, model, inputs, names)
    state.update(constants)
    translation = Translation()
    results = translation.graph(traced.exported.graph_module, given)
    operations = translation.operations
    marker = next(i for i, operation in enumerate(operations) if Ref(operation.outputs[0]) == results[0])
    loss = operations[marker].arguments[0]
    del operations[marker]
    if not isinstance(loss, Ref) or not all(isinstance(result, Ref) for result in results):
        raise JobError("the loss and the metrics must be computed from the batch")
    program = Program(
        inputs=inputs,
        state=describe_state(model, names, state),
        operations=tuple(operations),
        layers=((0, len(operations)),),
        loss=loss.name,
        metrics=tuple(zip(traced.metrics, (result.name for result in results[1:]), strict=True)),
        fixed_batch=traced.fixed_batch,
        evaluates=True,
    )
    program = flip_counters(prune(program, marker))
    _check_names(program, translation.lines)
    try:
        program, values = replace_in_place(program, check_program)
    except ProgramRefusedError as error:
        raise JobError(_shape_advice(error, program, translation.lines)) from error
    return replace(program, layers=((0, len(program.operations)),)), values, state


def _given(
    traced: Trace, model: nn.Module, inputs: tuple[InputSpec, ...], names: Mapping[str, Tensor]
) -> tuple[list[Argument], dict[str, Tensor]]:
    """What stands for the graph's placeholders, and the constants among them by name."""
    own = {id(tensor): name for name, tensor in names.items()}
    tensors = {
        f"model.{name}": tensor
        for name, tensor in (
            *model.named_parameters(remove_duplicate=False),
            *model.named_buffers(remove_duplicate=False),
        )
    }
    given: list[Argument] = []
    constants: dict[str, Tensor] = {}
    positions = iter(inputs)
    for spec in traced.exported.graph_signature.input_specs:
        target = str(spec.target)
        if spec.kind is InputKind.USER_INPUT:
            given.append(Ref(next(positions).name))
        elif spec.kind in {InputKind.PARAMETER, InputKind.BUFFER} and target in tensors:
            given.append(Ref(own[id(tensors[target])]))
        elif isinstance(constant := traced.exported.constants.get(target), Tensor):
            if constant.requires_grad:
                raise JobError(
                    f"{target} wants a gradient but is not a parameter of the model: make it an nn.Parameter"
                )
            name = f"constant:{len(constants)}"
            constants[name] = dense_copy(constant)
            given.append(Ref(name))
        else:
            raise JobError(f"the model uses {target}, which is neither a parameter, a buffer nor a tensor")
    return given, constants


def _check_names(program: Program, lines: Mapping[str, str]) -> None:
    constants = {spec.name for spec in program.state if spec.name.startswith("constant:")}
    for operation in program.operations:
        if operation.name not in SCALAR_OPERATIONS and not is_allowed(operation.name):
            name = operation.name.removeprefix("_operator.")
            raise JobError(
                f"{lines[operation.outputs[0]]}: the model uses the operation {name}, which edged does not run on "
                "other devices; write it with plain torch functions on whole tensors, without .item(), .tolist() and "
                "shapes that depend on values"
            )
        target = operation.arguments[0] if operation.arguments else None
        if operation.name.split(".")[1].endswith("_") and isinstance(target, Ref) and target.name in constants:
            line = lines[operation.outputs[0]]
            raise JobError(
                f"{line}: forward changes a tensor that is an ordinary attribute; keep it with register_buffer"
            )


def _shape_advice(error: ProgramRefusedError, program: Program, lines: Mapping[str, str]) -> str:
    """What to tell the user of a model whose operations torch cannot follow without data."""
    if type(error.__cause__).__name__ != "DynamicOutputShapeException":
        return f"the model cannot be captured: {error}"
    number = int(str(error).split()[1])
    return (
        f"{lines[program.operations[number].outputs[0]]}: the shape of a result depends on values (a mask as an index, "
        "for example); use torch.where or multiply by the mask"
    )


def _without_evaluation(program: Program) -> Program:
    operations = tuple(replace(o, flip=()) for o in program.operations if not o.evaluation_only)
    return replace(program, operations=operations, layers=((0, len(operations)),), metrics=(), evaluates=False)
