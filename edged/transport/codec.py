"""Messages as bytes: one byte of protocol version, then a msgpack array ``[kind, field, field, ...]``.

Encoders and decoders are compiled once from the type hints of ``core/messages.py``. Fields are positional, a nested
dataclass is an array in an array. Every field is checked by type and bounds (``kinds.py``) before a message exists;
there are no maps, no extension types, and no depth beyond what the hints say.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable
from enum import IntEnum
from typing import Any, NamedTuple

import msgpack

from edged.core.ids import PROTOCOL_VERSION, JobId, NodeId
from edged.core.job import JobSpec
from edged.core.messages import Message, Parcel, TensorSpec
from edged.errors import BrokenInvariantError, MalformedError
from edged.transport import kinds

Pack = Callable[[Any], Any]
Unpack = Callable[[Any], Any]


class Form(NamedTuple):
    """How a type goes out as plain msgpack values, and how it comes in, checked."""

    pack: Pack
    unpack: Unpack


class Limits(NamedTuple):
    """What a field may hold: ``integers`` inclusive, ``length`` of texts and sequences, infinite floats or not."""

    integers: tuple[int, int]
    length: int | None
    finite: bool


GENERAL = Limits(kinds.INTEGERS, None, finite=True)


def encode(message: Message | Parcel) -> bytes:
    """A message or parcel header as bytes.

    Raises ``BrokenInvariantError`` for one that no peer would accept: that is this node's own fault.
    """
    number = _NUMBERS.get(type(message))
    if number is None:
        raise BrokenInvariantError(f"{type(message).__name__} has no number in transport/kinds.py")
    try:
        data = _VERSION + pack_body([number, *_FORMS[number].pack(message)])
        decode(data)
    except (MalformedError, ValueError, TypeError, OverflowError) as problem:
        raise BrokenInvariantError(f"{type(message).__name__} breaks the wire's bounds: {problem}") from problem
    return data


def decode(data: bytes | memoryview) -> Message | Parcel:
    """The message in a frame. Raises ``MalformedError``, and nothing else, for whatever else is in it."""
    values = unpack_frame(data)
    if not values or type(values[0]) is not int or values[0] not in _FORMS:
        raise MalformedError("unknown kind of message")
    message: Message | Parcel = _FORMS[values[0]].unpack(values[1:])
    return message


def unpack_frame(data: bytes | memoryview) -> list[Any]:
    """The array in a frame of this protocol version, its size and items bounded, its fields not yet checked."""
    view = memoryview(data)
    if not 1 < len(view) <= kinds.FRAME_BYTES:
        raise MalformedError(f"a message of {len(view)} bytes")
    if view[0] != PROTOCOL_VERSION:
        raise MalformedError(f"a message of protocol {view[0]}; this node speaks {PROTOCOL_VERSION}")
    return unpack_body(view[1:])


def pack_body(values: list[Any]) -> bytes:
    """Plain values as a msgpack array."""
    body: bytes = msgpack.packb(values)
    return body


def unpack_body(body: bytes | memoryview) -> list[Any]:
    """A msgpack array as plain values, within the limits. Raises ``MalformedError``."""
    try:
        values = msgpack.unpackb(
            body,
            raw=False,
            use_list=True,
            strict_map_key=True,
            max_array_len=kinds.ITEMS,
            max_map_len=0,
            max_ext_len=0,
            max_str_len=kinds.FRAME_BYTES,
            max_bin_len=kinds.BLOB_BYTES,
        )
    except (ValueError, TypeError, OverflowError, RecursionError, msgpack.UnpackException) as problem:
        raise MalformedError(f"not msgpack within bounds: {type(problem).__name__}") from problem
    if type(values) is not list:
        raise MalformedError("not an array")
    return values


def compile_form(hint: Any, limits: Limits = GENERAL) -> Form:
    """The form of a type hint: the types that the head of ``core/messages.py`` lists, and nothing else."""
    plain = _PLAIN.get(hint)
    if plain is not None:
        return plain(limits)
    origin = typing.get_origin(hint)
    if origin is tuple:
        return _sequence_form(typing.get_args(hint), limits)
    if origin in (typing.Union, types.UnionType):
        return _optional_form(typing.get_args(hint), limits)
    if isinstance(hint, type) and issubclass(hint, IntEnum):
        return _enum_form(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _record_form(hint)
    raise BrokenInvariantError(f"the codec knows no form for {hint}")


def _fail(expected: str, value: object) -> MalformedError:
    return MalformedError(f"expected {expected}, got {type(value).__name__}")


def _same(value: Any) -> Any:
    return value


def _integer_form(limits: Limits) -> Form:
    low, high = limits.integers

    def unpack(value: Any) -> int:
        if type(value) is not int or not low <= value <= high:
            raise _fail(f"an integer from {low} to {high}", value)
        return value

    return Form(_same, unpack)


def _float_form(limits: Limits) -> Form:
    def unpack(value: Any) -> float:
        if type(value) is not float or (limits.finite and not math.isfinite(value)):
            raise _fail("a finite float" if limits.finite else "a float", value)
        return value

    return Form(float, unpack)


def _bool_form(_limits: Limits) -> Form:
    def unpack(value: Any) -> bool:
        if type(value) is not bool:
            raise _fail("a boolean", value)
        return value

    return Form(_same, unpack)


def _text_form(limits: Limits) -> Form:
    longest = limits.length or kinds.TEXT_BYTES

    def unpack(value: Any) -> str:
        if type(value) is not str or len(value) > longest:
            raise _fail(f"a text of at most {longest} characters", value)
        return value

    return Form(_same, unpack)


def _bytes_form(_limits: Limits) -> Form:
    def unpack(value: Any) -> bytes:
        if type(value) is not bytes or len(value) > kinds.BLOB_BYTES:
            raise _fail("bytes", value)
        return value

    return Form(_same, unpack)


def _id_form(pattern: typing.Pattern[str]) -> Callable[[Limits], Form]:
    def unpack(value: Any) -> str:
        if type(value) is not str or pattern.fullmatch(value) is None:
            raise _fail("an id", value)
        return value

    return lambda _limits: Form(_same, unpack)


_PLAIN: dict[Any, Callable[[Limits], Form]] = {
    int: _integer_form,
    float: _float_form,
    bool: _bool_form,
    str: _text_form,
    bytes: _bytes_form,
    NodeId: _id_form(kinds.NODE_ID),
    JobId: _id_form(kinds.JOB_ID),
}


def _enum_form(kind: type[IntEnum]) -> Form:
    members = {int(member): member for member in kind}

    def unpack(value: Any) -> IntEnum:
        if type(value) is not int or value not in members:
            raise _fail(kind.__name__, value)
        return members[value]

    return Form(int, unpack)


def _optional_form(arguments: tuple[Any, ...], limits: Limits) -> Form:
    inner = [argument for argument in arguments if argument is not types.NoneType]
    if len(inner) != 1:
        raise BrokenInvariantError(f"the codec knows no union of {arguments}")
    pack, unpack = compile_form(inner[0], limits)
    return Form(
        lambda value: None if value is None else pack(value),
        lambda value: None if value is None else unpack(value),
    )


def _sequence_form(arguments: tuple[Any, ...], limits: Limits) -> Form:
    inner_limits = limits._replace(length=None)
    if len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004  # tuple[X, ...]
        pack, unpack = compile_form(arguments[0], inner_limits)
        most = limits.length or kinds.ITEMS

        def unpack_all(value: Any) -> tuple[Any, ...]:
            if type(value) is not list or len(value) > most:
                raise _fail(f"at most {most} entries", value)
            return tuple([unpack(entry) for entry in value])

        return Form(lambda value: [pack(entry) for entry in value], unpack_all)
    forms = [compile_form(argument, inner_limits) for argument in arguments]

    def unpack_each(value: Any) -> tuple[Any, ...]:
        if type(value) is not list or len(value) != len(forms):
            raise _fail(f"{len(forms)} entries", value)
        return tuple([form.unpack(entry) for form, entry in zip(forms, value, strict=True)])

    return Form(
        lambda value: [form.pack(entry) for form, entry in zip(forms, value, strict=True)],
        unpack_each,
    )


def _record_form(kind: Any) -> Form:
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    forms = [compile_form(hints[name], _limits_of(kind, name)) for name in names]
    packs = [(name, form.pack) for name, form in zip(names, forms, strict=True)]
    unpacks = [form.unpack for form in forms]
    check = _CHECKS.get(kind)

    def pack(value: Any) -> list[Any]:
        return [pack_field(getattr(value, name)) for name, pack_field in packs]

    def unpack(value: Any) -> Any:
        if type(value) is not list or len(value) != len(unpacks):
            raise _fail(f"{len(unpacks)} fields of {kind.__name__}", value)
        try:
            made = kind(*[unpack_field(entry) for unpack_field, entry in zip(unpacks, value, strict=True)])
        except MalformedError as problem:
            raise MalformedError(f"{kind.__name__}: {problem}") from problem
        except ValueError as problem:  # a dataclass that checks itself (Plan)
            raise MalformedError(str(problem)) from problem
        if check is not None and not check(made):
            raise MalformedError(f"the fields of {kind.__name__} contradict each other")
        return made

    return Form(pack, unpack)


def _limits_of(kind: type, name: str) -> Limits:
    key = (kind, name)
    return Limits(kinds.BOUNDS.get(key, kinds.INTEGERS), kinds.LENGTHS.get(key), key not in kinds.NOT_FINITE)


def _sound_job(spec: JobSpec) -> bool:
    """No arithmetic of ``JobSpec`` may divide by zero."""
    return spec.micro_batches <= spec.batch_size and (spec.steps == 0 or spec.steps_per_epoch > 0)


def _sound_tensor(spec: TensorSpec) -> bool:
    return len(spec.shape) == len(spec.strides)


_CHECKS: dict[Any, Callable[[Any], bool]] = {JobSpec: _sound_job, TensorSpec: _sound_tensor}
_VERSION = bytes([PROTOCOL_VERSION])
_FORMS: dict[int, Form] = {number: compile_form(kind) for number, kind in kinds.KINDS.items()}
_NUMBERS: dict[type, int] = {kind: number for number, kind in kinds.KINDS.items()}
