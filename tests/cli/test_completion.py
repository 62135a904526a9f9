"""What TAB offers: the protocol between shell and program, and a real bash that speaks it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from edged.cli import completion
from tests.cli.shell import Outcome, edged_process, wait_until

JOB = {"job": "aa11", "name": "digits", "state": "running", "step": 3, "steps": 9}


def offered(words: str, home: Path, shell: str = "bash") -> list[str]:
    """What is offered for the last word of a line, in a process of its own."""
    parts = words.split(" ")
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(parts) - 1), "_TYPER_COMPLETE_ARGS": words}
    variables |= {"_EDGED_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    told = edged_process(**variables, EDGED_HOME=str(home))
    assert (told.status, told.err) == (0, "")
    return [line for line in told.out.splitlines() if line]


def expect(line: str, home: Path, *words: str, shell: str = "bash") -> None:
    """These are offered, once the node has the half second that a completion waits for."""
    wait_until(lambda: sorted(offered(line, home, shell)) == sorted(words))


def test_nodes_and_jobs_of_the_running_node_are_offered(desk: Path, trained: Outcome) -> None:
    job = trained.objects[0]["job"]
    expect("edged leave ", desk, "desk", "laptop")
    expect("edged expel la", desk, "laptop")
    expect("edged attach sma", desk, "small")
    expect(f"edged attach {job[:8]}", desk, job)
    expect(f"edged export {job[:8]}", desk, job)
    assert offered(f"edged pause {job[:8]}", desk) == []
    assert offered("edged attach small --ho", desk) == ["--home"]


def test_a_home_that_was_typed_is_asked(desk: Path, tmp_path: Path) -> None:
    expect(f"edged leave --home {desk} ", tmp_path, "desk", "laptop")
    assert offered("edged leave ", tmp_path) == []


def test_shells_that_show_texts_get_them(desk: Path, trained: Outcome) -> None:
    job = trained.objects[0]["job"]
    expect(f"edged attach {job}", desk, f"{job}\tsmall, finished, step 16 of 16", shell="fish")
    (told,) = wait_until(lambda: offered(f"edged attach {job}", desk, "zsh"))
    assert f'"{job}":"small, finished, step 16 of 16"' in told


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("edged sta", {"status"}),
        ("edged service un", {"uninstall"}),
        ("edged join --device c", {"cpu", "cuda"}),
        ("edged join --minority ", {"fork", "wait"}),
        ("edged join --log-format ", {"text", "json"}),
        ("edged init --template h", {"huggingface"}),
        ("edged plan job.py --strategy p", {"pipeline"}),
        ("edged train jo", set()),  # the shell offers files
        ("edged replay ", set()),
    ],
)
def test_commands_and_values_of_options_need_no_node(tmp_path: Path, words: str, expected: set[str]) -> None:
    assert set(offered(words, tmp_path)) == expected


@pytest.mark.skipif(shutil.which("bash") is None, reason="this device has no bash")
def test_a_real_bash_completes_names_and_files(desk: Path, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "edged"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m edged "$@"\n')
    program.chmod(0o755)
    (tmp_path / "job.py").touch()
    script = """
        eval "$(_EDGED_COMPLETE=source_bash edged)"
        complete -p edged
        COMP_WORDS=(edged leave "") COMP_CWORD=2
        for _ in $(seq 60); do  # a node that has much else to do may not answer within half a second
          _edged_completion edged
          [ ${#COMPREPLY[@]} -gt 0 ] && break
        done
        printf '%s\\n' "${COMPREPLY[@]}" | sort
        COMP_WORDS=(edged train jo) COMP_CWORD=2
        _edged_completion edged
        echo "and ${#COMPREPLY[@]} others"
    """
    path = f"{program.parent}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash", "--norc", "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PATH": path, "EDGED_HOME": str(desk)},
    )
    told = done.stdout.splitlines()
    assert told == ["complete -o default -F _edged_completion edged", "desk", "laptop", "and 0 others"]
    assert "-o default" in told[0]  # where nothing is offered, bash offers files


def test_a_node_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "node.sock"))
        silent.listen()
        began = time.monotonic()
        context = SimpleNamespace(params={"home_flag": tmp_path}, info_name="attach")
        assert completion.jobs(context, "") == []
        assert time.monotonic() - began < 60.0, "half a second, on a machine that does nothing else"


def test_the_client_says_that_a_node_does_not_answer(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "node.sock"))
        silent.listen()
        with pytest.raises(completion.UserError, match="does not answer"):
            completion.Client(tmp_path, 0.05).ask("status")


def answers(monkeypatch: pytest.MonkeyPatch, command: str, rows: list) -> SimpleNamespace:
    monkeypatch.setattr(completion, "_ask", lambda _context, _command: {"jobs": rows, "members": rows})
    return SimpleNamespace(params={}, info_name=command)


def test_a_name_stands_for_its_newest_job_and_older_ones_go_by_id(monkeypatch: pytest.MonkeyPatch) -> None:
    context = answers(monkeypatch, "attach", [JOB, {**JOB, "job": "aa22"}, {**JOB, "job": "bb33", "name": "two words"}])
    assert [value for value, _ in completion.jobs(context, "")] == ["bb33", "digits", "aa11"]
    assert [value for value, _ in completion.jobs(context, "aa")] == ["aa11", "aa22"]
    assert [text for _, text in completion.jobs(context, "bb")] == ["two words, running, step 3 of 9"]


@pytest.mark.parametrize(
    ("command", "states"),
    [
        ("pause", ["queued", "running", "waiting"]),
        ("resume", ["paused"]),
        ("stop", ["queued", "running", "paused", "waiting"]),
        ("export", ["running", "finished"]),
        ("attach", ["queued", "running", "paused", "waiting", "finished", "failed", "stopped"]),
    ],
)
def test_only_jobs_that_a_command_can_be_used_on_are_offered(
    monkeypatch: pytest.MonkeyPatch, command: str, states: list[str]
) -> None:
    known = ["queued", "running", "paused", "waiting", "finished", "failed", "stopped"]
    context = answers(monkeypatch, command, [{**JOB, "job": state, "name": state, "state": state} for state in known])
    assert [value for value, _ in completion.jobs(context, "")] == states[::-1]


def test_who_has_gone_is_not_told_to_leave_and_who_is_expelled_not_expelled(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [
        {"node": "a" * 16, "name": "pi", "state": "alive", "expelled": False},
        {"node": "b" * 16, "name": "old", "state": "dead", "expelled": False},
        {"node": "c" * 16, "name": "lost", "state": "dead", "expelled": True},
        {"node": "d" * 16, "name": "my desk", "state": "suspect", "expelled": False},
    ]
    assert [value for value, _ in completion.nodes(answers(monkeypatch, "leave", rows), "")] == ["pi", "d" * 16]
    assert [value for value, _ in completion.nodes(answers(monkeypatch, "expel", rows), "")] == ["pi", "old", "d" * 16]


def test_completion_is_installed_where_the_shell_looks(tmp_path: Path) -> None:
    told = edged_process(
        "--install-completion", "bash", HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1"
    )
    assert told.status == 0, told.err
    written = tmp_path / ".bash_completions" / "edged.sh"
    assert str(written) in told.out
    assert "complete -o default -F _edged_completion edged" in written.read_text()
    assert f"source '{written}'" in (tmp_path / ".bashrc").read_text()
