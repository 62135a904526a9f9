"""Makes a translated program smaller and safe to cut: no dead operations, no changes in place where avoidable."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from edged.compute.layers import uses
from edged.compute.operations import twin, written
from edged.compute.program import Argument, Operation, Program, Ref
from edged.compute.values import Values


def prune(program: Program, training: int) -> Program:
    """Leave out what neither the loss nor a metric needs, and mark what metrics alone need.

    The first ``training`` operations are the objective's. Of those, changes of state stay, and so does every draw from
    the generator: it moves the generator on for the draws after it.
    """
    state = {spec.name for spec in program.state}
    operations = program.operations
    kept = _needed(operations, {program.loss}, state, range(training))
    also = _needed(operations, {program.loss, *(value for _, value in program.metrics)}, state, range(training))
    return replace(
        program,
        operations=tuple(
            replace(operation, evaluation_only=index not in kept)
            for index, operation in enumerate(operations)
            if index in also
        ),
    )


def _needed(operations: Sequence[Operation], roots: set[str], state: set[str], acting: range) -> set[int]:
    """Indices of the operations that the roots need; those in ``acting`` also count for what they do to the state."""
    wanted = set(roots)
    kept: set[int] = set()
    changed = _changes(operations)
    for index in reversed(range(len(operations))):
        operation = operations[index]
        acts = index in acting and (operation.random or bool(changed[index] & state))
        if acts or wanted.intersection(operation.outputs) or changed[index] & wanted:
            kept.add(index)
            wanted.update(uses(operation))
    return kept


def _changes(operations: Sequence[Operation]) -> list[set[str]]:
    """For each operation, names of earlier values that its changes in place may reach through views.

    Any result of an operation may be a view of its first argument: that is enough to keep all that must be kept.
    """
    base: dict[str, str] = {}
    for operation in operations:
        first = next(iter(uses(operation)), None)
        for name in operation.outputs:
            if first is not None:
                base[name] = first
    reached = []
    for operation in operations:
        names: set[str] = set()
        for target in written(operation):
            reach: str | None = target
            while reach is not None and reach not in names:
                names.add(reach)
                reach = base.get(reach)
        reached.append(names)
    return reached


def flip_counters(program: Program) -> Program:
    """Let evaluation add 0 to the counters of batch norms, which add 1 to an integer buffer."""
    counters = {spec.name for spec in program.state if spec.name.endswith("num_batches_tracked")}

    def flipped(operation: Operation) -> Operation:
        if operation.name != "aten.add_.Tensor" or operation.arguments[1:] != (1,):
            return operation
        target = operation.arguments[0]
        counts = isinstance(target, Ref) and target.name in counters
        return replace(operation, flip=((1, 0),)) if counts else operation

    return replace(program, operations=tuple(flipped(operation) for operation in program.operations))


def hold_buffers(program: Program, values: Values) -> Program:
    """Let evaluation leave every buffer as it is: for modules that change their own buffers in training alone.

    A change in place is computed as a new value and copied into the buffer; evaluation copies the buffer to itself.
    """
    state = {values[spec.name].storage for spec in program.state}
    operations: list[Operation] = []
    for operation in program.operations:
        target = operation.arguments[0] if operation.arguments else None
        other = "aten.copy_.default" if operation.name == "aten.copy_.default" else twin(operation.name)
        if (
            not (isinstance(target, Ref) and other and operation.outputs and not operation.flip)
            or values[target.name].storage not in state
        ):
            operations.append(operation)
            continue
        if operation.name != other:
            made = f"{operation.outputs[0]}~new"
            operations.append(replace(operation, name=other, outputs=(made,)))
            operation = replace(operation, name="aten.copy_.default", arguments=(target, Ref(made)), keywords=())  # noqa: PLW2901 -- what is left of it
        operations.append(replace(operation, random=False, flip=((1, target),)))
    return replace(program, operations=tuple(operations), layers=((0, len(operations)),))


def replace_in_place(program: Program, check: Callable[[Program], Values]) -> tuple[Program, Values]:
    """Rewrite operations that change a value in place to their twins, where nobody could see the difference.

    That is where no other name of the same memory is used later, the memory is not state's, and the twin's result has
    the same type, shape and strides. ``check`` describes a program's values; the rewritten program's are returned too.
    """
    before = check(program)
    refused: set[str] = set()
    while True:
        candidate = _rewritten(program, before, refused)
        if candidate == program:
            return program, before
        after = check(candidate)
        misfits = {
            name
            for operation, new in zip(program.operations, candidate.operations, strict=True)
            if operation.name != new.name
            for name in operation.outputs
            if name in before and _layout(before, name) != _layout(after, name)
        }
        if not misfits:
            return candidate, after
        refused |= misfits


def _layout(values: Values, name: str) -> tuple[str, tuple[int, ...], tuple[int, ...]]:
    spec = values[name]
    return spec.dtype, spec.shape, spec.strides


def _rewritten(program: Program, values: Values, refused: Collection[str]) -> Program:
    operations = list(program.operations)
    state = {values[spec.name].storage for spec in program.state}
    results = {program.loss: program.loss, **{value: value for _, value in program.metrics}}
    made = {spec.name for spec in program.inputs}
    for index, operation in enumerate(operations):
        other = twin(operation.name)
        target = operation.arguments[0] if operation.arguments else None
        if other and isinstance(target, Ref) and operation.outputs and operation.outputs[0] not in refused:
            storage = values[target.name].storage
            later = {name for following in operations[index + 1 :] for name in uses(following)} | set(results.values())
            others = {name for name in made if name != target.name and values[name].storage == storage}
            if storage not in state and not others & later:
                renamed = {target.name: operation.outputs[0]}
                operations[index] = replace(operation, name=other)
                operations[index + 1 :] = [rename(following, renamed) for following in operations[index + 1 :]]
                results = {key: renamed.get(value, value) for key, value in results.items()}
        made.update(name for name in operation.outputs if name in values)
    return replace(
        program,
        operations=tuple(operations),
        loss=results[program.loss],
        metrics=tuple((name, results[value]) for name, value in program.metrics),
    )


def rename(operation: Operation, names: Mapping[str, str]) -> Operation:
    """The operation with other names for the values that it takes."""
    if not any(name in names for name in uses(operation)):
        return operation

    def renamed(argument: Argument) -> Argument:
        if isinstance(argument, Ref):
            return Ref(names.get(argument.name, argument.name))
        if isinstance(argument, tuple):
            return tuple(renamed(item) for item in argument)
        return argument

    return replace(
        operation,
        arguments=tuple(renamed(argument) for argument in operation.arguments),
        keywords=tuple((key, renamed(argument)) for key, argument in operation.keywords),
    )
