"""The container file: what can be told without building it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from edged.config import OPTIONS
from tests.cli.shell import edged, edged_process

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Containerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n\s*", " ", TEXT).splitlines()
STEPS = [line.split(" ", 1) for line in LINES if line and not line.startswith("#")]


def values(instruction: str) -> list[str]:
    return [value for name, value in STEPS if name == instruction]


def test_it_copies_what_there_is_and_what_is_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    copied = [word for value in values("COPY") if not value.startswith("--from") for word in value.split()[:-1]]
    assert copied
    assert all((ROOT / word).exists() for word in copied)
    assert {f"!{word}" for word in copied} <= set(ignored)
    assert {"edged", "pyproject.toml", "README.md", "LICENSE"} <= set(copied), "what the build of a wheel reads"


def test_the_node_is_nobody_special_and_its_home_a_volume() -> None:
    assert values("USER") == ["edged"]
    assert values("VOLUME") == ["/var/lib/edged"]
    names = [name for name, _ in STEPS]
    assert names.index("USER") < names.index("ENTRYPOINT")
    assert names[-2:] == ["ENTRYPOINT", "CMD"]


def test_the_variables_are_options() -> None:
    given = dict(pair.split("=", 1) for value in values("ENV") for pair in shlex.split(value))
    known = {option.variable for option in OPTIONS} | {"EDGED_HOME", "PATH"}
    assert given.keys() <= known
    assert given["EDGED_UNATTENDED"] == "true"


@pytest.mark.parametrize("runs", [True, False])
def test_the_health_check_tells_whether_the_node_answers(desk: Path, tmp_path: Path, runs: bool) -> None:
    (check,) = values("HEALTHCHECK")
    command = shlex.split(check.partition("CMD ")[2])
    assert command[0] == "edged"
    assert command[-2:] == [">", "/dev/null"]
    told = edged_process(*command[1:-2], EDGED_HOME=str(desk if runs else tmp_path))
    assert (told.status == 0) == runs


def test_the_container_s_command_is_one_of_edged_s() -> None:
    assert values("ENTRYPOINT") == ['["edged"]']
    (command,) = values("CMD")
    assert edged(command.strip('[]"'), "--help").status == 0
