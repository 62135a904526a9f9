"""Reads a journal's documents back: the inverse of ``journal.document``, as far as that leaves anything.

What it leaves out is nothing that the core looks at: the tensors of activations, gradients and inputs become none,
bytes become as many others (``Elided``).
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Callable
from enum import Enum
from typing import Any

from edged.core.beginning import Beginning
from edged.core.events import Event
from edged.telemetry.journal import DIGEST_BYTES, Elided

MOST_BYTES = 2**24
"""No event has longer bytes."""

_BYTES = re.compile(r"<(\d{1,8}) bytes(?: ([0-9a-f]{8}))?>")
_LEFT_OUT = frozenset({"tensors", "scalars"})
"""Fields of data parcels; the short form has ``size_bytes`` in their place."""

Reader = Callable[[Any], Any]


class DocumentReader:
    """Makes events of documents. What it learns of the types it keeps: a journal has few of them, many times."""

    def __init__(self) -> None:
        """Know the names of all events."""
        self._kinds: dict[str, type] = {kind.__name__: kind for kind in (Beginning, *typing.get_args(Event))}
        self._readers: dict[Any, Reader] = {}

    def event(self, document: Any) -> Event | Beginning:
        """The event, or beginning, of this document. Raises ``ValueError`` for what the journal does not write."""
        name = document.get("type") if isinstance(document, dict) else None
        if not isinstance(name, str) or name not in self._kinds:
            raise ValueError(f"no event is called {name!r}")
        event: Event | Beginning = self._reader(self._kinds[name])(document)
        return event

    def _reader(self, hint: Any) -> Reader:
        if hint not in self._readers:
            self._readers[hint] = self._compile(hint)
        return self._readers[hint]

    def _compile(self, hint: Any) -> Reader:
        plain = getattr(hint, "__supertype__", hint)  # of NodeId: str
        if plain is bytes:
            return _bytes
        if plain in {int, float, str, bool}:
            return _plain(plain)
        if isinstance(hint, type) and issubclass(hint, Enum):
            return _member(hint)
        if dataclasses.is_dataclass(hint):
            return self._record(hint)
        arguments = typing.get_args(hint)
        if typing.get_origin(hint) is tuple:
            return self._sequence(arguments)
        assert typing.get_origin(hint) in {typing.Union, types.UnionType}, f"an event has a field of type {hint}"
        return self._one_of(arguments)

    def _record(self, kind: Any) -> Reader:
        hints = typing.get_type_hints(kind)
        readers = {field.name: self._reader(hints[field.name]) for field in dataclasses.fields(kind)}

        def read(document: Any) -> Any:
            if not isinstance(document, dict) or document.get("type") != kind.__name__:
                raise ValueError(f"expected a {kind.__name__}, found {document!r:.80}")
            given = {name: value for name, value in document.items() if name != "type"}
            if "size_bytes" in given and readers.keys() & _LEFT_OUT and "size_bytes" not in readers:
                del given["size_bytes"]
                given |= {name: [] for name in _LEFT_OUT & readers.keys()}
            if strange := given.keys() - readers.keys():
                raise ValueError(f"a {kind.__name__} has no {', '.join(sorted(strange))}")
            try:
                return kind(**{name: readers[name](value) for name, value in given.items()})
            except TypeError as error:  # a field is missing
                raise ValueError(str(error)) from error

        return read

    def _sequence(self, arguments: tuple[Any, ...]) -> Reader:
        if arguments[-1] is Ellipsis:
            read_one = self._reader(arguments[0])
            return lambda document: tuple([read_one(entry) for entry in _list(document)])
        readers = [self._reader(argument) for argument in arguments]
        return lambda document: tuple([read(entry) for read, entry in zip(readers, _list(document), strict=True)])

    def _one_of(self, arguments: tuple[Any, ...]) -> Reader:
        optional = types.NoneType in arguments
        choices: list[type] = [argument for argument in arguments if argument is not types.NoneType]
        by_name = {choice.__name__: self._reader(choice) for choice in choices}
        alone = self._reader(choices[0]) if len(choices) == 1 else None

        def read(document: Any) -> Any:
            if document is None and optional:
                return None
            if alone is not None:
                return alone(document)
            name = document.get("type") if isinstance(document, dict) else None
            if name not in by_name:
                raise ValueError(f"expected one of {', '.join(sorted(by_name))}, found {document!r:.80}")
            return by_name[name](document)

        return read


def _plain(kind: type) -> Reader:
    accepted = (int, float) if kind is float else (kind,)

    def read(document: Any) -> Any:
        if type(document) not in accepted:
            raise ValueError(f"expected {kind.__name__}, found {document!r:.80}")
        return document

    return read


def _member(kind: type[Enum]) -> Reader:
    def read(document: Any) -> Enum:
        if not isinstance(document, str) or document not in kind.__members__:
            raise ValueError(f"expected a {kind.__name__}, found {document!r:.80}")
        return kind[document]

    return read


def _bytes(document: Any) -> Elided:
    found = _BYTES.fullmatch(document) if isinstance(document, str) else None
    if found is None or int(found[1]) > MOST_BYTES:
        raise ValueError(f"expected a number of bytes, found {document!r:.80}")
    size, digest = int(found[1]), bytes.fromhex(found[2] or "")
    if digest and size < DIGEST_BYTES:
        raise ValueError(f"a digest of too few bytes: {document!r}")
    return Elided(digest.ljust(size, b"\0"))


def _list(document: Any) -> list[Any]:
    if not isinstance(document, list):
        raise ValueError(f"expected a list, found {document!r:.80}")  # noqa: TRY004 - what was read is wrong, not who reads
    return document
