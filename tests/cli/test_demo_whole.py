"""The demo as a new user runs it: four nodes, one killed, one that joins, the proof. Only the weights are left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from tests.cli.shell import JOBS, PATIENCE_SECONDS, edged_process, wait_until

MOST_SECONDS = 600.0
"""The promise is a minute on a machine of its own; a test run shares its machine with others."""

MOST_SECONDS_TO_END = 10.0


def processes_with(word: str) -> list[list[str]]:
    """Command lines of living processes that name ``word``."""
    return [line for process in psutil.process_iter() if word in " ".join(line := command_of(process))]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder of a short name: sockets lie in it."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def is_tidy(temporary: Path) -> None:
    """Torch may leave folders of its own."""
    assert not [path for path in temporary.rglob("*") if not path.is_dir()], "a file or a socket is left"
    assert not list(temporary.glob("edged-demo-*")), "the demo's folder is left"
    wait_until(lambda: not processes_with(str(temporary)))


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_four_nodes_learn_the_digits_through_a_kill_and_a_join_and_the_weights_equal_one_devices(
    tmp_path: Path, temporary: Path, record_property: Callable[[str, object], None]
) -> None:
    outcome = edged_process("demo", "--json", cwd=tmp_path, patience=MOST_SECONDS, TMPDIR=str(temporary))
    assert outcome.status == 0, outcome.err
    summary = outcome.objects[-1]
    assert (summary["event"], summary["equal"]) == ("demo", True)
    assert summary["accuracy"] >= 0.96
    plans = [event for event in outcome.objects if event["event"] == "plan"]
    assert plans, "the plan is told"
    runners = {hop["node"] for route in plans[-1]["routes"] for hop in route["hops"]}
    assert len(runners) > 1, "nothing was shared"
    told = [event for event in outcome.objects if event["event"] == "recovery"]
    assert summary["killed"] in {"laptop", "pi-5", "pi-4"}
    assert told[0]["cause"] == "died"
    assert summary["killed"] in told[0]["text"]
    assert summary["joined"] == "jetson", [event["text"] for event in told]
    assert [event["step"] for event in outcome.objects if event["event"] == "step"][-1] >= 440
    record_property("seconds", summary["seconds"])
    assert 0.0 < summary["seconds"] <= MOST_SECONDS
    assert Path(summary["output"]) == tmp_path / "edged-demo.safetensors"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["edged-demo.safetensors"]
    is_tidy(temporary)


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("word", ["starting 2 nodes", "plan 1.", "the same job on one device"])
def test_ctrl_c_ends_the_demo_at_once_and_says_what_is_left(tmp_path: Path, temporary: Path, word: str) -> None:
    job = ["--job", JOBS] if word.startswith("the same") else []
    command = [sys.executable, "-u", "-m", "edged", "demo", "--nodes", "2", "--no-kill", *map(str, job)]
    demo = subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "TMPDIR": str(temporary)},
    )  # fmt: skip
    with demo:
        assert next(line for line in demo.stdout if word in line)
        os.killpg(demo.pid, signal.SIGINT)  # as a terminal does
        began = time.monotonic()
        _, said = demo.communicate(timeout=PATIENCE_SECONDS)
        assert time.monotonic() - began < MOST_SECONDS_TO_END
    left = f"the weights in {tmp_path / 'edged-demo.safetensors'}" if job else "nothing"
    assert (demo.returncode, said) == (130, f"edged: interrupted: all nodes are ended; left behind: {left}\n")
    assert [path.name for path in tmp_path.iterdir()] == (["edged-demo.safetensors"] if job else [])
    is_tidy(temporary)
