"""The whole examination: what takes long begins first, and everything is over within seconds."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.client import Client
from edged.config import Settings
from edged.doctor import cluster, doors, home, machine, network, others, wheel
from edged.doctor.finding import Finding, Level, worst
from edged.errors import NoNodeError, UserError
from edged.roles.ending import last_end

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

SOUND_SECONDS = 15.0
"""More than a node takes for sounding its links (``roles/sounder.py``)."""

EVERYWHERE = ("0.0.0.0", 0)  # noqa: S104 -- the default of --listen


@dataclass(frozen=True, slots=True)
class Report:
    """All findings, in the order of the catalogue's parts, and the seconds that they took."""

    home: Path
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def level(self) -> Level:
        """The worst level."""
        return worst(self.findings)


def examine(folder: Path, flags: Mapping[str, Any], environment: Mapping[str, str]) -> Report:
    """Examine this device, its network and, if a node runs in this home, its cluster."""
    begun = time.monotonic()
    child = wheel.TorchChild()
    at = wheel.board()
    chosen, about_options = home.read_options(folder, flags, environment)
    about_home = home.judge_home(home.measure_home(folder, chosen.key if chosen else ""))
    sounding = _sound(folder)
    facts, seen = asyncio.run(_look_around(folder, chosen, running=sounding is not None))
    status = _status(folder)
    findings = [
        wheel.judge_python(sys.version_info[:3], at),
        *wheel.judge_torch(child.facts(), at, chosen.device if chosen else "auto"),
        *machine.judge_memory(machine.measure_memory(), chosen.memory_bytes if chosen else 0),
        machine.judge_threads(machine.measure_threads(chosen.threads if chosen else 0)),
        machine.judge_clock(machine.measure_clock(folder)),
        machine.judge_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1),
        *home.judge_disk(home.measure_disk(folder)),
        *about_home,
        *about_options,
        *network.judge_network(facts),
        *(others.judge_others(seen) if seen is not None else ()),
        *cluster.judge_cluster(status, network.speed_of(facts.interfaces), last_end(folder), sounding or {}),
    ]
    return Report(folder, tuple(findings), time.monotonic() - begun)


async def _look_around(
    folder: Path, chosen: Settings | None, *, running: bool
) -> tuple[network.NetworkFacts, doors.OthersFacts | None]:
    """The network, and who is in it, at once; but a node that runs here knows the others better."""
    if chosen is None:
        return await network.measure_network(folder, EVERYWHERE, discovery=True, seeds=False, running=running), None
    seeds, discovery = chosen.seeds, chosen.discovery
    measuring = network.measure_network(
        folder, chosen.listen, chosen.metrics, discovery=discovery, seeds=bool(seeds), running=running
    )
    if running:
        return await measuring, None
    addresses = network.own_addresses(chosen.listen[0])
    looking = doors.measure_others(folder, chosen.key, chosen.cluster, addresses, seeds, discovery=discovery)
    return await asyncio.gather(measuring, looking)


def _sound(folder: Path) -> dict[str, Any] | None:
    """Let the node find out what its links carry, which its status tells a second later.

    Returns what it says of those that it could not measure; ``None`` where no node runs.
    """
    try:
        return Client(folder, SOUND_SECONDS).ask("sound")
    except NoNodeError:
        return None if _status(folder) is None else {}
    except (UserError, OSError):  # a node of an older edged, or one that is just ending
        return {}


def _status(folder: Path) -> dict[str, Any] | None:
    try:
        return Client(folder).ask("status")
    except (NoNodeError, UserError, OSError):
        return None
