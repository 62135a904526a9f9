"""What a node's process may take in a soak: bounds on memory, open files, sockets and threads, and the verdict on them.

Files, sockets and threads: a process that was started again is another one and is judged by itself, once it has been
seen often enough after the first quarter of the faults. What it takes goes up and down with its roles and its peers, so
the least that was seen late counts.

Memory: a process grows while it loads torch, takes over layers, becomes the leader, which holds all of them. So the
bound is what any process of the cluster took in the first quarter of the faults, in every role.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

COUNTED = ("files", "sockets", "threads")

SLACK = {"files": 24, "sockets": 24, "threads": 6}
"""How many more than before the first fault may be open: a node that leads or feeds has more than one that does not."""

GROWTH_BYTES = 64 * 2**20
"""How much more than the most in the first quarter of the faults a process may ever take."""

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
    before, memory, found = most_before(samples), most_memory(samples, faults), []
    for (device, pid), life in lives(samples).items():
        late = [sample.taken for sample in life if sample.faults > faults / 4]
        who = f"process {pid} of {device}"
        if len(late) >= SEEN:
            least = {name: min(taken[name] for taken in late[len(late) // 2 :]) for name in COUNTED}
            found += [f"{who} never has less than {what}" for what in excess(before, least)]
        most = max(sample.taken["rss_bytes"] for sample in life)
        if most > memory + GROWTH_BYTES:
            text = (
                f"{most / 2**20:.0f} MiB; in the first quarter of the faults none took more than {memory / 2**20:.0f}"
            )
            found.append(f"{who} has taken {text}")
    return found


def most_memory(samples: Sequence[Sample], faults: int) -> int:
    """The most that any process took in the first quarter of the faults, in bytes."""
    return max((sample.taken["rss_bytes"] for sample in samples if sample.faults <= faults / 4), default=0)


def report(samples: Sequence[Sample], faults: int) -> dict[str, dict[str, int]]:
    """For each device: its processes, the most that one of them took, and the most memory in the first quarter."""
    found: dict[str, dict[str, int]] = {}
    for (device, _), life in lives(samples).items():
        entry = found.setdefault(device, {"processes": 0, "early_rss_bytes": 0})
        entry["processes"] += 1
        entry["early_rss_bytes"] = max(entry["early_rss_bytes"], most_memory(life, faults))
        for name in ("rss_bytes", *COUNTED):
            entry[name] = max(entry.get(name, 0), *(sample.taken[name] for sample in life))
    return found
