"""The journal: every event that reached the core, with the effects that it caused, as bounded JSON lines.

::

    {"time": 1750000000.123, "now": 812.25, "event": {"type": "LinkLost", "node": "ab.."}, "effects": [{...}]}

``time`` is the wall clock, ``now`` the monotonic time that the core was given. ``timers``, where it is there, are the
moments before it at which the core was woken and decided nothing; ``broke`` says how the event broke the core. The
first record of a node's life has its ``Beginning`` for an event; from there on ``replaying.py`` can repeat it.

Tensors never enter the journal: bytes are written as their length and a digest, parcels and computations in a short
form. Two files of bounded size alternate, so the journal never fills a disk (``alternating.py``); while a disk is full
all the same, some of it waits in memory, and a record ``GAP`` tells how much was lost. The ring in memory holds what
people ask for: it leaves out the routine (pings, heartbeats, timers, single micro-batches).
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Any

from edged.core import effects as effect_types
from edged.core import events as event_types
from edged.core import messages as message_types
from edged.core.beginning import Beginning
from edged.core.effects import Effect, SendMessage
from edged.core.events import Event, MessageReceived, ParcelArrived, ParcelRefused, TimerFired
from edged.telemetry.alternating import AlternatingFiles

RING_LINES = 2000
FILE_BYTES = 8 * 2**20

MOST_TIMERS = 100
"""So many moments of timers that decided nothing wait for a record; the next such timer has one of its own."""

GAP = "RecordsLost"
"""Not an event of the core: what follows it cannot be replayed, for lack of what came before."""

DIGEST_BYTES = 4
"""Enough to tell texts apart, too few to tell anything of what they say."""

COMPARED_BYTES = 256
"""Longer ones are never compared by the core: their length says enough."""

_ROUTINE_MESSAGES = (
    message_types.Ping,
    message_types.PingRequest,
    message_types.Ack,
    message_types.Gossip,
    message_types.Exchange,
    message_types.Heartbeat,
    message_types.HeartbeatReply,
    message_types.NodeReport,
    message_types.Taken,
    message_types.Result,
    message_types.GradientNorms,
    message_types.Updated,
)
_ROUTINE_EVENTS = (
    TimerFired,
    event_types.ForwardDone,
    event_types.BackwardDone,
    event_types.NormsTaken,
    event_types.UpdateDone,
    event_types.SampleDrawn,
)
_ROUTINE_EFFECTS = (
    effect_types.RunForward,
    effect_types.RunBackward,
    effect_types.TakeNorms,
    effect_types.RunUpdate,
    effect_types.SendActivation,
    effect_types.SendGradient,
    effect_types.SendInputs,
    effect_types.DrawSample,
    effect_types.DropSample,
)
_PLAIN = frozenset({int, float, str, bool, type(None)})
_DATA_PARCELS = (message_types.Inputs, message_types.Activation, message_types.Gradient)


class Journal:
    """Writes records to ``folder/journal-0.jsonl`` and ``journal-1.jsonl`` in turn and keeps the newest in memory."""

    def __init__(self, folder: Path | None, file_bytes: int = FILE_BYTES, ring_lines: int = RING_LINES) -> None:
        """Open the journal in ``folder`` (made if missing); ``None`` keeps it in memory only."""
        self._files: AlternatingFiles | None = None
        self._now = 0.0
        self._followers: list[Callable[[str], None]] = []
        self._timers: list[float] = []
        self.ring: deque[str] = deque(maxlen=ring_lines)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._files = AlternatingFiles(folder, "journal", file_bytes, self._missing)

    def begin(self, beginning: Beginning, now: float) -> None:
        """A node's life begins: what comes before belongs to another one."""
        self._timers.clear()
        self._write(as_line({"time": round(time.time(), 3), "now": now, "event": document(beginning), "effects": []}))

    def record(self, event: Event, effects: Sequence[Effect], now: float, broke: str = "") -> None:
        """Add one event with its effects. A timer that decided nothing is not worth a line.

        ``broke``: the exception that the event ended in, if it did.
        """
        self._now = now
        if not effects and not broke and isinstance(event, TimerFired) and len(self._timers) < MOST_TIMERS:
            self._timers.append(now)
            return
        record: dict[str, Any] = {"time": round(time.time(), 3), "now": now}
        if self._timers:
            record["timers"] = self._timers
            self._timers = []
        record["event"] = document(event)
        record["effects"] = [document(effect) for effect in effects]
        if broke:
            record["broke"] = broke
        line = as_line(record)
        if broke or not _is_routine(event, effects):
            self.ring.append(line)
            for follower in tuple(self._followers):
                follower(line)
        self._write(line)

    def follow(self, follower: Callable[[str], None]) -> Callable[[], None]:
        """Call ``follower`` with each new line of the ring; the returned function ends that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def flush(self) -> None:
        """Hand what is buffered to the operating system."""
        if self._files is not None:
            self._files.flush()

    def close(self) -> None:
        """Flush and close the file."""
        if self._files is not None:
            self._files.close()
            self._files = None

    def _write(self, line: str) -> None:
        if self._files is not None:
            self._files.write(line.encode() + b"\n")

    def _missing(self, records: int) -> bytes:
        """A record in the place of others: so many were lost to a full disk since the node began."""
        event = {"type": GAP, "records": records}
        record = {"time": round(time.time(), 3), "now": self._now, "event": event, "effects": []}
        return as_line(record).encode() + b"\n"


def document(value: Any) -> Any:
    """A JSON value for any event, effect or message: objects carry their ``type``, bytes become their length."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if kind is tuple:
        return [document(item) for item in value]
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, bytes):
        return f"<{len(value)} bytes{_digest(value)}>"
    if isinstance(value, ParcelRefused):  # why is told by the names of its tensors
        return {"type": kind.__name__, "sender": value.sender, "parcel": _whole(value.parcel)}
    if isinstance(value, _DATA_PARCELS):
        return {
            "type": kind.__name__,
            "stamp": _whole(value.stamp),
            "route": value.route,
            "hop": value.hop,
            "work": document(value.work),
            "size_bytes": sum(spec.size_bytes for spec in value.tensors),
        }
    return _whole(value)


def as_line(record: Any) -> str:
    """The one way in which the journal writes a value."""
    return json.dumps(record, ensure_ascii=False, separators=(",", ":"))


class Elided(bytes):
    """Stands for bytes that a journal left out: as many, and they begin with the digest that it names."""

    __slots__ = ()


def _whole(value: Any) -> dict[str, Any]:
    kind = type(value)
    names = _field_names(kind)  # type: ignore[arg-type]  # mypy takes a class for unhashable
    return {"type": kind.__name__, **{name: document(getattr(value, name)) for name in names}}


def _digest(value: bytes) -> str:
    if len(value) > COMPARED_BYTES or len(value) < DIGEST_BYTES:
        return ""
    digest = value if isinstance(value, Elided) else hashlib.sha256(value).digest()
    return f" {digest[:DIGEST_BYTES].hex()}"


@cache
def _field_names(kind: type) -> tuple[str, ...]:
    """Fields of a dataclass, in order. Raises ``TypeError`` for any other type."""
    return tuple(field.name for field in dataclasses.fields(kind))


def _is_routine(event: Event, effects: Sequence[Effect]) -> bool:
    return _is_routine_event(event) and all(_is_routine_effect(effect) for effect in effects)


def _is_routine_event(event: Event) -> bool:
    if isinstance(event, MessageReceived):
        return isinstance(event.message, _ROUTINE_MESSAGES)
    if isinstance(event, ParcelArrived):
        return isinstance(event.parcel, _DATA_PARCELS)
    return isinstance(event, _ROUTINE_EVENTS)


def _is_routine_effect(effect: Effect) -> bool:
    if isinstance(effect, SendMessage):
        return isinstance(effect.message, _ROUTINE_MESSAGES)
    return isinstance(effect, _ROUTINE_EFFECTS)
