"""The demo with a small job, on nodes that run already; the real one is in ``test_demo_whole.py``."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.cli.demo import _longer, _verdict
from edged.cli.demo_faults import Mishaps
from edged.cli.demo_nodes import DemoNode
from edged.client import Client
from edged.errors import JobFailedError
from tests.cli.shell import JOBS, edged


@pytest.fixture
def runs_here(nodes: list[DemoNode], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the demo train on the tests' nodes, which go on afterwards, and write into the test's folder."""
    monkeypatch.setattr("edged.cli.demo.start_nodes", lambda _stack, _folder, slowdowns: nodes[: len(slowdowns)])
    monkeypatch.setattr("edged.cli.demo.finish", lambda _process: None)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("runs_here")
def test_an_accuracy_that_is_too_low_ends_the_demo_with_1_after_its_summary(tmp_path: Path) -> None:
    outcome = edged("demo", "--nodes", "2", "--no-kill", "--job", JOBS, "--json")
    summary = outcome.objects[-1]
    assert set(summary) == {"event", "accuracy", "equal", "killed", "joined", "state_sha256", "output", "seconds"}
    assert (summary["event"], summary["equal"]) == ("demo", True)
    assert (summary["killed"], summary["joined"]) == (None, None)
    assert Path(summary["output"]) == tmp_path / "edged-demo.safetensors"
    assert outcome.status == 1  # two epochs of random points are not learnt to 96 %
    assert outcome.err.splitlines()[-1] == "edged: the accuracy is below 96%"


def test_weights_that_differ_end_the_demo_with_1(capsys: pytest.CaptureFixture[str]) -> None:
    together = {"state_sha256": "a" * 64, "metrics": {"accuracy": 0.97}, "output": "x", "seconds": 1.0}
    with pytest.raises(JobFailedError, match="the weights differ"):
        _verdict(together, {"state_sha256": "b" * 64, "seconds": 2.0}, None, 3.0, as_json=False)
    assert "weights NOT equal to the undisturbed run on one device" in capsys.readouterr().out


@pytest.mark.parametrize(("slowness", "epochs"), [(9.0, 20), (1.0, 20), (0.5, 40), (0.01, 80)])
def test_on_a_fast_device_the_shipped_job_is_made_longer(
    monkeypatch: pytest.MonkeyPatch, slowness: float, epochs: int
) -> None:
    members = [{"node": "b", "slowness": 5.0}, {"node": "a", "slowness": slowness}]
    monkeypatch.setattr(Client, "ask", lambda _client, _command: {"members": members})
    assert _longer(DemoNode(None, Path(), "", "a")) == ["--set", f"epochs={epochs}"]


def test_the_verdict_tells_who_was_killed_who_joined_and_that_no_step_was_lost(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mishaps = Mishaps([DemoNode(None, Path(), "", "a")], lambda: None)
    plan = {"event": "plan", "routes": [{"hops": [{"node": "e", "name": "jetson"}]}]}
    recovery = {"event": "recovery", "text": "pi-4 died; its layer 6 came back from desk in 0.8 s; no step lost"}
    assert len(list(mishaps.follow(iter([plan, recovery])))) == 2
    mishaps.killed, mishaps.killed_at = "pi-4", 20
    run = {"state_sha256": "a" * 64, "metrics": {"accuracy": 0.97}, "output": "x", "seconds": 1.0}
    _verdict(run, run, mishaps, 3.0, as_json=False)
    told = capsys.readouterr().out.splitlines()
    assert told[:2] == ["pi-4 was killed (SIGKILL) after step 20; jetson joined", f"  {recovery['text']}"]
    assert told[3].startswith("no step was lost: weights equal bit for bit to the undisturbed run")


def test_a_missing_job_file_is_told(tmp_path: Path) -> None:
    assert edged("demo", "--job", tmp_path / "nothing.py").refuses(2, "--job", "no such file")
