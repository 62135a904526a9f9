"""Replays a journal: a fresh core is told the events of another again, and must decide the same.

::

    Beginning ──> Node ──────────────┐
    timers, event ──> Node.handle ───┴─> effects == those of the record ?

A life goes from one ``Beginning`` to the next or to the end. Nothing but the journal is needed: neither the device on
which it was written, nor any network, nor torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.core.beginning import Beginning
from edged.core.events import Event, TimerFired
from edged.core.ids import PROTOCOL_VERSION
from edged.core.node import Node
from edged.core.protection import Interval
from edged.errors import ConfigError, EdgedError
from edged.telemetry.journal import GAP, as_line, document
from edged.telemetry.reading import DocumentReader

BROKEN = (ArithmeticError, AssertionError, AttributeError, EdgedError, LookupError, RuntimeError, TypeError, ValueError)
"""What a broken core may raise."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Where a replay first decides otherwise: the record's place, its event, and both lists of effects."""

    file: str
    line: int
    time: float
    event: Any
    recorded: Sequence[Any]
    replayed: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Replayed:
    """How far a replay came. ``left_out``: events before which some are missing. ``remarks``: sentences for people."""

    lives: int
    events: int
    left_out: int
    difference: Difference | None
    remarks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Record:
    """One line, as JSON; ``content`` is ``None`` for one that is none."""

    path: Path
    line: int
    content: Any

    @property
    def place(self) -> str:
        return f"{self.path} line {self.line}"


def replay(path: Path, interval: Interval, release: str) -> Replayed:
    """Replay a journal's file, or all files of its folder. ``interval`` and ``release`` are those of this program.

    Raises ``ConfigError`` for what is no journal, is damaged, or was written by a node of another protocol.
    """
    return _Replay(interval, release).run(path)


class _Replay:
    def __init__(self, interval: Interval, release: str) -> None:
        self._interval = interval
        self._release = release
        self._reader = DocumentReader()
        self._node: Node | None = None
        self._lives = self._events = self._left_out = 0
        self._remarks: list[str] = []

    def run(self, path: Path) -> Replayed:
        difference: Difference | None = None
        torn: _Record | None = None
        for record in _records(path):
            if record.content is None:
                self._only_torn(torn)
                torn = record
                continue
            event = self._event(record)
            if torn is not None and event is not None and not isinstance(event, Beginning):
                raise _damaged(torn, "it is no JSON")
            self._only_torn(torn)
            torn = None
            if event is None:
                self._gap(record)
            elif isinstance(event, Beginning):
                self._begin(event, record)
            elif self._node is None:
                self._left_out += 1
            elif (difference := self._compare(self._node, event, record)) is not None:
                break
        if difference is None:
            self._only_torn(torn)
        if not self._lives:
            raise ConfigError(
                f"{path} does not go back to the start of its node, without which nothing can be replayed: give the "
                "whole folder (HOME/journal), and that of a node that was started lately; older records are overwritten"
            )
        return Replayed(self._lives, self._events, self._left_out, difference, tuple(self._remarks))

    def _only_torn(self, torn: _Record | None) -> None:
        """A killed node leaves half a line, at the end of a file or before the next life; a full disk before a gap."""
        if torn is not None:
            if torn.line == 1:
                raise ConfigError(f"{torn.path} is no journal of edged: its first line is no JSON")
            self._remarks.append(f"{torn.place} is torn off (its node was killed, or its disk was full) and left out")

    def _gap(self, record: _Record) -> None:
        """What this node did from here on cannot be known."""
        self._node = None
        lost = record.content["event"].get("records")
        self._remarks.append(f"{record.place}: {lost} events are missing, as the disk was full")

    def _event(self, record: _Record) -> Event | Beginning | None:
        """What this record tells; ``None`` for a gap."""
        content = record.content
        if not isinstance(content, dict) or not {"time", "now", "event", "effects"} <= content.keys():
            if record.line == 1:
                raise ConfigError(f"{record.path} is no journal of edged: its first line is no event with its effects")
            raise _damaged(record, "it is no event with its effects")
        moments = [content["now"], content["time"], *_list(content.get("timers", []))]
        if not all(isinstance(moment, int | float) for moment in moments) or not isinstance(content["effects"], list):
            raise _damaged(record, "its moments are no numbers, or its effects no list")
        if isinstance(content["event"], dict) and content["event"].get("type") == GAP:
            return None
        self._of_this_protocol(record)
        try:
            return self._reader.event(content["event"])
        except ValueError as error:
            raise _damaged(record, f"{error}") from error

    def _of_this_protocol(self, record: _Record) -> None:
        """Asked before the event is read: another protocol's may have other fields."""
        event = record.content["event"]
        spoken = event.get("protocol") if isinstance(event, dict) and event.get("type") == Beginning.__name__ else None
        if spoken not in {None, PROTOCOL_VERSION}:
            raise ConfigError(
                f"{record.place}: a node of edged {event.get('release')} wrote it, which spoke protocol {spoken}; this "
                f"is {self._release} with protocol {PROTOCOL_VERSION}: replay it with that version"
            )

    def _begin(self, beginning: Beginning, record: _Record) -> None:
        self._lives += 1
        if beginning.release != self._release:
            self._remarks.append(
                f"{record.place}: edged {beginning.release} wrote it, this is {self._release}: "
                "what differs may be what was changed since"
            )
        self._node = beginning.node(self._interval)

    def _compare(self, node: Node, event: Event, record: _Record) -> Difference | None:
        self._events += 1
        content = record.content
        for moment in content.get("timers", ()):
            if found := _decide(node, TimerFired(), moment):
                return self._difference(record, document(TimerFired()), [], found)
        recorded = [*content["effects"], *_broke(content.get("broke"))]
        replayed = _decide(node, event, content["now"])
        if as_line(recorded) != as_line(replayed):
            return self._difference(record, content["event"], recorded, replayed)
        if content.get("broke"):
            self._remarks.append(f"{record.place}: the event broke the node, now as then: {content['broke']}")
            self._node = None
        return None

    @staticmethod
    def _difference(record: _Record, event: Any, recorded: list[Any], replayed: list[Any]) -> Difference:
        return Difference(str(record.path), record.line, record.content["time"], event, recorded, replayed)


def _decide(node: Node, event: Event, now: float) -> list[Any]:
    try:
        return [document(effect) for effect in node.handle(event, now)]
    except BROKEN as error:
        return _broke(f"{type(error).__name__}: {error}")


def _broke(text: str | None) -> list[Any]:
    return [{"type": "Broke", "text": text}] if text else []


def _records(path: Path) -> Iterator[_Record]:
    """The lines of all files, the oldest first."""
    for file in _files(path):
        try:
            with file.open(encoding="utf-8") as lines:
                for number, line in enumerate(lines, 1):
                    if line.strip():
                        yield _Record(file, number, _json(line))
        except UnicodeDecodeError as error:
            raise ConfigError(f"{file} is no journal of edged: it is not text") from error


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    files = [(_began(file), file) for file in sorted(path.glob("journal-*.jsonl"))]
    if not files:
        raise ConfigError(f"{path} holds no journal: it is in HOME/journal of a node that runs or has run")
    return [file for _, file in sorted(files)]


def _began(file: Path) -> float:
    """When a file's first record was made; what is none comes first, and is refused there."""
    with file.open(encoding="utf-8", errors="replace") as lines:
        first = _json(next(iter(lines), ""))
    moment = first.get("time") if isinstance(first, dict) else None
    return float(moment) if isinstance(moment, int | float) else 0.0


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [None]


def _damaged(record: _Record, why: str) -> ConfigError:
    return ConfigError(f"{record.place} is damaged, and what follows cannot be replayed without it: {why}")
