"""What a run of layers takes, gives and owns: the values that cross its two borders.

::

                 receives                         sends
    layers ... ───────────> [first .. last] ───────────> ... layers
                              ^         ^
                          inputs      state

A border stands between two neighbouring layers. What crosses it are the values made before it and used after it. A
program's inputs never cross: the source sends each to every hop that uses it. State belongs to the layer that uses it
first; used again behind a border (a tied weight, a shared buffer) it crosses like any value.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from edged.compute.operations import written
from edged.compute.program import Argument, Operation, Program, Ref
from edged.compute.values import Values, ValueSpec


@dataclass(frozen=True, slots=True)
class Crossing:
    """One value that crosses a border.

    ``spec``: its kind, dtype, shape and bytes for the micro-batch that the ``Values`` were made for; ``spec.scalar``
    values travel in the header. ``gradient``: it needs a gradient sent back in training. ``per_step``: it is state
    (a tied parameter, a shared buffer), so it is the same for all micro-batches of a (version, phase) and travels with
    the first alone; its gradient, if it wants one, still comes back with every micro-batch. ``evaluation_only``: nobody
    behind the border uses it in training.
    """

    name: str
    spec: ValueSpec
    gradient: bool
    per_step: bool
    evaluation_only: bool


@dataclass(frozen=True, slots=True)
class StageInterface:
    """All that the layers ``first_layer`` to ``last_layer`` (inclusive) exchange with the rest of the world.

    ``start`` and ``stop``: their operations, a half-open range. ``receives``: what crosses the border before them, for
    their own use or only to be passed on; empty for layer 0. ``sends``: what crosses the border behind them; a value
    with a name that ``receives`` has too is passed on. Both are in the order of ``Program.state``, then of operations,
    so the ``sends`` of a hop equal the ``receives`` of the next one. ``inputs``: names of the program's inputs that
    their own operations use. ``state``: names of the state that they own, in the program's order. ``changing``: those
    that a training forward changes and uses otherwise as well, so that its graph may hold them. ``written``: all that
    it changes.
    """

    first_layer: int
    last_layer: int
    start: int
    stop: int
    receives: tuple[Crossing, ...]
    sends: tuple[Crossing, ...]
    inputs: tuple[str, ...]
    state: tuple[str, ...]
    changing: tuple[str, ...]
    written: tuple[str, ...]


def interface(program: Program, values: Values, first_layer: int, last_layer: int) -> StageInterface:
    """Say what a stage takes, gives and owns.

    ``values`` come from ``check.check_program(program, micro_batch_size)`` and decide the shapes and bytes alone: the
    names are the same for every size.
    """
    start, stop = program.layers[first_layer][0], program.layers[last_layer][1]
    used = {name for operation in program.operations[start:stop] for name in uses(operation)}
    state = owned_state(program, start, stop)
    return StageInterface(
        first_layer,
        last_layer,
        start,
        stop,
        crossings(program, values, start),
        crossings(program, values, stop),
        tuple(spec.name for spec in program.inputs if spec.name in used),
        state,
        *_changed(program.operations[start:stop], values, state),
    )


def _changed(
    operations: Iterable[Operation], values: Values, state: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names in ``state`` whose memory training changes in place: those that are taken otherwise as well, and all.

    Running statistics of a norm, which only the norm itself takes, are not among the first: backward reads none.
    """
    changed: set[int] = set()
    taken: set[int] = set()
    for operation in operations:
        if not operation.evaluation_only:
            targets = written(operation)
            changed |= {values[name].storage for name in targets}
            taken |= {values[name].storage for name in uses(operation) if name not in targets}
    names = tuple(name for name in state if values[name].storage in changed)
    return tuple(name for name in names if values[name].storage in taken), names


def crossings(program: Program, values: Values, border: int) -> tuple[Crossing, ...]:
    """Values made before operation number ``border`` and used at it or later: state first, then in order of making.

    State counts as made where it is first used. Nothing crosses at 0 and at the end.
    """
    if border <= 0:
        return ()
    before, after = program.operations[:border], program.operations[border:]
    wanted = {name for operation in after for name in uses(operation)}
    wanted |= {program.loss, *(value for _, value in program.metrics)} if after else set()
    trained = {name for operation in after if not operation.evaluation_only for name in uses(operation)}
    trained |= {program.loss} if after else set()
    touched = {name for operation in before for name in uses(operation)}
    state = [spec.name for spec in program.state if spec.name in touched & wanted]
    made = [name for operation in before for name in operation.outputs if name in wanted]
    return tuple(
        Crossing(
            name,
            values[name],
            gradient=values[name].requires_grad and name in trained,
            per_step=position < len(state),
            evaluation_only=name not in trained,
        )
        for position, name in enumerate(state + made)
    )


def owned_state(program: Program, start: int, stop: int) -> tuple[str, ...]:
    """Names of the state first used within ``[start, stop)``; what nothing uses belongs to the first operation."""
    first: dict[str, int] = {}
    for index, operation in enumerate(program.operations):
        for name in uses(operation):
            first.setdefault(name, index)
    return tuple(spec.name for spec in program.state if start <= first.get(spec.name, 0) < stop)


def uses(operation: Operation) -> Iterator[str]:
    """Names of the values that an operation takes (one may come several times)."""
    for argument in operation.arguments:
        yield from _refs(argument)
    for _, argument in operation.keywords:
        yield from _refs(argument)


def _refs(argument: Argument) -> Iterator[str]:
    if isinstance(argument, Ref):
        yield argument.name
    elif isinstance(argument, tuple):
        for item in argument:
            yield from _refs(item)
