"""Secret files and the folders that they lie in, as other users of the device may have prepared them."""

import logging
import os
import stat
import tempfile
from pathlib import Path

import pytest

from edged.errors import ConfigError
from edged.transport.private import private_folder, read_private, write_private

NOBODY = 65534
OTHER = 65533

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be several users")


def mode_of(path):
    return stat.S_IMODE(path.lstat().st_mode)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.fixture
def shared():
    """A folder into which every user can look, and this test's other users can write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        path.chmod(0o755)
        yield path


class As:
    """Be another user for a while, as far as files go."""

    def __init__(self, user):
        self.user = user

    def __enter__(self):
        os.seteuid(self.user)

    def __exit__(self, *_):
        os.seteuid(0)


@pytest.mark.parametrize("mask", [0, 0o002, 0o022, 0o027, 0o077, 0o177, 0o777])
def test_a_secret_is_its_owners_alone_whatever_the_umask(tmp_path, umask, mask):
    home = tmp_path / "home"
    umask(mask)
    private_folder(home)
    write_private(home / "secret", b"x")
    write_private(home / "secret", b"y")
    umask(0o022)
    assert mode_of(home) == 0o700
    assert mode_of(home / "secret") == 0o600
    assert read_private(home / "secret") == b"y"
    assert [path.name for path in home.iterdir()] == ["secret"]


def test_a_folder_made_on_the_way_to_a_secret_is_its_owners_alone(tmp_path, umask):
    umask(0)
    write_private(tmp_path / "home" / "secret", b"x")
    assert mode_of(tmp_path / "home") == 0o700


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o666, 0o604, 0o620])
def test_a_secret_that_others_could_read_or_change_is_mended_with_words(tmp_path, caplog, mode):
    path = tmp_path / "cluster.key"
    path.write_bytes(b"secret")
    path.chmod(mode)
    with caplog.at_level(logging.WARNING):
        assert read_private(path) == b"secret"
        assert read_private(path) == b"secret"
    assert mode_of(path) == 0o600
    (record,) = caplog.records
    assert str(path) in record.getMessage()
    assert f"mode {mode:o}" in record.getMessage()
    assert "edged key rotate" in record.getMessage()


def test_a_secret_that_is_as_it_should_be_is_no_news(tmp_path, caplog):
    write_private(tmp_path / "secret", b"x" * 200_000)
    with caplog.at_level(logging.INFO):
        assert read_private(tmp_path / "secret") == b"x" * 200_000
    assert not caplog.records


def test_a_link_is_replaced_and_what_it_leads_to_is_not_touched(tmp_path):
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "secret").symlink_to(victim)
    (tmp_path / f".secret.{os.getpid()}").symlink_to(victim)
    write_private(tmp_path / "secret", b"x")
    assert victim.read_bytes() == b"precious"
    assert not (tmp_path / "secret").is_symlink()
    assert read_private(tmp_path / "secret") == b"x"


def test_a_link_to_nothing_is_no_secret(tmp_path):
    (tmp_path / "secret").symlink_to(tmp_path / "nothing")
    assert read_private(tmp_path / "secret") is None


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_file_is_refused_at_once(tmp_path, make):
    make(tmp_path / "secret")
    with pytest.raises(ConfigError, match="is no file; move it away"):
        read_private(tmp_path / "secret")


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757, 0o722])
def test_a_folder_into_which_others_could_write_is_mended_with_words(tmp_path, caplog, mode):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(mode)
    with caplog.at_level(logging.WARNING):
        private_folder(home)
        private_folder(home)
    assert mode_of(home) == mode & ~0o022
    (record,) = caplog.records
    assert f"could write into {home}" in record.getMessage()


def test_a_folder_that_is_meant_for_everybody_is_refused_and_left_as_it_is(tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    home.chmod(0o1777)
    with pytest.raises(ConfigError, match="others may write into it; choose a folder of your own with --home"):
        private_folder(home)
    assert mode_of(home) == 0o1777


def test_a_file_where_the_folder_should_be_is_refused(tmp_path):
    (tmp_path / "home").touch()
    with pytest.raises(ConfigError, match="--home"):
        private_folder(tmp_path / "home")


@needs_root
def test_a_secret_of_another_user_is_refused(shared):
    path = shared / "cluster.key"
    path.write_bytes(b"secret")
    path.chmod(0o644)
    os.chown(path, OTHER, OTHER)
    with As(NOBODY), pytest.raises(ConfigError, match="belongs to another user, who can change it; `sudo chown"):
        read_private(path)
    assert mode_of(path) == 0o644
    with As(OTHER):
        assert read_private(path) == b"secret"
    assert mode_of(path) == 0o600


@needs_root
@pytest.mark.parametrize("mode", [0o755, 0o777])
def test_a_folder_of_another_user_is_refused(shared, mode):
    """Somebody made ``/tmp/edged-1000`` before user 1000 did: who binds or writes there would do it in a trap."""
    home = shared / "home"
    home.mkdir()
    home.chmod(mode)
    os.chown(home, OTHER, OTHER)
    with As(NOBODY), pytest.raises(ConfigError, match="belongs to another user"):
        private_folder(home)
    assert mode_of(home) == mode
