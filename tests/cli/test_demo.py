"""The demo, with a small job."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import JOBS, edged, edged_process


@pytest.mark.slow
def test_the_demo_proves_its_result_and_leaves_only_the_weights(tmp_path: Path) -> None:
    (tmp_path / "temporary").mkdir()
    outcome = edged_process(
        "demo", "--nodes", "2", "--job", JOBS, "--json", cwd=tmp_path, TMPDIR=str(tmp_path / "temporary")
    )
    summary = outcome.objects[-1]
    assert set(summary) == {"event", "accuracy", "equal", "killed", "joined", "state_sha256", "output", "seconds"}
    assert (summary["event"], summary["equal"]) == ("demo", True)
    assert Path(summary["output"]) == tmp_path / "edged-demo.safetensors"
    assert outcome.status == 1  # two epochs of random points are not learnt to 96 %
    assert outcome.err.splitlines()[-1] == "edged: the accuracy is below 96%"
    assert not [path for path in (tmp_path / "temporary").rglob("*") if not path.is_dir()]  # nor a socket


def test_a_missing_job_file_is_told(tmp_path: Path) -> None:
    assert edged("demo", "--job", tmp_path / "nothing.py").refuses(2, "--job", "no such file")
