"""The control socket's path is short enough for every system, and the same for all who ask."""

from __future__ import annotations

import os
from pathlib import Path

from edged.telemetry.paths import local_socket_path


def test_a_short_home_holds_its_own_socket() -> None:
    assert local_socket_path(Path("/home/pi/.edged")) == Path("/home/pi/.edged/node.sock")


def test_a_long_home_gets_a_short_path_of_its_own() -> None:
    homes = [Path("/") / ("long" * 40) / name for name in ("a", "b")]
    paths = [local_socket_path(home) for home in homes]
    assert paths[0] == local_socket_path(homes[0])
    assert paths[0] != paths[1]
    assert all(len(os.fsencode(path)) <= 100 for path in paths)
    assert str(os.getuid()) in paths[0].parent.name


def test_a_relative_home_is_the_absolute_one(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.chdir("/")
    assert local_socket_path(Path("tmp/home")) == local_socket_path(Path("/tmp/home"))
