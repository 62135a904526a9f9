"""What a node's process may take in a soak: bounds on memory, open files, sockets and threads, and the verdict on them.

A process that was started again is another one and is judged by itself. It is judged once it has been seen often enough
after the first quarter of the faults: what it takes goes up and down with its roles and its peers, so files, sockets
and threads are compared by the least that was seen late, memory by the most.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COUNTED = ("files", "sockets", "threads")

SLACK = {"files": 24, "sockets": 24, "threads": 6}
"""How many more than before the first fault may be open: a node that leads or feeds has more than one that does not."""

GROWTH_BYTES = 48 * 2**20
"""How much more a process may take at most in the later half of its life than in the first."""

SEEN = 8
"""A process that was looked at less often is too young to be judged."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What the process ``pid`` of a device took when so many faults had been done."""

    device: str
    pid: int
    faults: int
    taken: Mapping[str, int]


def lives(samples: Sequence[Sample]) -> dict[tuple[str, int], list[Sample]]:
    """The samples of each process, in their order."""
    found: dict[tuple[str, int], list[Sample]] = {}
    for sample in samples:
        found.setdefault((sample.device, sample.pid), []).append(sample)
    return found


def most_before(samples: Sequence[Sample]) -> dict[str, int]:
    """The most that any process took of each thing before the first fault."""
    first = [sample.taken for sample in samples if sample.faults == 0]
    return {name: max((taken[name] for taken in first), default=0) for name in COUNTED}


def excess(before: Mapping[str, int], taken: Mapping[str, int]) -> list[str]:
    """What a process has too much of, compared with the most ``before`` the first fault."""
    return [
        f"{taken[name]} {name}, {before[name]} before the first fault"
        for name in COUNTED
        if taken[name] > before[name] + SLACK[name]
    ]


def broken(samples: Sequence[Sample], faults: int) -> list[str]:
    """Bounds that do not hold, in sentences; empty if all do. ``faults``: how many were done in all."""
    before, found = most_before(samples), []
    for (device, pid), life in lives(samples).items():
        late = [sample.taken for sample in life if sample.faults > faults / 4]
        who = f"process {pid} of {device}"
        if len(late) >= SEEN:
            least = {name: min(taken[name] for taken in late[len(late) // 2 :]) for name in COUNTED}
            found += [f"{who} never has less than {what}" for what in excess(before, least)]
        if len(life) >= SEEN:
            bytes_taken = [sample.taken["rss_bytes"] for sample in life]
            half = len(bytes_taken) // 2
            grown = max(bytes_taken[half:]) - max(bytes_taken[:half])
            if grown > GROWTH_BYTES:
                found.append(f"{who} has grown by {grown / 2**20:.0f} MiB in the later half of its life")
    return found


def report(samples: Sequence[Sample]) -> dict[str, dict[str, int]]:
    """For each device: the most that a process of it took, its growth in bytes, and how many processes were judged."""
    found: dict[str, dict[str, int]] = {}
    for (device, _), life in lives(samples).items():
        entry = found.setdefault(device, {"judged": 0, "grown_bytes": 0})
        for name in ("rss_bytes", *COUNTED):
            entry[name] = max(entry.get(name, 0), *(sample.taken[name] for sample in life))
        if len(life) >= SEEN:
            entry["judged"] += 1
            half = len(life) // 2
            early, late = (max(s.taken["rss_bytes"] for s in part) for part in (life[:half], life[half:]))
            entry["grown_bytes"] = max(entry["grown_bytes"], late - early)
    return found
