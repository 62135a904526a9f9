from __future__ import annotations

from pathlib import Path

import pytest

from edged.config import home_of, parse_address, parse_size, resolve, settings
from edged.errors import ConfigError


def values(home: Path, flags: dict, environment: dict) -> dict:
    return {s.option.name: (s.value, s.origin) for s in resolve(home, flags, environment)}


def test_flag_wins_over_variable_over_file_over_default(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('name = "file"\ncluster = "file"\nthreads = 3\n')
    found = values(tmp_path, {"name": "flag"}, {"EDGED_NAME": "variable", "EDGED_CLUSTER": "variable"})
    assert found["name"] == ("flag", "flag")
    assert found["cluster"] == ("variable", "variable")
    assert found["threads"] == (3, "file")
    assert found["device"] == ("auto", "default")


@pytest.mark.parametrize(
    ("text", "size"), [("2GB", 2 * 10**9), ("512MiB", 512 * 2**20), ("1.5 kb", 1500), ("17", 17), (4096, 4096)]
)
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "2 apples", "-1", "GB", True])
def test_bad_sizes_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match="size|at least"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [("10.0.0.1:7077", ("10.0.0.1", 7077)), ("pi-4.local", ("pi-4.local", 0)), ("[fe80::1]:9", ("fe80::1", 9))],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("flags", "environment", "words"),
    [
        ({"memory": "much"}, {}, ["--memory", "2GB"]),
        ({}, {"EDGED_DEVICE": "tpu"}, ["EDGED_DEVICE", "cuda"]),
        ({"listen": "0.0.0.0:99999"}, {}, ["--listen", "port"]),
        ({"seed": ["10.0.0.1"]}, {}, ["--seed", "port"]),
        ({"slowdown": "0.5"}, {}, ["--slowdown", "between 1 and 1000"]),
        ({"threads": "-1"}, {}, ["--threads", "at least"]),
        ({"minority": "vote"}, {}, ["--minority", "fork, wait"]),
        ({"replicas": "-1"}, {}, ["--replicas", "at least"]),
        ({"replicas": "99"}, {}, ["--replicas", "at most 16"]),
        ({"journal": "1000"}, {}, ["--journal", "at least 1MB"]),
        ({"metrics-port": "high"}, {}, ["--metrics-port", "9464", "HOST:PORT"]),
        ({"metrics-port": "99999"}, {}, ["--metrics-port", "a port is below"]),
        ({}, {"EDGED_METRICS_PORT": "desk"}, ["EDGED_METRICS_PORT", "HOST:PORT"]),
        ({"discovery": "perhaps"}, {}, ["true or false"]),
    ],
)
def test_a_mistake_names_the_option_and_what_to_write(
    tmp_path: Path, flags: dict, environment: dict, words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, flags, environment)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("content", "word"), [("name = ", "is not TOML"), ("colour = 1", "colour"), ('key = "edged-x"', "own file")]
)
def test_a_bad_file_is_named(tmp_path: Path, content: str, word: str) -> None:
    (tmp_path / "config.toml").write_text(content)
    with pytest.raises(ConfigError, match=word) as caught:
        resolve(tmp_path, {}, {})
    assert str(tmp_path) in str(caught.value)


def test_a_secret_is_not_repeated_in_messages(tmp_path: Path) -> None:
    (tmp_path / "missing").touch()
    loaded = settings(tmp_path, {"key": "edged-secret"}, {})
    assert loaded.key == "edged-secret"


def test_the_key_may_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "k").write_text("token\n")
    assert settings(tmp_path, {"key-file": tmp_path / "k"}, {}).key == "token"
    with pytest.raises(ConfigError, match="edged key show"):
        settings(tmp_path, {"key-file": tmp_path / "nothing"}, {})


def test_home_comes_from_flag_then_variable(tmp_path: Path) -> None:
    assert home_of(tmp_path, {"EDGED_HOME": "/x"}) == tmp_path
    assert home_of(None, {"EDGED_HOME": "/x"}) == Path("/x")
    assert home_of(None, {}).name == "edged"


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("9464", ("127.0.0.1", 9464)),
        (0, ("127.0.0.1", 0)),
        ("0.0.0.0:9464", ("0.0.0.0", 9464)),
        ("[::1]:9464", ("::1", 9464)),
        ("desk:9464", ("desk", 9464)),
    ],
)
def test_metrics_are_served_on_loopback_unless_a_host_is_named(
    tmp_path: Path, written: object, address: tuple[str, int]
) -> None:
    assert settings(tmp_path, {}, {}).metrics is None
    assert settings(tmp_path, {"metrics-port": written}, {}).metrics == address
