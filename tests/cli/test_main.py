"""The command line itself: help, versions, mistakes, exit statuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import edged as package
from edged.client import Client
from edged.errors import ConfigError, JobError, JobFailedError, KeyRefusedError, NoNodeError
from tests.cli.shell import JOBS, edged

COMMANDS = ["join", "leave", "expel", "key", "config", "service", "init", "train", "jobs", "attach", "pause", "resume",
            "stop", "export", "status", "watch", "events", "replay", "doctor", "demo", "plan", "simulate"]  # fmt: skip


def test_help_names_every_command() -> None:
    outcome = edged("--help")
    assert outcome.status == 0
    assert all(f"  {command} " in outcome.out for command in COMMANDS)
    assert "..." not in outcome.out.partition("Commands:")[2]
    assert "..." not in edged("key", "--help").out.partition("Commands:")[2]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command: str) -> None:
    outcome = edged(command, "--help")
    assert outcome.status == 0
    assert outcome.out.startswith(f"Usage: edged {command}")


def test_the_version_is_printed() -> None:
    assert edged("--version").out == f"edged {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], ["no such command 'nonsense'", "`edged --help`"]),
        (["status", "--bogus"], ["--bogus", "`edged status --help`"]),
        (["train"], ["missing argument", "JOB.py", "`edged train --help`"]),
        (["pause"], ["missing argument 'JOB'", "`edged pause --help`"]),
        (["export", "x"], ["--output", "`edged export --help`"]),
        (["demo", "--nodes", "99"], ["--nodes", "16"]),
        (["key", "lose"], ["lose", "`edged key --help`"]),
        (["replay"], ["missing argument 'FILE'", "`edged replay --help`"]),
        (["service", "start"], ["start", "`edged service --help`"]),
    ],
)
def test_a_mistyped_command_is_told_in_one_line(arguments: list[str], words: list[str]) -> None:
    outcome = edged(*arguments)
    assert outcome.refuses(2, *words)
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [[], ["key"], ["config"], ["service"]])
def test_a_command_without_its_arguments_shows_help(arguments: list[str]) -> None:
    outcome = edged(*arguments)
    assert outcome.status == 2
    assert "Usage: edged" in outcome.out


@pytest.mark.parametrize(
    "arguments",
    [["status"], ["status", "--json"], ["train", str(JOBS)], ["train", "missing.py", "--json"], ["watch"], ["events"],
     ["jobs"], ["attach", "x"], ["stop", "x"], ["export", "x", "--output", "x.safetensors"], ["leave"],
     ["leave", "pi"], ["expel", "pi"], ["pause", "x"], ["resume", "x"]],
)  # fmt: skip
def test_without_a_node_every_command_says_how_to_start_one(tmp_path: Path, arguments: list[str]) -> None:
    outcome = edged(*arguments, home=tmp_path)
    assert outcome.refuses(3, "no node is running", f"edged join --home {tmp_path}")
    assert outcome.out == ""
    assert len(outcome.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(JobError, 1), (JobFailedError, 1), (ConfigError, 2), (NoNodeError, 3), (KeyRefusedError, 4)]
)
def test_every_error_of_the_user_has_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception], status: int
) -> None:
    def refuse(_self: Client, _command: str, **_fields: object) -> dict:
        raise error("because")

    monkeypatch.setattr(Client, "ask", refuse)
    assert edged("status").refuses(status, "because")


@pytest.mark.parametrize("arguments", [["--debug", "status"], ["status", "--debug"]])
def test_a_traceback_is_shown_only_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("EDGED_DEBUG", "")
    assert "Traceback" not in edged("status", home=tmp_path).err
    shown = edged(*arguments, home=tmp_path)
    assert "Traceback" in shown.err
    assert shown.status == 3
    monkeypatch.setenv("EDGED_DEBUG", "1")
    assert "Traceback" in edged("status", home=tmp_path).err


def test_an_interrupted_command_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(_self: Client, _command: str, **_fields: object) -> dict:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "ask", interrupt)
    assert edged("status").status == 130


def test_a_file_that_cannot_be_written_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(_self: Client, _command: str, **_fields: object) -> dict:
        raise OSError(28, "No space left on device", "/disk/file")

    monkeypatch.setattr(Client, "ask", fill)
    assert edged("status").refuses(1, "/disk/file: No space left on device")


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["status"], ["jobs"], ["config", "show"], ["service", "show"]]
)
def test_quick_commands_import_nothing_slow(tmp_path: Path, arguments: list[str]) -> None:
    code = (
        "import sys; from edged.cli.main import run; run(sys.argv[1:]); "
        "print([name for name in ('torch', 'numpy', 'zmq', 'zeroconf', 'rich', 'msgpack', 'psutil', 'asyncio') "
        "if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        capture_output=True,
        text=True,
        check=True,
        env={"EDGED_HOME": str(tmp_path)},
    )
    assert done.stdout.splitlines()[-1] == "[]"
