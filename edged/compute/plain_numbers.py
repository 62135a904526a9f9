"""Numbers in containers to JSON's types and back: tuples stay tuples, keys that are not texts stay what they are.

    (0.9, 0.999) <-> {"tuple": [0.9, 0.999]}        {30: 1} <-> {"pairs": [[30, 1]]}

Floats keep every bit: JSON writes the shortest text that reads back as the same 64-bit float.
"""

from __future__ import annotations

from typing import Any

from edged.errors import JobError

_SKIP = object()


def plain(value: Any, *, strict: bool = False) -> Any:
    """``value`` in JSON's types. What is no number, text, flag or container of these is left out of a dict.

    With ``strict``, or outside of a dict, it raises ``JobError`` instead.
    """
    found = _plain(value, strict=strict)
    if found is _SKIP:
        raise JobError(f"{type(value).__name__} {value!r} is not a number, a text or a list of these")
    return found


def restored(value: Any) -> Any:
    """What ``plain`` was given."""
    if isinstance(value, list):
        return [restored(item) for item in value]
    if isinstance(value, dict):
        if set(value) == {"tuple"}:
            return tuple(restored(item) for item in value["tuple"])
        if set(value) == {"pairs"}:
            return {restored(key): restored(item) for key, item in value["pairs"]}
        return {key: restored(item) for key, item in value.items()}
    return value


def _plain(value: Any, *, strict: bool) -> Any:
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, tuple):
        return {"tuple": [plain(item, strict=strict) for item in value]}
    if isinstance(value, list):
        return [plain(item, strict=strict) for item in value]
    if isinstance(value, dict):
        items = [(key, _plain(item, strict=strict)) for key, item in value.items()]
        kept = [(key, item) for key, item in items if item is not _SKIP]
        if strict and len(kept) != len(items):
            raise JobError(f"{value!r} holds what is not a number, a text or a list of these")
        if all(type(key) is str for key, _ in kept) and not set(value) & {"tuple", "pairs"}:
            return dict(kept)
        return {"pairs": [[plain(key, strict=True), item] for key, item in kept]}
    return _SKIP
