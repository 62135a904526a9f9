"""``edged.train`` submits, feeds from this process, follows, and returns the result or says why there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edged import Job, Result, train, train_local
from edged.errors import JobError, JobFailedError, NoNodeError
from edged.roles.spool import read_spec
from tests.compute.test_local import gathering
from tests.scripted import ask_for, receive, running, say


def make(data: Any = None) -> Job:
    return Job(
        model=nn.Linear(2, 1),
        objective=lambda net, batch: net(batch).mean(),
        data=[torch.ones(2) * i for i in range(8)] if data is None else data,
        optimizer=partial(torch.optim.SGD, lr=0.1),
        batch_size=2,
        shuffle=False,
    )


class Torn(list):
    def __getitem__(self, index: Any) -> Any:
        if index == 3:
            raise ValueError("page 3 is torn")
        return super().__getitem__(index)


class Feeding:
    """Asks the feeder for the second step's micro-batch, and then tells the follower how the job ended."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.frames: list[dict[str, Any]] = []
        self.drawn = Event()
        self.told = Event()

    def __call__(self, request: dict[str, Any], connection: Any, stream: Any) -> None:
        match request["command"]:
            case "status":
                say(connection, {"node": "00112233445566aa"})
            case "submit" | "stop":
                say(connection, {"job": request["job"]})
            case "feed":
                say(connection, {"ok": True})
                ask_for(connection, [1, 1, 0])
                self.frames.append(receive(stream)[0])
                self.drawn.set()
                self.told.wait(60)
            case "attach":
                say(connection, {"event": "started", "job": request["job"]})
                assert self.drawn.wait(60)
                say(connection, self._end())
                self.told.set()

    def _end(self) -> dict[str, Any]:
        if "error" in self.frames[0]:
            return {"event": "failed", "reason": self.frames[0]["error"]}
        output = self.home / "out.safetensors"
        save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, output)
        return {
            "event": "finished",
            "steps": 4,
            "loss": 0.5,
            "seconds": 1.0,
            "output": str(output),
            "state_sha256": "ab",
        }


def test_without_a_node_nothing_is_tried(tmp_path: Path) -> None:
    with pytest.raises(NoNodeError, match="edged join"):
        train(make(), home=tmp_path)


def test_a_job_is_submitted_fed_and_followed(tmp_path: Path) -> None:
    events = []
    with running(tmp_path, Feeding(tmp_path)) as node:
        result = train(make(), home=tmp_path, output=tmp_path / "out.safetensors", on_event=events.append)
    assert (result.steps, result.state_sha256, result.output) == (4, "ab", tmp_path / "out.safetensors")
    assert [event["event"] for event in events] == ["started", "finished"]
    assert result.history == events
    make().model.load_state_dict(result.state_dict())
    job = events[0]["job"]
    spec, feeder, output = read_spec(tmp_path / "jobs" / job / "job.json")
    assert (spec.job, spec.source, feeder, output) == (job, "00112233445566aa", None, tmp_path / "out.safetensors")
    assert {request["command"] for request in node.requests} == {"status", "submit", "feed", "attach"}


def test_a_failed_job_raises_its_reason_and_is_stopped(tmp_path: Path) -> None:
    with running(tmp_path, Feeding(tmp_path)) as node:
        with pytest.raises(JobFailedError, match=r"data\[3\]: ValueError: page 3 is torn"):
            train(make(Torn(torch.ones(2) for _ in range(8))), home=tmp_path)
        assert node.requests[-1]["command"] == "stop"


def test_a_feeder_that_cannot_serve_stops_the_job(tmp_path: Path) -> None:
    stopped = Event()

    def script(request: dict[str, Any], connection: Any, _stream: Any) -> None:
        match request["command"]:
            case "status":
                say(connection, {"node": "00112233445566aa"})
            case "feed":
                say(connection, {"error": "there is a feeder already", "status": 1})
            case "submit":
                say(connection, {"job": request["job"]})
            case "stop":
                stopped.set()
                say(connection, {"job": request["job"]})
            case "attach":
                assert stopped.wait(60)
                say(connection, {"event": "failed", "reason": "stopped"})

    with running(tmp_path, script) as node:
        with pytest.raises(JobFailedError, match="stopped"):
            train(make(), home=tmp_path)
        reasons = [request["reason"] for request in node.requests if request["command"] == "stop"]
    assert "its samples cannot be drawn: the node wants no feeder" in reasons[0]
    assert "there is a feeder already" in reasons[0]


def test_an_unknown_strategy_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with running(tmp_path, Feeding(tmp_path)), pytest.raises(JobError, match="strategy='fastest' is not known"):
        train(replace(make(), strategy="fastest"), home=tmp_path)
    assert not (tmp_path / "jobs").exists()


def test_a_node_that_goes_away_is_a_failure(tmp_path: Path) -> None:
    feeding = Feeding(tmp_path)

    def script(request: dict[str, Any], connection: Any, stream: Any) -> None:
        if request["command"] == "attach":
            feeding.told.set()
        else:
            feeding(request, connection, stream)

    with running(tmp_path, script), pytest.raises(JobFailedError, match="went away before the job was done"):
        train(make(), home=tmp_path)


@contextmanager
def joined(home: Path, threads: int) -> Iterator[None]:
    """A node of its own with so many threads."""
    command = [sys.executable, "-m", "edged", "join", "--home", str(home), "--no-tui", "--no-discovery"]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    command += ["--listen", "127.0.0.1:0", "--threads", str(threads)]
    command += ["--leave-at-eof"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as node:
        try:
            assert node.stdout is not None
            assert json.loads(node.stdout.readline())["event"] == "ready"
            yield
        finally:
            node.terminate()
            node.wait(60)


def reported(run: Result) -> list[Any]:
    """What a history says of losses, without times."""
    return [(event["event"], event["loss"], event.get("metrics")) for event in run.history if "loss" in event]


@pytest.mark.slow
def test_training_through_a_node_gives_the_bits_of_training_alone(tmp_path: Path) -> None:
    data = [torch.randn(2, generator=torch.Generator().manual_seed(i)) for i in range(24)]
    job = replace(make(data), shuffle=True, epochs=2, micro_batches=2, batch_size=8, eval_data=data[:5], clip_norm=0.1)
    with joined(tmp_path, 1):
        result = train(job, home=tmp_path)
    alone = train_local(job, threads=1)
    assert result.state_sha256 == alone.state_sha256
    assert result.steps == alone.steps == 6
    assert all(torch.equal(tensor, alone.state_dict()[name]) for name, tensor in result.state_dict().items())
    assert reported(result) == reported(alone)


@pytest.mark.slow
def test_with_two_threads_a_node_gives_the_bits_of_training_alone_with_two(tmp_path: Path) -> None:
    def job() -> Job:
        return replace(gathering(), drop_last=False, batch_size=21, micro_batches=7)

    with joined(tmp_path, 2):
        result = train(job(), home=tmp_path)
    alone = train_local(job(), threads=2)
    assert result.state_sha256 == alone.state_sha256
    assert reported(result) == reported(alone)
