"""Reads a cluster's description from a TOML file (``docs/simulating.md``). Raises ``ConfigError`` for any mistake."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from random import Random

from edged.errors import ConfigError
from edged.simulation.description import (
    KINDS,
    ClusterDescription,
    DeviceDescription,
    Fault,
    LinkDescription,
    RandomFaults,
)
from edged.simulation.section import Section
from edged.simulation.workload import read_job
from edged.strategies import PLANNERS

MOST_DEVICES = 20_000
EVERYONE = "*"
_RELATIVE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*x\s*(.+?)\s*")

Groups = Mapping[str, tuple[DeviceDescription, ...]]
"""The devices of each name in the file: of a device itself, of a group of many alike, of ``*``."""


def read_cluster(path: Path) -> ClusterDescription:
    """The cluster that a file describes; raises ``ConfigError`` that says what to write where."""
    top = Section(str(path), "", _content(path))
    seed = top.whole("seed", 1, 0)
    devices, groups = _devices(top, Random(seed))
    source = _one(top, "source", groups) if "source" in top else devices[0]
    link, links = _links(top, groups)
    seconds = top.number("seconds", 60.0, 0.0, above=True)
    faults = tuple(sorted((_fault(each, groups) for each in top.sections("fault")), key=lambda fault: fault.at))
    random_faults = None if (given := top.section("random_faults")) is None else _random_faults(given, seconds)
    job = None if (given := top.section("job")) is None else read_job(given, PLANNERS)
    found = ClusterDescription(
        path=str(path),
        devices=devices,
        source=source,
        link=link,
        links=links,
        seconds=seconds,
        seed=seed,
        replicas=top.whole("replicas", 1, 0),
        faults=faults,
        random_faults=random_faults,
        job=job,
        absent=_absent(faults),
    )
    top.end()
    if source.name in found.absent:
        raise top.wrong("source", f"{source.name} only joins later; name a device that is there from the start")
    return found


def _content(path: Path) -> Mapping[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise ConfigError(f"{path} cannot be read: {why}; name a file that describes a cluster") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not text; name a TOML file that describes a cluster") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}; examples are in examples/clusters") from error


# ------------------------------------------------------------------------------------------------------------ devices


def _devices(top: Section, random: Random) -> tuple[tuple[DeviceDescription, ...], Groups]:
    tables = top.get("devices")
    if not isinstance(tables, dict) or not tables:
        raise top.wrong("devices", "describe at least one device: [devices.desk], and below it slowness = 1")
    groups: dict[str, tuple[DeviceDescription, ...]] = {}
    for name, table in tables.items():
        groups[name] = _group(name, top.below(f"devices.{name}", table), groups, random)
    everyone = tuple(device for group in groups.values() for device in group)
    single = {device.name: (device,) for device in everyone}
    if len(single) < len(everyone):
        names = [device.name for device in everyone]
        twice = next(name for name in names if names.count(name) > 1)
        raise top.wrong("devices", f"two devices are called {twice}; give one of the groups another name")
    if len(everyone) > MOST_DEVICES:
        raise top.wrong("devices", f"they are {len(everyone)}; at most {MOST_DEVICES} fit in one simulation")
    return everyone, {EVERYONE: everyone} | single | groups


def _group(name: str, section: Section, groups: Groups, random: Random) -> tuple[DeviceDescription, ...]:
    count = section.whole("count", 1, 1)
    memory = section.size("memory", 4 * 10**9)
    slowness = _slowness(section, groups)
    spread = section.number("spread", 0.0, 0.0)
    if spread >= 1.0:
        raise section.wrong("spread", "write a share below 1: 0.2 means up to 20 % faster or slower")
    section.end()
    if count > MOST_DEVICES:
        raise section.wrong("count", f"write at most {MOST_DEVICES}")
    if not re.fullmatch(r"[\w][\w .-]{0,62}", name):
        raise section.wrong("", "a name is 1 to 63 letters, digits, dots, dashes or spaces")
    names = [name] if count == 1 else [f"{name}-{number}" for number in range(1, count + 1)]
    return tuple(
        DeviceDescription(each, name, slowness * (1.0 + spread * random.uniform(-1.0, 1.0)), memory) for each in names
    )


def _slowness(section: Section, groups: Groups) -> float:
    raw = section.get("slowness")
    if not isinstance(raw, str):
        return section.number("slowness", 1.0, 0.0, above=True)
    match = _RELATIVE.fullmatch(raw)
    if match is None or match[2] not in groups or float(match[1]) <= 0.0:
        raise section.wrong("slowness", 'write a number, or how it compares with a device above: "5 x desk"')
    return float(match[1]) * groups[match[2]][0].slowness


def _named(section: Section, key: str, names: tuple[str, ...], groups: Groups) -> tuple[str, ...]:
    """The same names, each of which is known."""
    for name in names:
        if name not in groups:
            there = ", ".join(list(groups)[1:7])
            raise section.wrong(key, f"no device or group is called {name}; there are {there}")
    return names


def _one(section: Section, key: str, groups: Groups) -> DeviceDescription:
    (name,) = _named(section, key, (section.text(key, None),), groups)
    if len(groups[name]) > 1:
        raise section.wrong(key, f"{name} are many; name one of them, such as {groups[name][0].name}")
    return groups[name][0]


# -------------------------------------------------------------------------------------------------------------- links


def _links(top: Section, groups: Groups) -> tuple[LinkDescription, Mapping[tuple[str, str], LinkDescription]]:
    given = top.section("links")
    default = LinkDescription(0.001, 125e6)
    if given is not None:
        default = _link(given, default)
        given.end()
    links: dict[tuple[str, str], LinkDescription] = {}
    for section in top.sections("link"):
        names = _named(section, "between", section.names("between", 2), groups)
        link = _link(section, default)
        section.end()
        for one, other in _pairs(names, groups):
            links[one, other] = links[other, one] = link
    return default, links


def _link(section: Section, default: LinkDescription) -> LinkDescription:
    latency = section.number("latency_ms", 1e3 * default.latency_seconds, 0.0)
    return LinkDescription(latency / 1e3, section.rate("bandwidth", default.bytes_per_second))


def _pairs(names: tuple[str, ...], groups: Groups) -> list[tuple[str, str]]:
    """Every two devices of different groups; of one group that is named twice, every two of its own."""
    return [
        (one.name, other.name)
        for place, name in enumerate(names)
        for second in names[place + 1 :]
        for one in groups[name]
        for other in groups[second]
        if one is not other
    ]


# ------------------------------------------------------------------------------------------------------------- faults


def _fault(section: Section, groups: Groups) -> Fault:
    kinds = [kind for kind in KINDS if kind in section]
    if len(kinds) != 1:
        raise section.wrong("", f'write exactly one of {", ".join(KINDS)}, and whom: kill = "pi"')
    kind = kinds[0]
    devices = _named(section, kind, section.names(kind, 2 if kind == "cut" else 1), groups)
    lasts = section.number("lasts", 0.0, 0.0) if kind in {"stop", "cut", "slow"} else 0.0
    factor = section.number("factor", None, 0.0, above=True) if kind == "slow" else 1.0
    fault = Fault(section.number("at", None, 0.0), kind, _expanded(devices, kind, groups), lasts, factor)
    section.end()
    return fault


def _expanded(names: tuple[str, ...], kind: str, groups: Groups) -> tuple[str, ...]:
    """Devices in place of groups; the sides of a cut stay together, joined by a comma."""
    if kind == "cut":
        return tuple(",".join(device.name for device in groups[name]) for name in names)
    return tuple(device.name for name in names for device in groups[name])


def _random_faults(section: Section, seconds: float) -> RandomFaults:
    rates = {kind: section.number(f"{kind}s_per_minute", 0.0, 0.0) for kind in KINDS[:-1]}
    found = RandomFaults(
        per_minute={kind: rate for kind, rate in rates.items() if rate},
        begins=section.number("begins", 10.0, 0.0),
        ends=section.number("ends", max(seconds, 10.0), 0.0),
        back_after=section.number("back_after", 0.0, 0.0),
        lasts=section.number("lasts", 5.0, 0.0, above=True),
        factor=section.number("factor", 4.0, 0.0, above=True),
        spares=section.flag("spare_source", default=False),
    )
    section.end()
    return found


def _absent(faults: tuple[Fault, ...]) -> frozenset[str]:
    """Devices of which the first that is told is that they join."""
    first: dict[str, str] = {}
    for fault in faults:
        if fault.kind in {"kill", "unplug", "join"}:
            for name in fault.devices:
                first.setdefault(name, fault.kind)
    return frozenset(name for name, kind in first.items() if kind == "join")
