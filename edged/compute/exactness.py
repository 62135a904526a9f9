"""Where a program must not be cut, because the parts would compute other bits than the whole.

What crosses a border arrives as a tensor of its own, and its gradient comes back as one sum:

- Memory that is changed in place behind a border would be torn from its other names before it.
- One tensor under two names (``contiguous`` of what is contiguous, the result of a change in place) arrives as two. In
  one graph autograd adds up the gradients of all its uses, the latest first; behind a border those of each name are
  added up apart, and the sum of two sums has other last bits.
- The views of memory that was changed in place enter autograd's order when they are next used, not when they were made.
- A tensor that overlaps itself arrives without overlap, so with other strides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from edged.compute.layers import uses
from edged.compute.operations import written
from edged.compute.program import Operation, Program, Ref
from edged.compute.tensors import overlaps
from edged.compute.values import Values

_Numbered = Sequence[tuple[int, Operation]]


def forbidden(program: Program, values: Values) -> set[int]:
    """Borders, each named by the operation behind it, at which the program must stay whole."""
    everything = list(enumerate(program.operations))
    trained = [(index, operation) for index, operation in everything if not operation.evaluation_only]
    barred = _torn(program, values)
    for name, borders in _crossed(everything, program.loss).items():
        if overlaps(values[name].shape, values[name].strides):
            barred.update(borders)
    wanting = {name: borders for name, borders in _crossed(trained, program.loss).items() if values[name].requires_grad}
    return barred | _doubled(trained, values, wanting) | _changed(trained, values, wanting)


def _torn(program: Program, values: Values) -> set[int]:
    """Borders with memory that is used on both sides and changed behind, or that is state (or an input) and changed."""
    given = [spec.name for spec in program.state] + [spec.name for spec in program.inputs]
    fixed = {values[name].storage for name in given}
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    changed: dict[int, int] = {}
    for index, operation in enumerate(program.operations):
        for name in (*uses(operation), *(name for name in operation.outputs if name)):
            if name in values and not values[name].scalar:
                first.setdefault(values[name].storage, index)
                last[values[name].storage] = index
        for name in written(operation):
            changed[values[name].storage] = index
    barred: set[int] = set()
    for storage, change in changed.items():
        end = last[storage] if storage in fixed else change
        barred.update(range(first[storage] + 1, end + 1))
    return barred


def _doubled(operations: _Numbered, values: Values, wanting: dict[str, range]) -> set[int]:
    """Borders that one tensor crosses under several names.

    Whether ``contiguous`` gives its argument itself may hang on the size of the micro-batch: it is taken to do so.
    """
    same: dict[int, int] = {}
    for _, operation in operations:
        source = operation.arguments[0] if operation.name == "aten.contiguous.default" else None
        if isinstance(source, Ref):
            number = values[source.name].tensor
            same[values[operation.outputs[0]].tensor] = same.get(number, number)
    groups: dict[int, list[range]] = {}
    for name, borders in wanting.items():
        number = values[name].tensor
        groups.setdefault(same.get(number, number), []).append(borders)
    return {border for group in groups.values() for border in _shared(group)}


def _changed(operations: _Numbered, values: Values, wanting: dict[str, range]) -> set[int]:
    """Borders that memory crosses under several names which was changed in place before."""
    first: dict[int, int] = {}
    for index, operation in operations:
        for name in written(operation):
            first.setdefault(values[name].storage, index)
    barred: set[int] = set()
    for storage, change in first.items():
        names = [borders for name, borders in wanting.items() if values[name].storage == storage]
        barred.update(border for border in _shared(names) if border > change)
    return barred


def _shared(ranges: Iterable[range]) -> set[int]:
    """Numbers that lie in more than one of the ranges."""
    counts = Counter(number for numbers in ranges for number in numbers)
    return {number for number, count in counts.items() if count > 1}


def _crossed(operations: _Numbered, loss: str) -> dict[str, range]:
    """For each value, the borders between its making (of what is given: its first use) and its last use."""
    first: dict[str, int] = {}
    last: dict[str, int] = {}
    for index, operation in operations:
        for name in (*uses(operation), *filter(None, operation.outputs)):
            first.setdefault(name, index)
            last[name] = index
    last[loss] = operations[-1][0]
    return {name: range(index + 1, last[name] + 1) for name, index in first.items()}
