"""How much of the system's memory is free for this process: as the system has it, and as its control groups allow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

GROUPS, ROOT = Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")


def available_bytes(groups: Path = GROUPS, root: Path = ROOT) -> int:
    """Bytes that can be taken without swapping, and without being killed for it; caches count as free."""
    return max(0, min([int(psutil.virtual_memory().available), *_rooms(groups, root)]))


def resident_bytes() -> int:
    """What this process has taken."""
    return int(psutil.Process().memory_info().rss)


def _rooms(groups: Path, root: Path) -> Iterator[int]:
    """Yield what each limited group that this process is in has left, of either version of control groups.

    A container may not see the folders that its own groups are named by: then the root it sees is its group.
    """
    with suppress(OSError, ValueError):
        for line in groups.read_text(encoding="utf-8").splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers == "":
                yield from _climb(root, path, ("memory.max", "memory.current", "inactive_file"))
            elif "memory" in controllers.split(","):
                names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                yield from _climb(root / "memory", path, names)


def _climb(root: Path, path: str, names: tuple[str, str, str]) -> Iterator[int]:
    limit, usage, reclaimable = names
    folder = root / path.strip("/")
    for group in (folder, *folder.parents):
        with suppress(OSError, ValueError):
            most = (group / limit).read_text(encoding="utf-8").strip()
            if most != "max":
                taken = int((group / usage).read_text(encoding="utf-8"))
                yield int(most) - taken + _entry(group / "memory.stat", reclaimable)
        if group == root:
            return


def _entry(path: Path, name: str) -> int:
    rows = (line.split() for line in path.read_text(encoding="utf-8").splitlines())
    return next((int(row[1]) for row in rows if row[0] == name), 0)
