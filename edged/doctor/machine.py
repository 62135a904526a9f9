"""Memory, threads, clock, open files: what the device can give."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import psutil

from edged.compute.cores import compute_threads
from edged.doctor.amounts import seconds_in_words, size
from edged.doctor.finding import Finding, Level

TIGHT_BYTES, SCARCE_BYTES = 2**28, 2**30
FEW_FILES, SCARCE_FILES = 256, 1024
TICKS = 1000
COARSE_SECONDS = 0.02
BEHIND_SECONDS = 60.0
GROUPS = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class MemoryFacts:
    """Bytes: of the device, free now, and what the group of this process may use more (``None``: no limit)."""

    total: int
    available: int
    group_left: int | None


@dataclass(frozen=True, slots=True)
class ThreadFacts:
    """Cores of the device and those that this process may use; share of them by quota (0.0: no quota).

    ``wanted``: compute threads by ``OMP_NUM_THREADS`` as it stands, and those that edged will use.
    """

    cores: int
    usable: int
    quota: float
    omp: str
    threads: int


@dataclass(frozen=True, slots=True)
class ClockFacts:
    """Wall clock and the newest time of a file of edged's own, in seconds since 1970; the monotonic clock.

    ``synchronized``: whether a time server is followed; ``None`` where that is not known cheaply.
    """

    wall: float
    newest_file: float
    backwards: int
    resolution: float
    synchronized: bool | None


def measure_memory() -> MemoryFacts:
    """Memory now."""
    memory = psutil.virtual_memory()
    return MemoryFacts(memory.total, memory.available, group_left(GROUPS, _read(Path("/proc/self/cgroup"))))


def group_left(groups: Path, own: str) -> int | None:
    """Bytes that the tightest group around this process leaves, as ``/proc/self/cgroup`` (``own``) names it.

    Version 2 (one tree) and version 1 (a tree for memory); a container sees its own group as the root.
    """
    left: list[int] = []
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers in {"", "memory"}:
            tree = groups / "memory" if controllers else groups
            names = (
                ("memory.limit_in_bytes", "memory.usage_in_bytes") if controllers else ("memory.max", "memory.current")
            )
            folder = tree / path.lstrip("/")
            left += [amount for each in (folder, *folder.parents) if (amount := _left(each, *names)) is not None]
    return min(left, default=None)


def _left(folder: Path, limit: str, usage: str) -> int | None:
    most, used = _read(folder / limit).strip(), _read(folder / usage).strip()
    if not most.isdecimal() or int(most) >= 1 << 60 or not used.isdecimal():
        return None
    return max(0, int(most) - int(used))


def judge_memory(facts: MemoryFacts, wanted: int = 0) -> list[Finding]:
    """Whether layers fit. ``wanted``: bytes that training may use, as the option says (0: nothing)."""
    what = f"{size(facts.available)} of {size(facts.total)} free"
    closed = "close other programs, or give edged less than it takes by itself: `edged join --memory 200MB`"
    if facts.available < TIGHT_BYTES:
        findings = [Finding("memory", Level.PROBLEM, what, closed)]
    elif facts.available < SCARCE_BYTES:
        findings = [Finding("memory", Level.WARNING, what, closed)]
    else:
        findings = [Finding("memory", Level.OK, what)]
    if wanted > facts.total:
        what = f"the options say --memory {size(wanted)}, and this device has {size(facts.total)}"
        findings.append(Finding("memory-option", Level.WARNING, what, "edged join without it measures what is free"))
    if facts.group_left is not None and facts.group_left < facts.available:
        what = f"a limit (cgroup) leaves this process {size(facts.group_left)} of the {size(facts.available)} free"
        level = Level.PROBLEM if facts.group_left < TIGHT_BYTES else Level.WARNING
        most = max(facts.group_left * 7 // 10 // 10**6, 100)
        findings.append(Finding("memory-limit", level, what, f"edged join --memory {most}MB, or raise the limit"))
    return findings


def measure_threads(wanted: int) -> ThreadFacts:
    """Cores and threads; ``wanted`` as the option says (0: nothing)."""
    cores = psutil.cpu_count(logical=True) or 1
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else cores
    quota = _quota(_read(GROUPS / "cpu.max"))
    return ThreadFacts(cores, usable, quota, os.environ.get("OMP_NUM_THREADS", ""), compute_threads(wanted))


def _quota(text: str) -> float:
    parts = text.split()
    return int(parts[0]) / int(parts[1]) if len(parts) == 2 and parts[0].isdecimal() else 0.0  # noqa: PLR2004 -- two


def judge_threads(facts: ThreadFacts) -> Finding:
    """Whether the compute threads fit the cores."""
    omp = f"OMP_NUM_THREADS is {facts.omp}" if facts.omp else "OMP_NUM_THREADS is not set"
    what = f"{facts.threads} compute thread{'s' * (facts.threads != 1)} on {facts.usable} of {facts.cores} cores; {omp}"
    most = min(facts.usable, max(1, int(facts.quota))) if facts.quota else facts.usable
    if facts.quota and facts.quota < facts.usable:
        what += f"; a limit (cgroup) gives it the time of {facts.quota:.3g} cores"
    if facts.threads > most:
        return Finding("threads", Level.WARNING, what, f"edged join --threads {most}")
    return Finding("threads", Level.OK, what)


def measure_clock(home: Path) -> ClockFacts:
    """Both clocks. A clock that starts in the past after each boot is behind the files that it dated before."""
    ticks = [time.monotonic() for _ in range(TICKS)]
    times = [_modified(path) for path in (Path(__file__), *(home.glob("*") if home.is_dir() else ()))]
    followed = Path("/run/systemd/timesync")
    return ClockFacts(
        wall=time.time(),
        newest_file=max(times),
        backwards=sum(later < earlier for earlier, later in pairwise(ticks)),
        resolution=time.get_clock_info("monotonic").resolution,
        synchronized=(followed / "synchronized").exists() if followed.is_dir() else None,
    )


def judge_clock(facts: ClockFacts) -> Finding:
    """Whether time goes on, and is about right."""
    if facts.backwards or facts.resolution > COARSE_SECONDS:
        what = f"the monotonic clock is unfit: back {facts.backwards} times, resolution {facts.resolution:.3g} s"
        return Finding("clock", Level.PROBLEM, what, "update the system; in a virtual machine, its host")
    behind = facts.newest_file - facts.wall
    if behind > BEHIND_SECONDS:
        what = f"the wall clock is {seconds_in_words(behind)} behind a file that edged wrote or installed"
        return Finding("clock", Level.WARNING, what, "sudo timedatectl set-ntp true")
    if facts.synchronized is False:
        return Finding("clock", Level.NOTE, "no time server has set the clock yet", "sudo timedatectl set-ntp true")
    return Finding("clock", Level.OK, "goes on steadily" + (", set by a time server" if facts.synchronized else ""))


def judge_open_files(soft: int) -> Finding:
    """Whether the limit of open files (``RLIMIT_NOFILE``; negative: none) is enough."""
    if 0 <= soft < SCARCE_FILES:
        level = Level.PROBLEM if soft < FEW_FILES else Level.WARNING
        return Finding("open-files", level, f"at most {soft} open files", "ulimit -n 4096, then `edged join`")
    return Finding("open-files", Level.OK, f"at most {soft} open files" if soft >= 0 else "as many as needed")


def _modified(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
