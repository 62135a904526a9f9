"""The live view driven as a person drives it: on real terminals of several sizes, with real nodes."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from edged.client import Client
from edged.transport.security import read_cluster_key
from edged.tui.screen import BEGIN
from tests.cli.shell import JOBS, PATIENCE_SECONDS, edged, wait_until
from tests.cli.terminal import (
    ALTERNATE_SCREEN_OFF,
    ALTERNATE_SCREEN_ON,
    CTRL_C,
    CTRL_Z,
    ENTER,
    ESCAPE,
    Terminal,
)

LONELY = ["--no-discovery", "--listen", "127.0.0.1:0", "--threads", "1"]
COLOUR = re.compile(r"\x1b\[[0-9;]*3[0-7]m")
SIZES = [(40, 10), (80, 24), (160, 50), (250, 70)]
PICTURES, PICTURES_A_SECOND = 20, 2.0
MOST_OF_A_CORE = 0.02


@pytest.fixture
def running(desk: Path) -> Iterator[str]:
    """A job that goes on for long."""
    job = edged("train", f"{JOBS}:slow", "--detach", home=desk).out.strip()
    wait_until(lambda: state_of(desk, job) == "running")
    yield job
    edged("stop", job, home=desk)


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Path]:
    """Home of a node that knows nobody."""
    process = subprocess.Popen(
        [sys.executable, "-m", "edged", "join", "--leave-at-eof", "--no-tui", "--home", str(tmp_path), *LONELY],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    wait_until(lambda: edged("status", home=tmp_path).status == 0)
    yield tmp_path
    process.kill()
    process.communicate()


def state_of(home: Path, job: str) -> str:
    return next(each["state"] for each in edged("jobs", "--json", home=home).object["jobs"] if each["job"] == job)


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_watching_shows_the_job_and_ends_with_q_at_any_size(desk: Path, running: str, columns: int, rows: int) -> None:
    with Terminal("watch", "--home", desk, columns=columns, rows=rows) as terminal:
        terminal.wait_to_see("2 of 2 nodes alive", 0)
        terminal.wait_to_see(": running")
        terminal.wait_to_see("desk")
        terminal.wait_to_see("q quit", rows - 1)
        assert len(terminal.display) == rows
        if rows >= 24:
            terminal.wait_to_see("╭ laptop")
            terminal.wait_to_see("─▶")
            terminal.wait_to_see("last events")
            terminal.wait(lambda: any("⠀" < sign <= "⣿" for line in terminal.display for sign in line), "a curve")
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_before


def test_the_view_follows_the_terminal_s_size(desk: Path, trained: object) -> None:
    with Terminal("watch", "--home", desk, columns=80, rows=24) as terminal:
        terminal.wait_to_see("q quit", 23)
        for columns, rows in (160, 50), (40, 10), (100, 30):
            terminal.resize(columns, rows)
            terminal.wait_to_see("q quit", rows - 1)
            terminal.wait_to_see("2 of 2 nodes alive", 0)
        terminal.type(CTRL_C)
        assert terminal.end() == 0
        assert terminal.is_as_before


def test_watching_goes_on_while_something_happens(desk: Path, running: str) -> None:
    def step() -> int:
        found = re.search(r"step (\d+)/", "\n".join(terminal.display))
        return int(found[1]) if found else 0

    with Terminal("watch", "--home", desk, "--interval", "0.1") as terminal:
        terminal.wait(lambda: step() > 0, "a step")
        first = step()
        terminal.wait(lambda: step() >= first + 3, "three more steps")
        terminal.type(CTRL_C)
        assert terminal.end() == 0


@pytest.mark.alone
@pytest.mark.slow
def test_twice_a_second_there_is_a_new_picture_and_hardly_a_core_is_used(
    desk: Path, running: str, figure: list[str]
) -> None:
    with Terminal("watch", "--home", desk, columns=160, rows=50) as terminal:
        terminal.wait_to_see(": running")
        terminal.wait_to_see("last events")
        watching = psutil.Process(terminal.process.pid)
        began, used, drawn = time.monotonic(), watching.cpu_times(), terminal.raw.count(BEGIN)
        terminal.wait(lambda: terminal.raw.count(BEGIN) >= drawn + PICTURES, "pictures are drawn")
        now, seconds = watching.cpu_times(), time.monotonic() - began
        pictures = terminal.raw.count(BEGIN) - drawn
        cost = (now.user + now.system - used.user - used.system) / pictures
        rate = pictures / seconds
        terminal.type("q")
        assert terminal.end() == 0
    figure.append(f"live view at 160x50: {rate:.2f} pictures a second, {100 * rate * cost:.1f} % of a core")
    assert PICTURES_A_SECOND / 10 < rate < 2 * PICTURES_A_SECOND, "less than twice, on a machine that does much else"
    assert cost < 10 * MOST_OF_A_CORE / PICTURES_A_SECOND, "less processor time, on a machine that does nothing else"


def test_the_key_p_pauses_a_job_and_lets_it_go_on(desk: Path, running: str) -> None:
    with Terminal("watch", "--home", desk) as terminal:
        terminal.wait_to_see("p pause", 29)
        terminal.type("p")
        terminal.wait_to_see("‖ job")
        wait_until(lambda: state_of(desk, running) == "paused")
        terminal.wait_to_see("p resume", 29)
        terminal.type("p")
        terminal.wait_to_see("▶ job")
        wait_until(lambda: state_of(desk, running) == "running")
        terminal.type("q")
        assert terminal.end() == 0


def test_the_help_page_comes_and_goes(desk: Path) -> None:
    with Terminal("watch", "--home", desk) as terminal:
        terminal.wait_to_see("? help", 29)
        terminal.type("?")
        terminal.wait_to_see("★ leads, ● alive")
        terminal.type("?")
        terminal.wait_to_see("last events")
        terminal.type("q")
        assert terminal.end() == 0


def test_a_node_is_let_go_from_a_watch_only_once_that_is_typed_out(alone: Path) -> None:
    with Terminal("watch", "--home", alone) as terminal:
        terminal.wait_to_see("l let this node leave", 29)
        terminal.type("lyes" + ENTER)
        terminal.wait_to_see("l let this node leave", 29)
        terminal.type("lleave" + ESCAPE)
        terminal.wait_to_see("l let this node leave", 29)
        assert edged("status", home=alone).status == 0
        terminal.type("l")
        terminal.wait_to_see("› _", 29)
        terminal.type("leave")
        terminal.wait_to_see("› leave_", 29)
        terminal.type(ENTER)
        assert terminal.end() == 0
        assert "has left" in terminal.raw.rpartition(ALTERNATE_SCREEN_OFF)[2]
        assert terminal.is_as_before
    assert edged("status", home=alone).status == 3


def test_when_the_node_that_is_watched_is_gone_that_is_told(alone: Path) -> None:
    with Terminal("watch", "--home", alone) as terminal:
        terminal.wait_to_see("1 of 1 nodes alive")
        edged("leave", home=alone)
        assert terminal.end() == 3
        assert "start it again with" in terminal.raw.rpartition(ALTERNATE_SCREEN_OFF)[2]
        assert terminal.is_as_before


def test_a_home_without_a_node_never_touches_the_terminal(tmp_path: Path) -> None:
    with Terminal("watch", "--home", tmp_path) as terminal:
        assert terminal.end() == 3
        assert "no node is running" in terminal.shown
        assert ALTERNATE_SCREEN_ON not in terminal.raw


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_watch_that_is_told_to_end_gives_the_terminal_back(desk: Path, number: int) -> None:
    with Terminal("watch", "--home", desk) as terminal:
        terminal.wait_to_see("q quit", 29)
        terminal.process.send_signal(number)
        assert terminal.end() == 128 + number
        assert terminal.is_as_before


def test_control_z_gives_the_terminal_back_until_it_goes_on(desk: Path) -> None:
    with Terminal("watch", "--home", desk) as terminal:
        terminal.wait_to_see("q quit", 29)
        terminal.type(CTRL_Z)
        stopped = psutil.Process(terminal.process.pid)
        terminal.wait(lambda: stopped.status() == psutil.STATUS_STOPPED, "it stands still")
        terminal.wait(lambda: terminal.is_as_before, "the terminal is given back")
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait(lambda: terminal.raw.count(ALTERNATE_SCREEN_ON) == 2, "it takes the terminal again")
        terminal.wait_to_see("q quit", 29)
        terminal.type("q")
        assert terminal.end() == 0
        assert terminal.is_as_before


def test_in_the_background_it_waits_without_a_word_until_it_is_brought_to_the_front(desk: Path) -> None:
    with Terminal("--norc", "--noprofile", "-i", command=("bash",), PS1="ready> ", HISTFILE="") as terminal:
        terminal.wait_for("ready> ")
        terminal.type(f"{sys.executable} -m edged watch --home {desk} &" + ENTER)
        terminal.wait(lambda: bool(watching := children(terminal)) and any(reads(each) for each in watching), "it runs")
        terminal.type("jobs" + ENTER)
        terminal.wait_for("Running")
        assert ALTERNATE_SCREEN_ON not in terminal.raw
        terminal.type("fg" + ENTER)
        terminal.wait_to_see("q quit", 29)
        terminal.type("q")
        terminal.wait(lambda: "ready> " in terminal.raw.partition(ALTERNATE_SCREEN_OFF)[2], "it has ended")
        terminal.type("exit" + ENTER)
        assert terminal.end() == 0


def children(terminal: Terminal) -> list[psutil.Process]:
    return psutil.Process(terminal.process.pid).children()


def reads(process: psutil.Process) -> bool:
    """Whether a watch has come so far that it follows the node; a shell has other children too, for a moment."""
    with suppress(psutil.NoSuchProcess):
        return process.num_threads() > 1
    return False


def test_no_colour_is_sent_to_whom_wants_none(desk: Path) -> None:
    with Terminal("watch", "--home", desk) as terminal:
        terminal.wait_to_see("q quit", 29)
        terminal.type("q")
        assert terminal.end() == 0
        assert COLOUR.search(terminal.raw)
    with Terminal("watch", "--home", desk, NO_COLOR="1") as terminal:
        terminal.wait_to_see("q quit", 29)
        terminal.type("q")
        assert terminal.end() == 0
        assert not COLOUR.search(terminal.raw)


def test_a_single_picture_on_a_terminal_has_colours_for_whom_wants_them(desk: Path) -> None:
    for variables in ({}, {"NO_COLOR": "1"}):
        with Terminal("watch", "--once", "--home", desk, **variables) as terminal:
            assert terminal.end() == 0
        assert "last events" in terminal.shown
        assert bool(COLOUR.search(terminal.raw)) == (not variables)


@pytest.mark.parametrize("arguments", [[], ["--once"]])
def test_a_terminal_that_cannot_be_drawn_on_gets_one_picture(desk: Path, arguments: list[str]) -> None:
    with Terminal("watch", "--home", desk, *arguments, TERM="dumb") as terminal:
        assert terminal.end() == 0
        assert "last events" in terminal.shown
        assert "\x1b" not in terminal.raw


def test_a_node_shows_itself_follows_the_size_and_leaves_by_its_key(tmp_path: Path) -> None:
    with Terminal("join", "--home", tmp_path, *LONELY, columns=80, rows=24) as terminal:
        terminal.wait_to_see("1 of 1 nodes alive", 0)
        terminal.wait_to_see("join from another device with:")
        terminal.wait_to_see("Ctrl-C leave", 23)
        terminal.resize(160, 50)
        terminal.wait_to_see("Ctrl-C leave", 49)
        terminal.type("q")  # no key of a node's own view
        terminal.type("l")
        terminal.wait_to_see("› _", 49)
        terminal.type("leave" + ENTER)
        assert terminal.end() == 0
        assert f"its log is {tmp_path / 'edged.log'}" in terminal.raw.rpartition(ALTERNATE_SCREEN_OFF)[2]
        assert terminal.is_as_before


def test_a_node_that_sees_only_a_stranger_says_why(alone: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Another cluster with the same key: the reason stands in the view, with what to do."""
    home, key = tmp_path_factory.mktemp("stranger"), read_cluster_key(alone) or ""
    (home / "key.txt").write_text(key, encoding="utf-8")
    address = Client(alone).ask("status")["members"][0]["address"].removeprefix("tcp://")
    arguments = ["--cluster", "elsewhere", "--key-file", home / "key.txt", "--seed", address, *LONELY]
    with Terminal("join", "--home", home, *arguments) as terminal:
        terminal.wait_to_see("not met: ")
        terminal.wait_to_see("elsewhere")
        terminal.type(CTRL_C)
        assert terminal.end() == 0
        assert terminal.is_as_before


def test_a_node_that_cannot_go_on_gives_the_terminal_back_and_says_why(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with Terminal("join", "--home", tmp_path, "--no-discovery", "--listen", address) as terminal:
            assert terminal.end() == 2
            assert f"{address} is in use" in terminal.raw.rpartition(ALTERNATE_SCREEN_OFF)[2]
            assert ALTERNATE_SCREEN_ON in terminal.raw
            assert terminal.is_as_before


def test_a_picture_is_also_written_where_there_is_no_terminal(desk: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "edged", "watch", "--once", "--home", str(desk)],
        capture_output=True, timeout=PATIENCE_SECONDS, check=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "80"},
    )  # fmt: skip
    assert b"2 of 2 nodes alive" in done.stdout
    assert b"\x1b" not in done.stdout
