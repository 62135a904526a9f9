"""The documentation says what the program does."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from edged.compute.job_file import load
from edged.compute.local import train_local
from edged.config import OPTIONS
from edged.job import Job
from tests.cli.shell import edged

DOCS = Path(__file__).parents[2] / "docs"
COMMANDS = (DOCS / "commands.md").read_text(encoding="utf-8")
JOBS = (DOCS / "jobs.md").read_text(encoding="utf-8")
SECTION = re.compile(r"^## (edged .*?)\n(.*?)(?=^## |\Z)", re.DOTALL | re.MULTILINE)
SECTIONS = {title.split()[1]: text for title, text in SECTION.findall(COMMANDS)}
EVERYWHERE = {"--home", "--help", "--version", "--debug", "--install-completion", "--show-completion"}


def options_of(*command: str) -> set[str]:
    return set(re.findall(r"--[a-z-]+", edged(*command, "--help").out.partition("Options:")[2])) - EVERYWHERE


def test_every_command_has_its_section() -> None:
    listed = re.findall(r"^  ([a-z]+) ", edged("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert set(listed) == set(SECTIONS)


@pytest.mark.parametrize("command", [name for name in SECTIONS if name not in {"key", "config", "service"}])
def test_every_option_is_explained_and_none_is_invented(command: str) -> None:
    explained = set(re.findall(r"`(--[a-z-]+)", SECTIONS[command]))
    title = re.search(rf"^## edged {command}.*", COMMANDS, re.MULTILINE)
    explained |= set(re.findall(r"--[a-z-]+", title[0] if title else ""))
    assert explained - EVERYWHERE == options_of(command)


def test_every_command_of_a_service_is_explained_with_its_options() -> None:
    commands = re.findall(r"^  ([a-z]+) ", edged("service", "--help").out.partition("Commands:")[2], re.MULTILINE)
    assert re.findall(r"^`edged service ([a-z]+)`", SECTIONS["service"], re.MULTILINE) == commands
    options = set().union(*(options_of("service", command) for command in commands))
    assert options == set(re.findall(r"`(--[a-z-]+)", SECTIONS["service"]))


def test_the_options_of_a_home_are_those_of_join() -> None:
    assert {f"--{option.name}" for option in OPTIONS} <= options_of("join")
    assert all(f"`--{option.name}" in SECTIONS["join"] for option in OPTIONS)


def test_every_field_of_a_job_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", JOBS, re.MULTILINE)
    assert explained == [field.name for field in fields(Job)]


def test_the_example_of_jobs_md_trains_alone_and_together(desk: Path, tmp_path: Path, monkeypatch) -> None:
    code = re.search(r"```python\n# job.py\n(.*?)```", JOBS, re.DOTALL)
    assert code is not None
    (tmp_path / "job.py").write_text(code[1])
    monkeypatch.chdir(tmp_path)
    alone = edged("train", "job.py", "--local", "--json")
    together = edged("train", "job.py", "--output", "first.safetensors", "--json", home=desk)
    assert together.objects[-1]["state_sha256"] == alone.objects[-1]["state_sha256"]
    changed = edged("train", "job.py:job", "--local", "--set", "epochs=1", "--set", "optimizer.lr=0.01", "--json")
    assert changed.objects[-1]["steps"] == 15

    job = load("job.py")
    result = train_local(job)
    assert result.state_sha256 == alone.objects[-1]["state_sha256"]
    job.model.load_state_dict(result.state_dict())
