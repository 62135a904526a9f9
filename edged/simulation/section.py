"""One table of a file, read key by key; what is wrong is told in one sentence that names file, key and remedy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from edged.config import parse_size
from edged.errors import ConfigError

_BITS = {"KBIT": 1e3, "MBIT": 1e6, "GBIT": 1e9}


class Section:
    """A table, and what has been asked of it; ``end`` refuses keys that nobody has asked for."""

    def __init__(self, path: str, place: str, table: object) -> None:
        """``place`` is how people find the table: ``[links]``, ``[devices.pi]``; empty: the top of the file."""
        self._path = path
        self._place = place
        self._asked: set[str] = set()
        self._table: Mapping[str, Any] = {}
        if not isinstance(table, Mapping):
            raise self.wrong("", f"write a table: {place}, and keys below it")
        self._table = table

    def wrong(self, key: str, remedy: str) -> ConfigError:
        """The mistake at ``key``, in one sentence."""
        place = " ".join(part for part in (self._place, key) if part)
        return ConfigError(f"{self._path}: {place or 'the file'}{self._shown(key)}: {remedy}")

    def __contains__(self, key: str) -> bool:
        """Whether the key is there."""
        self._asked.add(key)
        return key in self._table

    def get(self, key: str) -> Any:
        """The raw value, ``None`` if it is not there."""
        self._asked.add(key)
        return self._table.get(key)

    def section(self, key: str) -> Section | None:
        """A table below this one."""
        return self.below(key, self._table[key]) if key in self else None

    def below(self, name: str, table: object) -> Section:
        """A table of the same file."""
        return Section(self._path, f"[{name}]", table)

    def sections(self, key: str) -> list[Section]:
        """The tables of a list (``[[key]]``)."""
        raw = self.get(key)
        if raw is None:
            return []
        if not isinstance(raw, list):
            raise self.wrong(key, f"write it as a list of tables: [[{key}]], and keys below it")
        return [Section(self._path, f"[[{key}]] number {number}", each) for number, each in enumerate(raw, 1)]

    def number(self, key: str, default: float | None, least: float, *, above: bool = False) -> float:
        """A number of at least ``least`` (or ``above`` it); no default: it must be there."""
        raw = self._needed(key, default, f"write a number, such as {key} = {least + 1:g}")
        bound = f"above {least:g}" if above else f"of at least {least:g}"
        if isinstance(raw, bool) or not isinstance(raw, int | float) or not math.isfinite(raw):
            raise self.wrong(key, f"write a number {bound}")
        if raw < least or (above and raw == least):
            raise self.wrong(key, f"write a number {bound}")
        return float(raw)

    def whole(self, key: str, default: int | None, least: int) -> int:
        """A whole number of at least ``least``."""
        raw = self._needed(key, default, f"write a whole number, such as {key} = {least + 1}")
        if isinstance(raw, bool) or not isinstance(raw, int) or raw < least:
            raise self.wrong(key, f"write a whole number, at least {least}")
        return raw

    def size(self, key: str, default: int | None) -> int:
        """Bytes: ``"2GB"``."""
        raw = self._needed(key, default, f'write a size: {key} = "2GB"')
        try:
            return parse_size(raw)
        except ValueError as error:
            raise self.wrong(key, str(error)) from error

    def rate(self, key: str, default: float | None) -> float:
        """Bytes per second from ``"100mbit"`` (bits) or ``"12MB"`` (bytes)."""
        raw = self._needed(key, default, f'write bits per second: {key} = "100mbit"')
        if isinstance(raw, float):
            return raw
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmg]bit)(?:/s)?\s*", str(raw), re.IGNORECASE)
        if match is None or float(match[1]) <= 0.0:
            raise self.wrong(key, 'write bits per second, such as "100mbit", "1gbit" or "500kbit"')
        return float(match[1]) * _BITS[match[2].upper()] / 8.0

    def text(self, key: str, default: str | None, choices: Mapping[str, object] | None = None) -> str:
        """A text; one of ``choices``, where they are given."""
        raw = self._needed(key, default, f'write a text: {key} = "..."')
        if not isinstance(raw, str) or not raw:
            raise self.wrong(key, "write a text in quotes")
        if choices is not None and raw not in choices:
            raise self.wrong(key, "write one of " + ", ".join(choices))
        return raw

    def flag(self, key: str, *, default: bool) -> bool:
        """True or false."""
        raw = self._needed(key, default, "write true or false")
        if not isinstance(raw, bool):
            raise self.wrong(key, "write true or false")
        return raw

    def names(self, key: str, least: int = 1) -> tuple[str, ...]:
        """A name or a list of them."""
        raw = self._needed(key, None, f'write a name or a list of names: {key} = "pi"')
        names = [raw] if isinstance(raw, str) else raw
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len(names) < least:
            what = "a name or a list of names" if least == 1 else f"a list of at least {least} names"
            raise self.wrong(key, f"write {what}, in quotes")
        return tuple(names)

    def end(self) -> None:
        """Refuse what nobody has asked for."""
        for key in self._table:
            if key not in self._asked:
                known = ", ".join(sorted(self._asked))
                raise self.wrong(key, f"this key is not known here; there are {known}")

    def _needed(self, key: str, default: Any, remedy: str) -> Any:
        raw = self.get(key)
        if raw is None and default is None:
            raise self.wrong(key, f"it is missing; {remedy}")
        return default if raw is None else raw

    def _shown(self, key: str) -> str:
        raw = self._table.get(key) if key else None
        return f" = {raw!r}" if isinstance(raw, str | int | float | list) else ""
