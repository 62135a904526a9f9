"""join, leave, config show: nodes in processes of their own, on a terminal where it matters."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from edged.cli.demo_nodes import DemoNode
from edged.transport.security import new_cluster_key, read_cluster_key, write_cluster_key
from tests.cli.shell import JOBS, PATIENCE_SECONDS, edged, edged_process, wait_until
from tests.cli.terminal import ALTERNATE_SCREEN_OFF, CTRL_C, Terminal

LONELY = ["--no-discovery", "--listen", "127.0.0.1:0", "--threads", "1"]


def own_address(nodes: list[DemoNode]) -> str:
    return nodes[0].address.removeprefix("tcp://")


def test_a_wrong_key_ends_with_4_and_says_what_to_compare(nodes: list[DemoNode], tmp_path: Path) -> None:
    key = edged("key", "new").out.strip()
    arguments = ["join", "--no-tui", *LONELY, "--cluster", "demo", "--key", key, "--seed", own_address(nodes)]
    outcome = edged_process(*arguments, home=tmp_path)
    assert outcome.status == 4
    assert "edged key show" in outcome.err.splitlines()[-1]
    assert "Traceback" not in outcome.err
    assert [event["event"] for event in outcome.objects] == ["ready"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--key", "edged-bad"], ["56 letters", "join-command"]),
        (["--key", "t6kjtbwugfsrd3m4nirw6n5fji7mhwdu5kflf5klgpbsjazonu3oum3a"], ["checksum", "again"]),
        (["--seed", "127.0.0.1:7077"], ["no key", "join-command"]),
        (["--seed", "127.0.0.1"], ["--seed is '127.0.0.1'", "port"]),
        (["--listen", "somewhere"], ["--listen", "HOST:PORT"]),
        (["--listen", "203.0.113.7:7077"], ["203.0.113.7", "--listen"]),
        (["--threads", "many"], ["--threads is 'many'", "whole number"]),
        (["--slowdown", "half"], ["--slowdown", "between 1 and 1000"]),
        (["--memory", "plenty"], ["--memory", "2GB"]),
        (["--device", "tpu"], ["--device", "cuda"]),
        (["--key-file", "missing"], ["--key-file missing", "no such file", "edged key show"]),
        (["--log-format", "xml"], ["--log-format", "json"]),
    ],
)
def test_a_wrong_option_of_join_is_told_with_what_to_write(
    tmp_path: Path, arguments: list[str], words: list[str]
) -> None:
    known = [] if "--listen" in arguments else LONELY
    outcome = edged("join", "--no-tui", *known, *arguments, home=tmp_path)
    assert outcome.refuses(2, *words)
    assert outcome.out == ""


def test_a_second_node_in_a_home_is_refused_with_the_first_one_s_process(nodes: list[DemoNode], desk: Path) -> None:
    outcome = edged("join", "--no-tui", *LONELY, home=desk)
    assert outcome.refuses(2, f"process {nodes[0].process.pid}", "--home")
    assert edged("status", home=desk).status == 0


def test_a_port_in_use_is_refused_with_another_to_try(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        outcome = edged_process("join", "--no-tui", "--no-discovery", "--listen", address, home=tmp_path)
    assert outcome.refuses(2, f"{address} is in use", "--listen")


@pytest.mark.parametrize("home", ["file", "file/below", "/proc/edged"])
def test_a_home_that_cannot_be_made_is_refused(tmp_path: Path, home: str) -> None:
    (tmp_path / "file").touch()
    outcome = edged("join", "--no-tui", *LONELY, home=tmp_path / home)
    assert outcome.refuses(2, "--home")


def own_node(home: Path, *more: str) -> subprocess.Popen[str]:
    """A node that nothing else is done with; it says little enough for its pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "edged", "join", "--leave-at-eof", "--home", str(home), "--no-tui", *LONELY, *more],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = own_node(tmp_path)
    yield process
    process.kill()
    process.communicate()


def test_the_first_start_prints_the_line_for_the_next_device_and_leave_ends_it(
    newcomer: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert newcomer.stderr is not None
    line = newcomer.stderr.readline()
    assert line.startswith("edged: join from another device with:  edged join --key ")
    assert read_cluster_key(tmp_path) in line
    assert "--seed 127.0.0.1:" in line
    wait_until(lambda: edged("status", home=tmp_path).status == 0)
    told = edged("leave", home=tmp_path)
    assert (told.status, told.err.splitlines()[-1].endswith(": has left")) == (0, True)
    assert edged("status", home=tmp_path).status == 3  # it has left when the command returns
    assert newcomer.wait(PATIENCE_SECONDS) == 0


def test_the_key_stays_out_of_logs_for_machines(tmp_path: Path) -> None:
    process = own_node(tmp_path, "--log-format", "json")
    try:
        wait_until(lambda: edged("status", home=tmp_path).status == 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        _, logged = process.communicate()
    key = read_cluster_key(tmp_path)
    assert key
    assert key not in logged
    assert all(isinstance(json.loads(line), dict) for line in logged.splitlines())


@pytest.mark.alone
def test_the_live_view_appears_invites_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with Terminal("join", "--leave-at-eof", "--home", tmp_path, *LONELY) as terminal:
        terminal.wait_for("1 of 1 nodes alive")
        terminal.wait_for("leads (★")
        assert "join from another device with:" in terminal.shown
        terminal.type(CTRL_C)
        asked = time.monotonic()
        assert terminal.end() == 0
    assert time.monotonic() - asked < 60  # promised are 2 s, on a machine that does nothing else
    after = terminal.raw.rpartition(ALTERNATE_SCREEN_OFF)[2]
    assert f"its log is {tmp_path / 'edged.log'}" in after
    assert "\x1b[?25h" in terminal.raw  # the cursor is back
    assert "leads" in (tmp_path / "edged.log").read_text()


def test_a_second_interrupt_leaves_at_once_and_gives_the_terminal_back(tmp_path: Path) -> None:
    with Terminal("join", "--leave-at-eof", "--home", tmp_path, *LONELY) as terminal:
        terminal.wait_for("leads (★")
        terminal.type(CTRL_C)
        terminal.type(CTRL_C)
        assert terminal.end() in {0, 130}  # it may have left before the second came
    assert ALTERNATE_SCREEN_OFF in terminal.raw


def state_of(home: Path, job: str) -> str:
    return next(each["state"] for each in edged("jobs", "--json", home=home).object["jobs"] if each["job"] == job)


@pytest.mark.parametrize(("answer", "after"), [("d\n", "running"), (CTRL_C, "running"), ("s\n", "stopped")])
def test_an_interrupt_while_following_asks_whether_to_stop(desk: Path, answer: str, after: str) -> None:
    job = edged("train", f"{JOBS}:slow", "--detach", home=desk).out.strip()
    try:
        with Terminal("attach", job, "--home", desk) as terminal:
            terminal.wait_for("samples/s")
            terminal.type(CTRL_C)
            terminal.wait_for("[d]etach (the job goes on) or [s]top it?")
            terminal.type(answer)
            assert terminal.end() == 130
        wait_until(lambda: state_of(desk, job) == after)  # at once, but where a node was thought dead for a moment
        assert (f"edged attach {job}" if after == "running" else "is stopped") in terminal.shown
    finally:
        edged("stop", job, home=desk)


def test_config_show_tells_where_each_value_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.toml").write_text('name = "shelf"\nseed = ["10.0.0.1:7077"]\n')
    monkeypatch.setenv("EDGED_THREADS", "3")
    monkeypatch.setenv("EDGED_KEY", "secret-token")
    shown = edged("config", "show", "--json", home=tmp_path)
    assert set(shown.object) == {"home", "options"}
    found = {row["option"]: (row["value"], row["origin"]) for row in shown.object["options"]}
    assert all(set(row) == {"option", "value", "origin"} for row in shown.object["options"])
    assert found["name"] == ("shelf", "file")
    assert found["seed"] == (["10.0.0.1:7077"], "file")
    assert found["threads"] == (3, "variable")
    assert found["listen"] == ("0.0.0.0:0", "default")
    assert found["key"] == ("(hidden)", "variable")
    assert "secret-token" not in shown.out
    text = edged("config", "show", home=tmp_path)
    assert 'name = "shelf"  # file' in text.out
    assert "# key: from the variable EDGED_KEY" in text.out
    assert "secret-token" not in text.out


def test_config_show_prints_what_config_toml_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("EDGED_")]:
        monkeypatch.delenv(name)
    (tmp_path / "config.toml").write_text('seed = ["[fe80::1]:7077"]\nmemory = "2GB"\ndiscovery = false\n')
    out = edged("config", "show", home=tmp_path).out
    comments = [line for line in out.splitlines() if line.startswith("#")]
    assert comments == [
        f"# home: {tmp_path}",
        "# name: the host's name",
        "# key: none yet, `edged join` makes one",
        "# key-file: the home's key",
        "# threads: OMP_NUM_THREADS, else all cores that the process may use",
        "# metrics-port: off",
    ]
    taken = tomllib.loads(out)
    assert (taken["memory"], taken["discovery"], taken["tui"]) == (2 * 10**9, False, True)
    assert (taken["cluster"], taken["slowdown"], taken["seed"]) == ("edged", 1.0, ["[fe80::1]:7077"])
    (tmp_path / "config.toml").write_text(out)
    again = edged("config", "show", home=tmp_path).out
    assert tomllib.loads(again) == taken
    write_cluster_key(tmp_path, new_cluster_key())
    shown = edged("config", "show", home=tmp_path).out
    assert f"# key: in {tmp_path / 'cluster.key'}; `edged key show` prints it" in shown
    assert (read_cluster_key(tmp_path) or "?") not in shown


def test_a_bad_variable_is_named_by_config_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_THREADS", "x")
    assert edged("config", "show", home=tmp_path).refuses(2, "EDGED_THREADS is 'x'")
