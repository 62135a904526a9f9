"""One node per home."""

import os
import re
from pathlib import Path

import pytest

from edged.errors import ConfigError
from edged.roles.ending import FILE_NAME, last_end
from edged.roles.lock import HomeLock


def test_a_second_node_is_told_who_runs_there(tmp_path: Path) -> None:
    lock = HomeLock(tmp_path)
    with pytest.raises(ConfigError, match=f"process {os.getpid()}"):
        HomeLock(tmp_path)
    lock.release()
    HomeLock(tmp_path).release()


def test_why_a_node_ended_is_known_until_the_next_one_begins(tmp_path: Path) -> None:
    assert last_end(tmp_path) == ""
    lock = HomeLock(tmp_path)
    lock.ends("the cluster refused\nthis key")
    lock.release()
    assert re.fullmatch(
        r"the last one ended on [\d-]{10} at [\d:]{8}: the cluster refused this key", last_end(tmp_path)
    )
    (tmp_path / FILE_NAME).write_text('{"at": 7}')
    assert last_end(tmp_path) == ""
    HomeLock(tmp_path).release()
    assert not (tmp_path / FILE_NAME).exists()


def test_the_home_is_made_for_its_user_alone(tmp_path: Path) -> None:
    lock = HomeLock(tmp_path / "home")
    assert (tmp_path / "home").stat().st_mode & 0o777 == 0o700
    lock.release()


def test_a_home_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="--home"):
        HomeLock(tmp_path / "file")


def test_a_home_that_others_could_write_into_is_taken_from_them(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o777)
    HomeLock(home).release()
    assert home.stat().st_mode & 0o777 == 0o755
    assert "could write into" in caplog.text


def test_a_lock_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "node.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(ConfigError, match="node.lock"):
        HomeLock(tmp_path)
    assert (tmp_path / "victim").read_text() == "precious"
