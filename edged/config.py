"""Every option of a node: a value, and where it came from (flag over variable over config.toml over default)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """The options of one node. ``listen`` is (host, port), port 0 for any. ``memory_bytes`` 0: measured free memory.

    ``threads`` 0: all cores. ``slowdown``: emulate a device so many times slower. ``metrics_port`` 0: no metrics.
    """

    home: Path
    name: str
    cluster: str
    key: str
    listen: tuple[str, int]
    seeds: tuple[tuple[str, int], ...]
    discovery: bool
    memory_bytes: int
    threads: int
    device: str
    slowdown: float
    tui: bool
    log_format: str
    metrics_port: int
