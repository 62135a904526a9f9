"""A node and a run without one choose equal numbers of threads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edged.compute.cores import compute_threads
from edged.roles.device import Device


@pytest.mark.parametrize(("said", "threads"), [("1", 1), ("3", 3), (" 2,4", 2)])
def test_the_users_number_comes_first_then_the_variable(
    monkeypatch: pytest.MonkeyPatch, said: str, threads: int
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    assert (compute_threads(5), compute_threads()) == (5, threads)
    assert Device("cpu", 0, 1.0, 0).cores == threads


@pytest.mark.parametrize("said", ["", "0", "many", "-1"])
def test_without_a_usable_variable_it_is_the_cores_that_the_process_may_use(
    monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", said)
    every = os.cpu_count() or 1
    assert 1 <= compute_threads() <= every
    monkeypatch.setattr(os, "sched_getaffinity", lambda _process: {0, 2, 5}, raising=False)
    assert compute_threads() == Device("cpu", 0, 1.0, 0).cores == 3
    monkeypatch.delattr(os, "sched_getaffinity")
    assert compute_threads() == every


LOCAL = """
import json, os, sys
import edged.cli.jobs as jobs
import edged.compute.local
from edged.roles.device import Device
seen = []
class Trained:
    output = ""
    def __init__(self, job, **options):
        seen.append(options["threads"])
edged.compute.local.train_local = Trained
import edged.compute.job_file
edged.compute.job_file.load = lambda *_: None
jobs.train(sys.argv[1], local=True, as_json=True)
print(json.dumps([*seen, Device("cpu", 0, 1.0, 0).cores]))
"""


@pytest.mark.parametrize("said", ["1", None])
def test_the_command_and_a_node_choose_alike(said: str | None, tmp_path: Path) -> None:
    (tmp_path / "job.py").touch()
    kept = {name: value for name, value in os.environ.items() if name not in {"OMP_NUM_THREADS", "EDGED_THREADS"}}
    environment = kept if said is None else {**kept, "OMP_NUM_THREADS": said}
    command = [sys.executable, "-c", LOCAL, str(tmp_path / "job.py")]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    local, node = json.loads(run.stdout)
    assert local == node
    assert said is None or local == int(said)
