import stat

import pytest

from edged.errors import ConfigError
from edged.transport.security import (
    equal,
    is_retired,
    new_cluster_key,
    parse_token,
    read_cluster_key,
    retire_cluster_key,
    write_cluster_key,
)


def test_tokens_are_distinct_and_lead_to_distinct_doors():
    tokens = {new_cluster_key() for _ in range(20)}
    assert len(tokens) == 20
    assert len({parse_token(token).door_public for token in tokens}) == 20
    assert all(len(token) == 63 for token in tokens)


def test_the_same_token_gives_the_same_keys_however_it_is_typed():
    token = new_cluster_key()
    typed = " " + token.upper().replace("-", " ").replace("O", "0").replace("L", "1").replace("B", "8") + "\n"
    assert parse_token(typed) == parse_token(token)


def test_every_single_mistyped_character_is_found():
    token = new_cluster_key()
    for place, character in enumerate(token):
        if character != "-":
            wrong = token[:place] + ("c" if character != "c" else "d") + token[place + 1 :]
            with pytest.raises(ConfigError, match="checksum"):
                parse_token(wrong)


@pytest.mark.parametrize(
    ("token", "words"),
    [("", "has 0"), ("abc", "has 3"), ("9" * 56, "only the letters"), ("é" * 56, "only the letters")],
)
def test_what_is_no_token_is_explained_and_not_repeated(token, words):
    with pytest.raises(ConfigError, match=words) as problem:
        parse_token(token)
    assert len(token) < 4 or token not in str(problem.value)


def test_keys_are_not_shown():
    key = parse_token(new_cluster_key())
    assert repr(key) == "ClusterKey()"


def test_the_tag_depends_on_cluster_and_key():
    one, other = parse_token(new_cluster_key()), parse_token(new_cluster_key())
    assert one.tag("a") == one.tag("a")
    assert len({one.tag("a"), one.tag("b"), other.tag("a")}) == 3


def test_a_proof_binds_role_keys_and_nonces():
    key = parse_token(new_cluster_key())
    good = key.proof(b"joiner", "a", "b", b"n")
    assert equal(good, key.proof(b"joiner", "a", "b", b"n"))
    others = [(b"keeper", "a", "b", b"n"), (b"joiner", "b", "a", b"n"), (b"joiner", "a", "b", b"m")]
    assert not any(equal(good, key.proof(*other)) for other in others)


def test_the_key_is_kept_privately(tmp_path):
    token = new_cluster_key()
    assert read_cluster_key(tmp_path) is None
    write_cluster_key(tmp_path, token)
    assert read_cluster_key(tmp_path) == token
    assert stat.S_IMODE((tmp_path / "cluster.key").stat().st_mode) == 0o600


def test_a_damaged_key_file_is_named(tmp_path):
    (tmp_path / "cluster.key").write_text("abc")
    with pytest.raises(ConfigError, match=r"cluster\.key: a cluster key has 56"):
        read_cluster_key(tmp_path)
    with pytest.raises(ConfigError):
        write_cluster_key(tmp_path, "abc")


def test_an_exchanged_key_is_remembered_without_being_kept(tmp_path):
    old, older, other = (new_cluster_key() for _ in range(3))
    assert not is_retired(tmp_path, old)
    for token in (older, old):
        retire_cluster_key(tmp_path, token)
    assert [is_retired(tmp_path, token) for token in (old, old.upper(), older, other)] == [True, True, True, False]
    kept = (tmp_path / "retired-keys").read_text()
    assert old not in kept
    assert old.replace("-", "") not in kept
