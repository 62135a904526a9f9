"""Memory, threads, clock, open files: facts become findings; groups are read as the kernel writes them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edged.doctor import machine
from edged.doctor.amounts import seconds_in_words, size
from edged.doctor.finding import Finding, Level
from edged.doctor.machine import ClockFacts, MemoryFacts, ThreadFacts

GB = 10**9
CLOCK = ClockFacts(wall=2e9, newest_file=1.9e9, backwards=0, resolution=1e-9, synchronized=None)
THREADS = ThreadFacts(cores=8, usable=8, quota=0.0, omp="", threads=8)


def shown(found: list[Finding]) -> list[tuple[str, Level]]:
    return [(each.id, each.level) for each in found]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (MemoryFacts(8 * GB, 4 * GB, None), [("memory", Level.OK)]),
        (MemoryFacts(8 * GB, 4 * GB, 6 * GB), [("memory", Level.OK)]),
        (MemoryFacts(2 * GB, GB // 2, None), [("memory", Level.WARNING)]),
        (MemoryFacts(GB, GB // 10, None), [("memory", Level.PROBLEM)]),
        (MemoryFacts(8 * GB, 4 * GB, GB), [("memory", Level.OK), ("memory-limit", Level.WARNING)]),
        (MemoryFacts(8 * GB, 4 * GB, GB // 10), [("memory", Level.OK), ("memory-limit", Level.PROBLEM)]),
    ],
)
def test_memory(facts: MemoryFacts, expected: list[tuple[str, Level]]) -> None:
    assert shown(machine.judge_memory(facts)) == expected


def test_a_limit_of_the_group_names_a_budget_that_fits() -> None:
    assert [each.id for each in machine.judge_memory(MemoryFacts(8 * GB, 4 * GB, None), 4 * GB)] == ["memory"]
    more = machine.judge_memory(MemoryFacts(8 * GB, 4 * GB, None), 9 * GB)[1]
    assert (more.id, more.level) == ("memory-option", Level.WARNING)
    assert "--memory 9 GB" in more.what
    finding = machine.judge_memory(MemoryFacts(8 * GB, 4 * GB, GB))[1]
    assert "edged join --memory 700MB" in finding.remedy


def groups(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text + "\n")
    return folder


def test_the_tightest_group_of_the_new_kind_counts(tmp_path: Path) -> None:
    tree = groups(
        tmp_path,
        {
            "a/memory.max": "1000",
            "a/memory.current": "400",
            "a/b/memory.max": "max",
            "a/b/memory.current": "300",
        },
    )
    assert machine.group_left(tree, "0::/a/b\n") == 600
    assert machine.group_left(tree, "0::/elsewhere\n") is None
    assert machine.group_left(tree, "") is None


def test_groups_of_the_old_kind_and_of_a_container(tmp_path: Path) -> None:
    old = groups(
        tmp_path / "old",
        {
            "memory/box/memory.limit_in_bytes": "5000",
            "memory/box/memory.usage_in_bytes": "6000",
            "memory/memory.limit_in_bytes": str(2**63 - 4096),
            "memory/memory.usage_in_bytes": "1",
        },
    )
    assert machine.group_left(old, "9:memory:/box\n3:cpu,cpuacct:/box\n") == 0
    container = groups(tmp_path / "new", {"memory.max": "900", "memory.current": "100"})
    assert machine.group_left(container, "0::/\n") == 800


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        (THREADS, Level.OK, "8 compute threads on 8 of 8 cores; OMP_NUM_THREADS is not set"),
        (replace(THREADS, threads=12, omp="12"), Level.WARNING, "OMP_NUM_THREADS is 12"),
        (replace(THREADS, usable=2), Level.WARNING, "2 of 8"),
        (replace(THREADS, quota=1.5), Level.WARNING, "1.5 cores"),
        (replace(THREADS, quota=0.5, threads=1), Level.OK, "0.5 cores"),
        (replace(THREADS, threads=1), Level.OK, "1 compute thread on"),
    ],
)
def test_threads(facts: ThreadFacts, level: Level, word: str) -> None:
    finding = machine.judge_threads(facts)
    assert finding.level is level
    assert word in finding.what
    if level is Level.WARNING:
        most = min(facts.usable, int(facts.quota) or 99)
        assert finding.remedy == f"edged join --threads {most}"


def test_threads_are_those_that_a_node_would_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert machine.measure_threads(0).threads == 3
    assert machine.measure_threads(5).threads == 5


@pytest.mark.parametrize(
    ("facts", "level", "word"),
    [
        (CLOCK, Level.OK, "steadily"),
        (replace(CLOCK, synchronized=True), Level.OK, "time server"),
        (replace(CLOCK, synchronized=False), Level.NOTE, "no time server"),
        (replace(CLOCK, newest_file=2e9 + 3 * 86400), Level.WARNING, "3 days behind"),
        (replace(CLOCK, newest_file=2e9 + 30), Level.OK, "steadily"),
        (replace(CLOCK, backwards=1), Level.PROBLEM, "back 1 times"),
        (replace(CLOCK, resolution=0.1), Level.PROBLEM, "resolution 0.1 s"),
    ],
)
def test_clock(facts: ClockFacts, level: Level, word: str) -> None:
    finding = machine.judge_clock(facts)
    assert finding.level is level
    assert word in finding.what


@pytest.mark.parametrize(
    ("soft", "level"), [(200, Level.PROBLEM), (256, Level.WARNING), (1024, Level.OK), (-1, Level.OK)]
)
def test_open_files(soft: int, level: Level) -> None:
    assert machine.judge_open_files(soft).level is level


def test_what_is_measured_here_can_be_judged(tmp_path: Path) -> None:
    assert machine.judge_memory(machine.measure_memory())
    clock = machine.measure_clock(tmp_path / "none")
    assert clock.backwards == 0
    assert machine.judge_clock(clock).level < Level.WARNING


def test_amounts_are_short() -> None:
    assert [size(number) for number in (5, 3.14e6, 2e13)] == ["5 B", "3.14 MB", "20 TB"]
    assert [seconds_in_words(number) for number in (0.04, 12, 300, 7300, 200000)] == [
        "40 ms", "12 s", "5 min", "2.03 h", "2.31 days",
    ]  # fmt: skip
