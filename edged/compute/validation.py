"""What must hold of a program's structure before anything is computed with it."""

from __future__ import annotations

from edged.compute.layers import uses
from edged.compute.program import Operation, Program, Ref
from edged.compute.tensors import is_dense
from edged.errors import ProgramRefusedError


def check_structure(program: Program) -> None:
    """Raise ``ProgramRefusedError`` unless names are unique and defined before use, and layers cover all operations."""
    defined = _given(program)
    for index, operation in enumerate(program.operations):
        _check_operation(operation, index, defined)
        for name in operation.outputs:
            if name and name in defined:
                raise ProgramRefusedError(f"operation {index} ({operation.name}) defines {name} a second time")
            if name:
                defined[name] = operation.evaluation_only
    _check_results(program, defined)
    _check_layers(program)


def _given(program: Program) -> dict[str, bool]:
    """Names that exist before the first operation, each mapped to "exists in evaluation alone"."""
    names = [spec.name for spec in program.inputs]
    for state in program.state:
        names += [state.name, *state.aliases]
        if len(state.shape) != len(state.strides) or not is_dense(state.shape, state.strides):
            raise ProgramRefusedError(f"{state.name} must lie in one block of memory")
        if state.requires_grad and not (state.parameter and state.dtype.startswith(("float", "bfloat", "complex"))):
            raise ProgramRefusedError(f"{state.name} cannot want a gradient")
    if len(set(names)) != len(names) or "" in names:
        raise ProgramRefusedError("inputs and state need names of their own")
    for spec in program.inputs:
        if not spec.shape or not 0 < spec.shape[0] == program.inputs[0].shape[0]:
            raise ProgramRefusedError("all inputs need the same number of samples in their first dimension")
    if not program.inputs or not program.operations:
        raise ProgramRefusedError("a program needs inputs and operations")
    if program.fixed_batch not in {0, program.inputs[0].shape[0]}:
        raise ProgramRefusedError("a fixed size of the micro-batch is that of the example")
    return dict.fromkeys([*(spec.name for spec in program.inputs), *(spec.name for spec in program.state)], False)


def _check_operation(operation: Operation, index: int, defined: dict[str, bool]) -> None:
    for name in uses(operation):
        if name not in defined:
            raise ProgramRefusedError(f"operation {index} ({operation.name}) uses {name} before it exists")
        if defined[name] and not operation.evaluation_only:
            raise ProgramRefusedError(f"operation {index} ({operation.name}) uses {name}, which training does not make")
    keys = {key for key, _ in operation.keywords}
    for key, argument in operation.flip:
        if isinstance(argument, Ref) and argument not in operation.arguments:
            raise ProgramRefusedError(f"operation {index} ({operation.name}) uses another value in evaluation")
        if not (key in keys if isinstance(key, str) else key < len(operation.arguments)):
            raise ProgramRefusedError(f"operation {index} ({operation.name}) has no argument {key}")


def _check_results(program: Program, defined: dict[str, bool]) -> None:
    if defined.get(program.loss, True):
        raise ProgramRefusedError("the loss is not a value of the program")
    if not program.evaluates and (program.metrics or any(o.evaluation_only for o in program.operations)):
        raise ProgramRefusedError("a program that cannot evaluate has no metrics")
    if len({name for name, _ in program.metrics}) != len(program.metrics):
        raise ProgramRefusedError("metrics need names of their own")
    for name, value in program.metrics:
        if value not in defined:
            raise ProgramRefusedError(f"the metric {name} is not a value of the program")


def _check_layers(program: Program) -> None:
    expected = 0
    for start, stop in program.layers:
        if start != expected or stop <= start:
            raise ProgramRefusedError(f"layers must follow each other: expected {expected}:..., got {start}:{stop}")
        expected = stop
    if expected != len(program.operations):
        raise ProgramRefusedError(f"layers cover {expected} of {len(program.operations)} operations")
