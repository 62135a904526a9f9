"""The home is looked at, not mended: its disk, modes, key and options."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from edged.doctor import home
from edged.doctor.finding import Finding, Level
from edged.doctor.home import DiskFacts, HomeFacts
from edged.transport.identity import load_identity
from edged.transport.security import new_cluster_key, write_cluster_key

GB = 10**9
DISK = DiskFacts(Path("/home/a/my edged"), 50 * GB, 100 * GB, writable=True, kind="ext4")
HOME = HomeFacts(Path("/home/a/edged"), 0o700, (), (), "")


def shown(found: list[Finding]) -> dict[str, Level]:
    return {each.id: each.level for each in found}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (DISK, {"disk": Level.OK}),
        (replace(DISK, free=GB), {"disk": Level.WARNING}),
        (replace(DISK, free=GB // 20), {"disk": Level.PROBLEM}),
        (replace(DISK, writable=False), {"disk": Level.PROBLEM}),
        (replace(DISK, kind="tmpfs"), {"disk": Level.OK, "file-system": Level.NOTE}),
        (replace(DISK, kind="cifs"), {"disk": Level.OK, "file-system": Level.WARNING}),
    ],
)
def test_disk(facts: DiskFacts, expected: dict[str, Level]) -> None:
    found = home.judge_disk(facts)
    assert shown(found) == expected
    assert all("'/home/a/my edged'" in each.remedy for each in found if each.level is Level.PROBLEM)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (HOME, {"home": Level.OK, "home-permissions": Level.OK, "key": Level.OK}),
        (replace(HOME, mode=None), {"home": Level.NOTE}),
        (replace(HOME, key=None), {"home": Level.OK, "home-permissions": Level.OK, "key": Level.NOTE}),
        (replace(HOME, key="56 letters"), {"home": Level.OK, "home-permissions": Level.OK, "key": Level.PROBLEM}),
        (replace(HOME, loose=("cluster.key",)), {"home": Level.OK, "home-permissions": Level.PROBLEM, "key": Level.OK}),
        (replace(HOME, given="56 letters"), {"home": Level.OK, "home-permissions": Level.OK, "key": Level.PROBLEM}),
        (HomeFacts(HOME.home, None, (), (), None, "56 letters"), {"home": Level.NOTE, "key": Level.PROBLEM}),
        (replace(HOME, mode=0o777), {"home": Level.OK, "home-permissions": Level.PROBLEM, "key": Level.OK}),
        (replace(HOME, mode=0o755), {"home": Level.OK, "home-permissions": Level.OK, "key": Level.OK}),
        (replace(HOME, strange=("held",)), {"home": Level.PROBLEM, "home-permissions": Level.OK, "key": Level.OK}),
    ],
)
def test_home(facts: HomeFacts, expected: dict[str, Level]) -> None:
    assert shown(home.judge_home(facts)) == expected


def test_loose_files_are_found_and_left_as_they_are(tmp_path: Path) -> None:
    write_cluster_key(tmp_path, new_cluster_key())
    load_identity(tmp_path)
    facts = home.measure_home(tmp_path)
    assert (facts.loose, facts.strange, facts.key) == ((), (), "")
    (tmp_path / "cluster.key").chmod(0o644)
    facts = home.measure_home(tmp_path)
    assert facts.loose == ("cluster.key",)
    assert (tmp_path / "cluster.key").stat().st_mode & 0o777 == 0o644
    assert f"chmod 600 {tmp_path / 'cluster.key'}" in {each.remedy for each in home.judge_home(facts)}


def test_a_damaged_key_is_told_and_never_shown(tmp_path: Path) -> None:
    token = new_cluster_key()
    (tmp_path / "cluster.key").write_text(token[:-1] + ("y" if token.endswith("x") else "x"))
    facts = home.measure_home(tmp_path)
    assert facts.key
    assert token[:7] not in facts.key
    (tmp_path / "cluster.key").unlink()
    assert home.measure_home(tmp_path).key is None
    assert home.measure_home(tmp_path / "none").mode is None
    assert home.measure_home(tmp_path / "none", token).given == ""
    assert "copy" in home.measure_home(tmp_path, "nonsense").given


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_files_of_another_user_are_named(tmp_path: Path) -> None:
    (tmp_path / "held").mkdir()
    os.chown(tmp_path / "held", 12345, 12345)
    facts = home.measure_home(tmp_path)
    assert facts.strange == ("held",)
    assert "chown" in home.judge_home(facts)[0].remedy


def test_the_disk_of_a_home_that_is_not_there_yet_is_the_one_it_would_lie_on(tmp_path: Path) -> None:
    facts = home.measure_disk(tmp_path / "a" / "b")
    assert facts.folder == tmp_path
    assert facts.writable
    assert facts.free > 0
    assert not list(tmp_path.iterdir())
    assert home.measure_disk(tmp_path).writable
    assert not list(tmp_path.iterdir())


def test_options_say_where_they_come_from_and_what_is_misspelt(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('name = "shelf"\n')
    chosen, found = home.read_options(tmp_path, {"listen": None}, {"EDGED_THREADS": "2", "EDGED_TREADS": "3"})
    assert chosen is not None
    assert (chosen.name, chosen.threads) == ("shelf", 2)
    assert shown(found) == {"config": Level.OK, "config-variable": Level.WARNING}
    assert "name (file), threads (variable)" in found[0].what
    assert found[1].remedy.startswith("unset EDGED_TREADS")


@pytest.mark.parametrize(
    ("written", "word"),
    [('nome = "shelf"', "unknown key 'nome'"), ("name = shelf", "TOML"), ("threads = -1", "least 0")],
)
def test_options_that_a_node_would_not_start_with_are_a_problem(tmp_path: Path, written: str, word: str) -> None:
    (tmp_path / "config.toml").write_text(written)
    chosen, (finding,) = home.read_options(tmp_path, {}, {})
    assert chosen is None
    assert finding.level is Level.PROBLEM
    assert word in finding.what
