"""Job files are found, run, and overridden; each mistake is one sentence that says where."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.compute.job_file import load
from edged.compute.job_reference import parse_overrides, split
from edged.errors import ConfigError, JobError
from edged.job import checked_arguments

GOOD = """
from functools import partial
import torch
from edged import Job
from neighbour import WIDTH

def job(width: int = WIDTH, note: str = "1") -> Job:
    return Job(
        name=f"wide-{width}-{note}", model=torch.nn.Linear(width, 1), objective=lambda net, batch: net(batch).mean(),
        data=[torch.zeros(width)] * 12, optimizer=partial(torch.optim.SGD, lr=0.1), batch_size=4,
    )

def needs(path):
    return job(note=path)

def number():
    return 3

def breaks():
    raise ValueError("no luck\\ntoday")

def empty():
    job()

def mistyped():
    return Job(epoch=40)

def leaves():
    raise SystemExit(3)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job.py").write_text(GOOD)
    (tmp_path / "neighbour.py").write_text("WIDTH = 5\n")
    return tmp_path


def test_the_default_function_is_job_and_neighbours_can_be_imported(folder: Path) -> None:
    assert load(str(folder / "job.py")).name == "wide-5-1"


def test_a_function_can_be_named(folder: Path) -> None:
    assert split(str(folder / "job.py") + ":needs") == (folder / "job.py", "needs")
    assert load(f"{folder / 'job.py'}:needs", {"path": "/data"}).name == "wide-5-/data"


def test_overrides_reach_arguments_fields_and_the_optimizer(folder: Path) -> None:
    changes = {"width": "7", "note": "2", "epochs": "3", "clip_norm": "0.5", "shuffle": "false", "max_steps": "none"}
    job = load(
        str(folder / "job.py"), changes | {"optimizer.lr": "0.5", "optimizer.momentum": "0.9", "batch_size": "6"}
    )
    assert (job.name, job.epochs, job.clip_norm, job.shuffle, job.max_steps) == ("wide-7-2", 3, 0.5, False, None)
    assert checked_arguments("optimizer", job.optimizer) == {"lr": 0.5, "momentum": 0.9}
    assert job.batch_size == 6


def test_overrides_are_checked_like_anything_else(folder: Path) -> None:
    with pytest.raises(ConfigError, match="--set: epochs is a whole number from 1 on, not 'many'"):
        load(str(folder / "job.py"), {"epochs": "many"})
    with pytest.raises(ConfigError, match="--set colour: there is nothing of this name to set; there is width, note"):
        load(str(folder / "job.py"), {"colour": "red"})
    with pytest.raises(ConfigError, match="the job has no scheduler"):
        load(str(folder / "job.py"), {"scheduler.gamma": "1"})


def test_set_takes_key_and_value() -> None:
    assert parse_overrides(["a=1", "b=x=y", "c="]) == {"a": "1", "b": "x=y", "c": ""}
    with pytest.raises(ConfigError, match="--set takes key=value"):
        parse_overrides(["epochs"])


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("nothing", r"job.py has no function nothing\(\); it has job, needs"),
        ("partial_", "has no function"),
        ("number", r"number\(\) returned a value of type int: return an edged.Job"),
        ("empty", r"empty\(\) returned nothing: return an edged.Job"),
        ("mistyped", r"^Job has no field epoch: did you mean epochs\?$"),
        ("breaks", r"breaks\(\) failed: ValueError: no luck today \(.*job.py, line 20\)"),
        ("leaves", r"the program asked to exit \(status 3\)"),
    ],
)
def test_a_function_that_gives_no_job_is_named(folder: Path, function: str, words: str) -> None:
    with pytest.raises(JobError, match=words):
        load(f"{folder / 'job.py'}:{function}")


def test_an_argument_that_nobody_gave_is_a_mistake_of_the_command(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"needs\(\) wants path: add --set path="):
        load(f"{folder / 'job.py'}:needs")


def test_a_wrong_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no job file .*nowhere.py"):
        load(str(tmp_path / "nowhere.py"))
    with pytest.raises(ConfigError, match="is a folder: name the job file in it"):
        load(str(tmp_path))
    (tmp_path / "job.txt").write_text("")
    with pytest.raises(JobError, match="is not a Python file"):
        load(str(tmp_path / "job.txt"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\ndef job(:\n", "job.py, line 2: SyntaxError: invalid syntax"),
        ("import nothing_of_this_name\n", "job.py failed: ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("job = 3\n", "job is of type int: write `def job"),
        ("1 / 0\n", r"ZeroDivisionError: division by zero \(.*job.py, line 1\)"),
    ],
)
def test_a_file_that_does_not_run_is_told_with_its_line(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "job.py").write_text(text)
    with pytest.raises(JobError, match=words):
        load(str(tmp_path / "job.py"))
