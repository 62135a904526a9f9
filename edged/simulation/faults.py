"""What befalls a simulated cluster: the faults of its file, and those that a seed draws."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from edged.simulation.description import ClusterDescription, Fault, RandomFaults


def all_faults(cluster: ClusterDescription, random: Random, seconds: float) -> list[Fault]:
    """Every fault before second ``seconds``, in order of time."""
    drawn = [] if cluster.random_faults is None else [*_drawn(cluster, cluster.random_faults, random)]
    faults = [fault for fault in (*cluster.faults, *drawn) if fault.at < seconds]
    return sorted(faults, key=lambda fault: fault.at)


def _drawn(cluster: ClusterDescription, wanted: RandomFaults, random: Random) -> Iterator[Fault]:
    """Each kind comes by itself, at moments without memory (a Poisson process)."""
    spared = {cluster.source.name} if wanted.spares else set()
    names = [device.name for device in cluster.devices if device.name not in cluster.absent | spared]
    for kind, rate in wanted.per_minute.items():
        moment = wanted.begins + random.expovariate(rate / 60.0)
        while moment < wanted.ends:
            yield from _fault(kind, moment, wanted, names, random)
            moment += random.expovariate(rate / 60.0)


def _fault(kind: str, moment: float, wanted: RandomFaults, names: list[str], random: Random) -> Iterator[Fault]:
    count = min(len(names), 2 if kind == "cut" else 1)
    devices = tuple(random.sample(names, count))
    if kind in {"kill", "unplug"}:
        yield Fault(moment, kind, devices)
        if wanted.back_after:
            yield Fault(moment + wanted.back_after, "join", devices)
    else:
        yield Fault(moment, kind, devices, wanted.lasts, wanted.factor if kind == "slow" else 1.0)
