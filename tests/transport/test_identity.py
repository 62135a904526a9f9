import json
import stat

import pytest

from edged.errors import ConfigError
from edged.transport.identity import load_identity, new_identity, node_of


def test_an_identity_stays_and_counts_its_starts(tmp_path):
    first, second = load_identity(tmp_path / "home"), load_identity(tmp_path / "home")
    assert (first.node, first.public_key, first.secret_key) == (second.node, second.public_key, second.secret_key)
    assert (first.boot, second.boot) == (1, 2)
    assert first.node == node_of(first.public_key)
    assert len(first.node) == 16


SECRET = "!O8<rcuko&Jt0DvC>LK%M#?pbLhrtq/7>hI(+3#n"
"""A sound one: tests of several workers have the same names."""


def test_two_homes_are_two_nodes(tmp_path):
    assert load_identity(tmp_path / "a").node != load_identity(tmp_path / "b").node


def test_only_the_owner_may_read_it(tmp_path):
    load_identity(tmp_path)
    path = tmp_path / "identity.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    load_identity(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["identity.json"]


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"\xff", b"[]", b'{"secret_key": "short", "boot": 1}', b'{"secret_key": 5, "boot": 1}']
    + [json.dumps({"secret_key": "\x7f" * 40, "boot": 1}).encode()]
    + [json.dumps({"secret_key": SECRET, "boot": boot}).encode() for boot in (-1, "1", True)],
)
def test_a_damaged_file_is_named(tmp_path, content):
    (tmp_path / "identity.json").write_bytes(content)
    with pytest.raises(ConfigError, match="identity.json is damaged; move it away"):
        load_identity(tmp_path)


def test_a_home_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot"):
        load_identity(tmp_path / "file")


def test_the_secret_is_not_shown():
    identity = new_identity()
    assert identity.secret_key not in repr(identity)
