"""Control groups for a testbed: shares of a core, limits of memory, by version 1 or 2 of the kernel's."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
PERIOD_US = 10_000
REMOVE_SECONDS = 5.0


@cache
def no_groups(controller: str) -> str:
    """Why groups of this controller (``cpu``, ``memory``) cannot be made here; empty if they can."""
    folder = _parent(controller)
    if folder is None:
        return f"there is no control group for {controller} here"
    try:
        with ExitStack() as stack:
            Group(stack, "trial", controller)
    except OSError as error:
        return f"control groups cannot be made here: {error.strerror}"
    return ""


def orphans() -> list[Path]:
    """Groups that a testbed of any process has made and not removed."""
    folders = {folder for controller in ("cpu", "memory") if (folder := _parent(controller)) is not None}
    return [group for folder in folders for group in folder.glob("edged-*")]


def own() -> list[str]:
    """Names of the groups that this process has made and not removed."""
    return [group.name for group in orphans() if group.name.startswith(f"edged-{os.getpid()}-")]


def remove_orphans() -> list[str]:
    """Remove the groups of testbeds whose process is gone; their names."""
    gone = []
    for group in orphans():
        owner = group.name.split("-")[1]
        if owner.isdigit() and not os.path.exists(f"/proc/{owner}"):  # noqa: PTH110 - a process, not a file
            with suppress(OSError):
                group.rmdir()
                gone.append(group.name)
    return gone


class Group:
    """One control group of this process; ``stack`` removes it."""

    def __init__(self, stack: ExitStack, name: str, controller: str) -> None:
        """Make it. Raises ``OSError``."""
        parent = _parent(controller)
        if parent is None:
            raise FileNotFoundError(2, f"no control group for {controller}")
        self._unified = parent == ROOT
        self.folder = parent / f"edged-{os.getpid()}-{name}"
        self.folder.mkdir()
        stack.callback(self._remove)

    def add(self, pid: int) -> None:
        """Take a process in, with the threads that it has."""
        (self.folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def cores(self, share: float) -> None:
        """Allow this many cores (0.5: half of one)."""
        quota = max(int(share * PERIOD_US), 1000)
        if self._unified:
            (self.folder / "cpu.max").write_text(f"{quota} {PERIOD_US}", encoding="ascii")
        else:
            (self.folder / "cpu.cfs_period_us").write_text(str(PERIOD_US), encoding="ascii")
            (self.folder / "cpu.cfs_quota_us").write_text(str(quota), encoding="ascii")

    def memory(self, size_bytes: int) -> None:
        """Kill a process of the group when all of them together need more than this."""
        name = "memory.max" if self._unified else "memory.limit_in_bytes"
        (self.folder / name).write_text(str(size_bytes), encoding="ascii")

    def used_bytes(self) -> int:
        """Memory that the group has been charged for."""
        name = "memory.current" if self._unified else "memory.usage_in_bytes"
        return int((self.folder / name).read_text(encoding="ascii"))

    def _remove(self) -> None:
        """Let its processes go, to the group around it, and remove it."""
        deadline = time.monotonic() + REMOVE_SECONDS
        while self.folder.exists():
            for pid in (self.folder / "cgroup.procs").read_text(encoding="ascii").split():
                with suppress(OSError):
                    (self.folder.parent / "cgroup.procs").write_text(pid, encoding="ascii")
            try:
                self.folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    return
                time.sleep(0.02)


def _parent(controller: str) -> Path | None:
    """The folder in which groups of this controller are made: the one tree of version 2, or its own of version 1."""
    controllers = ROOT / "cgroup.controllers"
    if controllers.exists():
        delegated = (ROOT / "cgroup.subtree_control").read_text(encoding="ascii").split()
        return ROOT if controller in delegated else None
    own = ROOT / controller
    return own if own.is_dir() else None
