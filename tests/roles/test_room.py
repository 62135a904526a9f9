"""Memory that is free for this process, as control groups of both versions allow it."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from edged.roles.room import available_bytes, resident_bytes


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text + "\n", encoding="utf-8")


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    return tmp_path / "cgroup"


def test_without_limits_it_is_what_the_system_has(
    tmp_path: Path, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available_bytes() > 0
    assert resident_bytes() > 0
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=7_000_000))
    for text in ("", "0::/\n", "nonsense\n", "0::/user/session\n"):
        groups.write_text(text, encoding="utf-8")
        assert available_bytes(groups, tmp_path / "fs") == 7_000_000
    assert available_bytes(tmp_path / "missing", tmp_path / "fs") == 7_000_000


def test_the_tightest_group_above_this_process_counts_and_caches_are_free(tmp_path: Path, groups: Path) -> None:
    root = tmp_path / "fs"
    stat = "anon 1\ninactive_file 500000\n"
    write(root / "box", memory__max="5000000", memory__current="1500000", memory__stat=stat)
    write(root / "box/inner", memory__max="max", memory__current="900000", memory__stat=stat)
    groups.write_text("0::/box/inner\n", encoding="utf-8")
    assert available_bytes(groups, root) == 4_000_000
    write(root / "box/inner", memory__max="1000000")
    assert available_bytes(groups, root) == 600_000
    write(root / "box/inner", memory__current="9000000")
    assert available_bytes(groups, root) == 0


def test_the_first_version_of_control_groups_is_read_too(tmp_path: Path, groups: Path) -> None:
    root = tmp_path / "fs"
    files = {"memory__limit_in_bytes": "2000000", "memory__usage_in_bytes": "1000000"}
    write(root / "memory/docker/1", memory__stat="total_inactive_file 100000", **files)
    groups.write_text("9:cpu,cpuacct:/docker/1\n5:memory:/docker/1\n", encoding="utf-8")
    assert available_bytes(groups, root) == 1_100_000


def test_a_container_that_sees_only_its_own_groups_finds_them_at_the_root(tmp_path: Path, groups: Path) -> None:
    root = tmp_path / "fs"
    write(root, memory__max="3000000", memory__current="1000000", memory__stat="inactive_file 0")
    groups.write_text("0::/system.slice/docker-1.scope\n", encoding="utf-8")
    assert available_bytes(groups, root) == 2_000_000
