"""--tensorboard: what is followed is read back from its event file with TensorBoard's own reader."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from edged.cli.event_file import EventFile
from edged.cli.progress import in_words
from tests.cli.shell import JOBS, Outcome, edged
from tests.cli.test_progress import PLAN, RECOVERY, STARTED, STEP

EVERYTHING = {"scalars": 0, "tensors": 0}


def rounded(value: float) -> float:
    """As event files keep numbers."""
    return torch.tensor(value, dtype=torch.float32).item()


class Read:
    """What TensorBoard sees in a folder."""

    def __init__(self, folder: Path) -> None:
        self._accumulated = EventAccumulator(str(folder), size_guidance=EVERYTHING)
        self._accumulated.Reload()
        self.tags = set(self._accumulated.Tags()["scalars"])
        self.notes = set(self._accumulated.Tags()["tensors"])

    def curve(self, tag: str) -> list[tuple[int, float]]:
        return [(point.step, point.value) for point in self._accumulated.Scalars(tag)]

    def texts(self, tag: str) -> list[tuple[int, str]]:
        """Its notes, each once: what older files say of curves is forgotten, their notes are joined."""
        found = self._accumulated.Tensors(tag)
        assert self._accumulated.SummaryMetadata(tag).plugin_data.plugin_name == "text"
        return list(dict.fromkeys((note.step, note.tensor_proto.string_val[0].decode()) for note in found))


def write(folder: Path, *events: dict[str, Any]) -> Path:
    with EventFile(folder) as file:
        for event in events:
            file.show(event)
    return file.path


def assert_told(read: Read, events: list[dict[str, Any]]) -> None:
    """Curves and notes are those of the events."""
    steps = [event for event in events if event["event"] == "step"]
    for name in ("loss", "learning_rate", "samples_per_second"):
        assert read.curve(f"train/{name}") == [(event["step"], rounded(event[name])) for event in steps]
    evaluated = [
        (max(step["step"] for step in events[:place] if step["event"] == "step"), event)
        for place, event in enumerate(events)
        if event["event"] == "eval"
    ]
    assert read.curve("eval/loss") == [(step, rounded(event["loss"])) for step, event in evaluated]
    assert read.curve("eval/accuracy") == [(s, rounded(event["metrics"]["accuracy"])) for s, event in evaluated]
    assert read.texts("events/plan") == [(0, in_words(next(event for event in events if event["event"] == "plan")))]
    assert read.texts("events/finished") == [(steps[-1]["step"], in_words(events[-1]))]


def ids(home: Path) -> list[str]:
    """Of the jobs that a node knows; one of an earlier test may still be about to end."""
    return [each["job"] for each in edged("jobs", "--json", home=home).object["jobs"]]


def test_a_followed_job_is_read_back(desk: Path, tmp_path: Path) -> None:
    outcome = edged("train", JOBS, "--json", "--tensorboard", tmp_path / "runs" / "one", home=desk)
    assert outcome.status == 0, outcome.err
    assert_told(Read(tmp_path / "runs" / "one"), outcome.objects)


def test_attaching_again_replaces_the_curves(trained: Outcome, laptop: Path, tmp_path: Path) -> None:
    job = trained.objects[0]["job"]
    for _ in range(2):
        assert edged("attach", job, "--tensorboard", tmp_path, home=laptop).status == 0
    assert len(list(tmp_path.iterdir())) == 2
    assert_told(Read(tmp_path), trained.objects)


@pytest.mark.parametrize("more", [["--json"], []], ids=["json", "person"])
def test_training_alone_is_recorded_too(tmp_path: Path, more: list[str]) -> None:
    outcome = edged("train", JOBS, "--local", *more, "--tensorboard", tmp_path)
    assert outcome.status == 0, outcome.err
    read = Read(tmp_path)
    assert [step for step, _ in read.curve("train/loss")] == list(range(1, 17))
    assert read.tags == {"train/loss", "train/learning_rate", "train/samples_per_second", "eval/loss", "eval/accuracy"}
    assert read.notes == {"events/started", "events/finished"}


def test_recoveries_are_texts_at_their_steps_and_none_hides_another(tmp_path: Path) -> None:
    again = {**RECOVERY, "text": "desk left"}
    write(tmp_path, STARTED, PLAN, STEP, RECOVERY, again, {**STEP, "step": 2}, {**STEP, "step": 3}, PLAN)
    read = Read(tmp_path)
    assert read.texts("events/recovery") == [(3, RECOVERY["text"]), (4, "desk left")]
    assert read.texts("events/plan") == [(0, in_words(PLAN)), (3, in_words(PLAN))]
    assert [step for step, _ in read.curve("train/loss")] == [3, 2, 3]


def test_what_is_no_finite_number_has_no_point(tmp_path: Path) -> None:
    lost = [{**STEP, "step": 4, "loss": math.nan}, {**STEP, "step": 5, "loss": None}, {**STEP, "step": 6}]
    evaluated = {"event": "eval", "epoch": 0, "loss": math.inf, "metrics": {"loss": 1.0, "a": None}}
    write(tmp_path, STARTED, *lost, evaluated)
    read = Read(tmp_path)
    assert read.curve("train/loss") == [(6, 1.25)]
    assert [step for step, _ in read.curve("train/samples_per_second")] == [4, 5, 6]
    assert not any(tag.startswith("eval/") for tag in read.tags)


def test_what_was_shown_can_be_read_at_once(tmp_path: Path) -> None:
    with EventFile(tmp_path) as file:
        began = time.time()
        file.show(STEP)
        assert Read(tmp_path).curve("train/loss") == [(3, 1.25)]
        assert file.path.stat().st_mtime >= began - 2


def test_without_the_extra_the_command_says_how_to_get_it(
    desk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "tensorboard"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "edged.cli.event_file")
    known = ids(desk)
    for command in (["train", JOBS, "--local"], ["train", JOBS, "--home", desk], ["attach", "x", "--home", desk]):
        outcome = edged(*command, "--tensorboard", tmp_path / "runs")
        assert outcome.refuses(2, "--tensorboard needs TensorBoard", "pip install tensorboard")
    assert ids(desk) == known
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_cannot_be_is_told_before_the_job_is_handed_over(desk: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    known = ids(desk)
    outcome = edged("train", JOBS, "--tensorboard", tmp_path / "file" / "runs", home=desk)
    assert outcome.refuses(2, "--tensorboard", "name another folder")
    assert ids(desk) == known
    assert edged("train", JOBS, "--detach", "--tensorboard", tmp_path, home=desk).refuses(2, "edged attach JOB")


def test_a_disk_that_fills_up_costs_the_curves_and_not_the_job(tmp_path: Path) -> None:
    """Files of this process may have at most 600 bytes: the event file is cut off in the midst of the job."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); "
        "from edged.cli.main import run; sys.exit(run(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "train", str(JOBS), "--local", "--json", "--tensorboard", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    outcome = Outcome(done.returncode, done.stdout, done.stderr)
    assert outcome.status == 0, outcome.err
    assert outcome.objects[-1]["event"] == "finished"
    assert outcome.err.count("File too large; going on without it") == 1
    seen = Read(tmp_path).curve("train/loss")
    assert 0 < len(seen) < 16
