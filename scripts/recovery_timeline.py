"""One recovery as the journals of its nodes tell it: who computed what when, what was said, what moved.

All nodes must have run on one machine, so that their journals name moments of one clock (``now``, seconds).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Record = Mapping[str, Any]

SAID: Final = ("Accusation", "Halt", "Inventory", "Prepare", "WantSnapshot", "Prepared", "Start")
"""The messages of the procedure, in their order."""

_COMPUTED: Final = {
    "ForwardDone": "forward",
    "BackwardDone": "backward",
    "UpdateDone": "update",
    "SnapshotTaken": "copy",
    "StagesBuilt": "build",
}
_TRAINED: Final = {"phase": "TRAIN"}


@dataclass(frozen=True, slots=True)
class Block:
    """One computation: ``forward``, ``backward``, ``update``, ``copy`` (a snapshot) or ``build`` (the plan's stages).

    ``step`` counts from 1; 0 where it has no part in one. ``plan`` is the plan's version.
    """

    node: str
    begin: float
    end: float
    kind: str
    step: int
    plan: int


@dataclass(frozen=True, slots=True)
class Arrow:
    """Something that went from one node to another (or the same); ``end`` is ``None`` if it never arrived.

    ``kind`` is the message's, or ``state``, or ``replica``; ``layers`` is empty for messages.
    """

    sender: str
    receiver: str
    begin: float
    end: float | None
    kind: str
    layers: str = ""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened on one node, in words."""

    node: str
    at: float
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """One recovery. Nodes by name, in the order of the first plan; times in seconds from the kill.

    ``stages`` are the leader's: name and beginning, the last one ``RUN``. ``layers``: of each node, before and after.
    """

    nodes: tuple[str, ...]
    victim: str
    leader: str
    layers: Mapping[str, tuple[str, str]]
    stages: tuple[tuple[str, float], ...]
    blocks: tuple[Block, ...]
    arrows: tuple[Arrow, ...]
    marks: tuple[Mark, ...]
    report: Record
    """The ``RecoveryReport``."""


def read_timeline(homes: Mapping[str, Path], ids: Mapping[str, str], victim: str, killed_at: float) -> Timeline:
    """Read the recovery from ``victim``'s kill. ``homes`` and ``ids`` (node ids) by name.

    Raises ``ValueError`` if the journals do not tell of it.
    """
    names = {node: name for name, node in ids.items()}
    records = {name: list(_records(home, killed_at)) for name, home in homes.items()}
    leader = next((name for name, its in records.items() if _first(its, "Halt", 0.0) is not None), None)
    if leader is None:
        raise ValueError("no journal tells of a plan that was given up after the kill")
    before, after = _plans(records[leader])
    order = tuple(names[hop["node"]] for hop in before)
    layers = {name: (_layers(before, ids[name]), _layers(after, ids[name])) for name in order}
    return Timeline(
        order,
        victim,
        leader,
        layers,
        _stages(records[leader]),
        tuple(block for name in order for block in _blocks(name, records[name])),
        tuple(arrow for name in order for arrow in _arrows(name, records, names)),
        tuple(mark for name in order if name != victim for mark in _marks(name, records[name], ids[victim])),
        _report(records[leader]),
    )


def _records(home: Path, killed_at: float) -> Iterator[Record]:
    for path in sorted((home / "journal").glob("journal-*.jsonl"), key=lambda path: path.stat().st_mtime_ns):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                record = json.loads(line)
            except ValueError:  # a killed node's last line
                continue
            yield {**record, "at": record["now"] - killed_at}


def _sent(records: Sequence[Record]) -> Iterator[tuple[float, Record]]:
    for record in records:
        for effect in record["effects"]:
            if effect["type"] == "SendMessage":
                yield record["at"], effect


def _first(records: Sequence[Record], kind: str, since: float) -> float | None:
    return next((at for at, effect in _sent(records) if at > since and effect["message"]["type"] == kind), None)


def _plans(records: Sequence[Record]) -> tuple[list[Record], list[Record]]:
    """The hops of the plan before the kill and of the one after it."""
    made = [(r["at"], r["event"]["plan"]) for r in records if r["event"]["type"] == "PlanMade" and r["event"]["plan"]]
    before = [plan for at, plan in made if at < 0.0][-1]
    after = next(plan for at, plan in made if at > 0.0)
    return list(before["routes"][0]["hops"]), list(after["routes"][0]["hops"])


def _layers(hops: Sequence[Record], node: str) -> str:
    return next((_words(hop) for hop in hops if hop["node"] == node), "")


def _words(piece: Record) -> str:
    first, last = piece["first_layer"], piece["last_layer"]
    return f"layer {first}" if first == last else f"layers {first}–{last}"


def _stages(records: Sequence[Record]) -> tuple[tuple[str, float], ...]:
    fence = _first(records, "Halt", 0.0)
    asked = [r["at"] for r in records if r["at"] > 0.0 and any(e["type"] == "MakePlan" for e in r["effects"])]
    moments = [
        ("FENCE", fence),
        ("PLAN", asked[0] if asked else None),
        ("TRANSFER", _first(records, "Prepare", 0.0)),
        ("RESUME", _first(records, "Start", fence or 0.0)),
        ("RUN", _first(records, "RecoveryReport", 0.0)),
    ]
    if any(at is None for _, at in moments):
        raise ValueError(f"the leader's journal does not tell of every stage: {moments}")
    return tuple((name, at) for name, at in moments if at is not None)


def _blocks(name: str, records: Sequence[Record]) -> Iterator[Block]:
    building = 0.0
    for record in records:
        event, at = record["event"], record["at"]
        kind = _COMPUTED.get(event["type"])
        if kind == "build":
            yield Block(name, building, at, kind, 0, event["stamp"]["version"])
        elif kind == "copy":
            yield Block(name, at - event["seconds"], at, kind, 0, event["stamp"]["version"])
        elif kind is not None and event.get("work", _TRAINED)["phase"] == "TRAIN":
            step = event["work"]["version"] + 1 if "work" in event else event["version"]
            yield Block(name, at - event["seconds"], at, kind, step, event["stamp"]["version"])
        if any(effect["type"] == "BuildStages" for effect in record["effects"]):
            building = at


def _arrows(name: str, records: Mapping[str, Sequence[Record]], names: Mapping[str, str]) -> Iterator[Arrow]:
    """What this node sent from the kill on."""
    for at, effect in _sent(records[name]):
        kind, to = effect["message"]["type"], names.get(effect["to"], "")
        if at > 0.0 and kind in SAID and to:
            yield Arrow(name, to, at, _received(records[to], "MessageReceived", names, name, kind, at), kind)
    for record in records[name]:
        for effect in record["effects"]:
            to = names.get(effect.get("to", ""), "")
            if record["at"] > 0.0 and effect["type"] == "SendHeld" and to:
                layers, replica = _words(effect), effect["replica"]
                end = _received(records[to], "ParcelArrived", names, name, "StateParcel", record["at"], layers)
                yield Arrow(name, to, record["at"], end, "replica" if replica else "state", layers)


def _received(
    records: Sequence[Record],
    event_type: str,
    names: Mapping[str, str],
    sender: str,
    kind: str,
    since: float,
    layers: str = "",
) -> float | None:
    for record in records:
        event = record["event"]
        if record["at"] < since or event["type"] != event_type or names.get(event["sender"]) != sender:
            continue
        what = event["message"] if event_type == "MessageReceived" else event["parcel"]
        if what["type"] == kind and (not layers or _words(what) == layers):
            return float(record["at"])
    return None


def _marks(name: str, records: Sequence[Record], victim: str) -> Iterator[Mark]:
    """The first evidence of each kind that this node has of the death."""
    for wanted, text in (("LinkLost", "connection broke"), ("PortProbed", "port refuses")):
        for record in records:
            event = record["event"]
            if (
                record["at"] > 0.0
                and event["type"] == wanted
                and event["node"] == victim
                and event.get("refused", True)
            ):
                yield Mark(name, record["at"], text)
                break


def _report(records: Sequence[Record]) -> Record:
    return next(e["message"] for at, e in _sent(records) if at > 0.0 and e["message"]["type"] == "RecoveryReport")
