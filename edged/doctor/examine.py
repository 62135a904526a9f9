"""The whole examination: what takes long begins first, and everything is over within seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.client import Client
from edged.doctor import cluster, home, machine, network, wheel
from edged.doctor.finding import Finding, Level, worst
from edged.errors import NoNodeError, UserError
from edged.roles.ending import last_end

try:
    import resource
except ImportError:  # Windows has no such limits
    resource = None  # type: ignore[assignment]

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
    about_home = home.judge_home(home.measure_home(folder))
    status = _status(folder)
    facts = network.measure_network(
        folder,
        chosen.listen if chosen else EVERYWHERE,
        discovery=chosen.discovery if chosen else True,
        seeds=bool(chosen and chosen.seeds),
        running=status is not None,
    )
    findings = [
        wheel.judge_python(sys.version_info[:3], at),
        *wheel.judge_torch(child.facts(), at),
        *machine.judge_memory(machine.measure_memory()),
        machine.judge_threads(machine.measure_threads(chosen.threads if chosen else 0)),
        machine.judge_clock(machine.measure_clock(folder)),
        machine.judge_open_files(resource.getrlimit(resource.RLIMIT_NOFILE)[0] if resource else -1),
        *home.judge_disk(home.measure_disk(folder)),
        *about_home,
        *about_options,
        *network.judge_network(facts),
        *cluster.judge_cluster(status, network.speed_of(facts.interfaces), last_end(folder)),
    ]
    return Report(folder, tuple(findings), time.monotonic() - begun)


def _status(folder: Path) -> dict[str, Any] | None:
    try:
        return Client(folder).ask("status")
    except (NoNodeError, UserError, OSError):
        return None
