"""A program as bytes: a msgpack document, read with every limit and field by field.

``load(dump(program)) == program``. A document is a map with the fields of ``Program``; smaller
things are lists of their fields in order. An argument is a number, a string, ``nil``, a list, ``{"ref": name}`` or
``{"kind": ..., "text": ...}``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import msgpack

from edged.compute.operations import SCALAR_OPERATIONS, overload
from edged.compute.program import Argument, InputSpec, Named, Operation, Program, Ref, StateSpec
from edged.compute.tensors import DTYPES
from edged.compute.validation import check_structure
from edged.core.parcels import PROGRAM_BYTES
from edged.errors import ProgramRefusedError

VERSION: Final = 1
"""Number of the form; another one is refused."""
MAX_ITEMS: Final = 200_000
"""Most operations, state entries, or items of any list."""
MAX_ARGUMENTS: Final = 64
"""Most arguments of an operation; no overload of ATen takes half as many."""
MAX_TEXT: Final = 1_000
"""Longest name or string, in characters."""
MAX_DEPTH: Final = 4
"""Deepest nesting of lists in an argument."""
MAX_RANK: Final = 16
"""Most dimensions of a tensor."""
_INTEGER: Final = 2**63

_WORDS: Final = {
    "dtype": frozenset(DTYPES),
    "device": frozenset({"node"}),
    "memory_format": frozenset({"contiguous_format", "channels_last", "channels_last_3d", "preserve_format"}),
    "layout": frozenset({"strided"}),
}
T = TypeVar("T")


def dump(program: Program) -> bytes:
    """The program as bytes; equal programs give equal bytes."""
    document = {
        "version": VERSION,
        "inputs": [[s.name, s.dtype, s.shape] for s in program.inputs],
        "state": [
            [s.name, s.dtype, s.shape, s.strides, s.parameter, s.requires_grad, s.persistent, s.aliases]
            for s in program.state
        ],
        "operations": [_dump_operation(operation) for operation in program.operations],
        "layers": program.layers,
        "loss": program.loss,
        "metrics": program.metrics,
        "fixed_batch": program.fixed_batch,
        "evaluates": program.evaluates,
    }
    return bytes(msgpack.packb(document))


def load(data: bytes | memoryview) -> Program:
    """Read a program that a peer sent.

    Everything that can be checked without computing is: limits, types, names, allowed operations, definition before
    use, layers that cover all operations. Shapes are ``check.check_program``'s part. Raises ``ProgramRefusedError``.
    """
    if len(data) > PROGRAM_BYTES:
        raise ProgramRefusedError(f"the program has {len(data)} bytes, more than {PROGRAM_BYTES}")
    try:
        document = msgpack.unpackb(
            data,
            ext_hook=_refuse_extension,
            strict_map_key=True,
            max_str_len=4 * MAX_TEXT,
            max_bin_len=0,
            max_ext_len=0,
            max_array_len=MAX_ITEMS,
            max_map_len=16,
        )
    except (ValueError, RecursionError, msgpack.UnpackException) as error:
        raise ProgramRefusedError(f"the program is not a valid document: {error}") from error
    fields: dict[str, Callable[[Any], Any]] = {
        "version": _integer, "inputs": _list(_input), "state": _list(_state), "operations": _list(_operation),
        "layers": _list(_layer), "loss": _text, "metrics": _list(_metric), "fixed_batch": _integer, "evaluates": _truth,
    }  # fmt: skip
    if not isinstance(document, dict) or set(document) != set(fields):
        raise ProgramRefusedError(f"a program has the fields {', '.join(fields)}")
    if document["version"] != VERSION:
        raise ProgramRefusedError(f"the program has form {_short(document['version'])}; this node reads form {VERSION}")
    values = {name: read(document[name]) for name, read in fields.items() if name != "version"}
    program = Program(**values)
    check_structure(program)
    return program


def _dump_operation(operation: Operation) -> list[Any]:
    return [
        operation.name,
        [_dump_argument(argument) for argument in operation.arguments],
        [[key, _dump_argument(argument)] for key, argument in operation.keywords],
        operation.outputs,
        operation.random,
        operation.gradient,
        operation.evaluation_only,
        [[key, _dump_argument(argument)] for key, argument in operation.flip],
        operation.autocast,
    ]


def _dump_argument(argument: Argument) -> Any:
    if isinstance(argument, Ref):
        return {"ref": argument.name}
    if isinstance(argument, Named):
        return {"kind": argument.kind, "text": argument.text}
    if isinstance(argument, tuple):
        return [_dump_argument(item) for item in argument]
    return argument


def _refuse_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"extension type {code} of {len(data)} bytes")


def _integer(value: Any) -> int:
    if type(value) is not int or not -_INTEGER <= value < _INTEGER:
        raise ProgramRefusedError(f"expected an integer of 64 bits, got {_short(value)}")
    return value


def _truth(value: Any) -> bool:
    if type(value) is not bool:
        raise ProgramRefusedError(f"expected true or false, got {_short(value)}")
    return value


def _text(value: Any) -> str:
    if type(value) is not str or len(value) > MAX_TEXT:
        raise ProgramRefusedError(f"expected a string of at most {MAX_TEXT} characters, got {_short(value)}")
    return value


def _list(read: Callable[[Any], T], most: int = MAX_ITEMS) -> Callable[[Any], tuple[T, ...]]:
    def read_all(value: Any) -> tuple[T, ...]:
        if type(value) is not list or len(value) > most:
            raise ProgramRefusedError(f"expected a list of at most {most} items, got {_short(value)}")
        return tuple(read(item) for item in value)

    return read_all


def _record(value: Any, *readers: Callable[[Any], Any]) -> tuple[Any, ...]:
    if type(value) is not list or len(value) != len(readers):
        raise ProgramRefusedError(f"expected a list of {len(readers)} fields, got {_short(value)}")
    return tuple(read(item) for read, item in zip(readers, value, strict=True))


def _dtype(value: Any) -> str:
    if _text(value) not in DTYPES:
        raise ProgramRefusedError(f"no tensor of type {value} can be sent")
    return str(value)


def _size(value: Any) -> int:
    if _integer(value) < 0:
        raise ProgramRefusedError(f"expected a size, got {value}")
    return int(value)


_sizes = _list(_size, MAX_RANK)


def _input(value: Any) -> InputSpec:
    return InputSpec(*_record(value, _text, _dtype, _sizes))


def _state(value: Any) -> StateSpec:
    return StateSpec(*_record(value, _text, _dtype, _sizes, _sizes, _truth, _truth, _truth, _list(_text)))


def _layer(value: Any) -> tuple[int, int]:
    start, stop = _record(value, _integer, _integer)
    return start, stop


def _metric(value: Any) -> tuple[str, str]:
    name, source = _record(value, _text, _text)
    return name, source


def _operation(value: Any) -> Operation:
    operation = Operation(
        *_record(
            value,
            _text,
            _list(_argument, MAX_ARGUMENTS),
            _list(_keyword, MAX_ARGUMENTS),
            _list(_text),
            _truth,
            _truth,
            _truth,
            _list(_change, MAX_ARGUMENTS),
            _text,
        )
    )
    if operation.name not in SCALAR_OPERATIONS:
        overload(operation.name)
    if operation.autocast not in {"", "bfloat16", "float16"}:
        raise ProgramRefusedError(f"no autocast to {_short(operation.autocast)}")
    return operation


def _keyword(value: Any) -> tuple[str, Argument]:
    key, argument = _record(value, _text, _argument)
    return key, argument


def _change(value: Any) -> tuple[int | str, Argument]:
    key, argument = _record(value, lambda key: _text(key) if type(key) is str else _size(key), _argument)
    if not isinstance(argument, bool | int | float | Ref):
        raise ProgramRefusedError(f"evaluation changes numbers and values only, got {_short(value)}")
    return key, argument


def _argument(value: Any, depth: int = 0) -> Argument:
    if value is None or type(value) in {bool, float}:
        return value  # type: ignore[no-any-return] # narrowed by the line above
    if type(value) is int:
        return _integer(value)
    if type(value) is str:
        return _text(value)
    if type(value) is list and depth < MAX_DEPTH:
        return tuple(_argument(item, depth + 1) for item in value)
    if type(value) is dict and set(value) == {"ref"}:
        return Ref(_text(value["ref"]))
    if type(value) is dict and set(value) == {"kind", "text"}:
        return _named(_text(value["kind"]), _text(value["text"]))
    raise ProgramRefusedError(f"not an argument: {_short(value)}")


def _named(kind: str, text: str) -> Named:
    if text not in _WORDS.get(kind, ()):
        raise ProgramRefusedError(f"no {_short(kind)} is called {_short(text)}")
    return Named(kind, text)


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, list | dict) else f"{type(value).__name__} of {len(value)}"
    return text if len(text) <= 80 else text[:77] + "..."  # noqa: PLR2004 -- one line of a terminal
