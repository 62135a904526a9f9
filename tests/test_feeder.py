"""The feeder draws what it is asked for, tells what the user's code raises, and goes when the node goes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO

import pytest
import torch
from torch import nn

from edged import Job
from edged.compute.sampling import Sampler
from edged.core.job import Phase, Work
from edged.errors import JobError
from edged.feeder import serve
from tests.scripted import ask_for, receive, say

JOB_FILE = """
import sys, time
from functools import partial
import torch
from edged import Job

class Data:
    def __len__(self):
        return 12
    def __getitem__(self, index):
        if index == 9:
            raise ValueError("no such page")
        if index == 11:
            print("sleeping", file=sys.stderr, flush=True)
            time.sleep(600)
        return torch.tensor([index]), torch.rand(2)

def job(epochs: int = 1):
    return Job(model=torch.nn.Linear(2, 1), objective=lambda net, batch: net(batch[1]).mean(), data=Data(),
               optimizer=partial(torch.optim.SGD, lr=0.1), batch_size=2, shuffle=False, epochs=epochs)
"""


class Broken(list):
    def __getitem__(self, index: Any) -> Any:
        if index == 3:
            raise ValueError("page 3 is torn")
        return super().__getitem__(index)


def make(**changes: Any) -> Job:
    given: dict[str, Any] = {
        "model": nn.Linear(2, 1),
        "objective": lambda net, batch: net(batch["x"]).mean(),
        "data": Broken({"x": torch.ones(2) * i, "i": i} for i in range(8)),
        "optimizer": partial(torch.optim.SGD, lr=0.1),
        "batch_size": 2,
        "shuffle": False,
    }
    return Job(**(given | changes))


@contextmanager
def served(job: Job, answer: Any = None) -> Iterator[tuple[socket.socket, BinaryIO, Thread]]:
    """A feeder in a thread, its offer accepted."""
    node, feeder = socket.socketpair()
    thread = Thread(target=serve, args=(feeder, "abc", job), daemon=True)
    thread.start()
    with node, node.makefile("rb") as stream:
        assert stream.readline() == b'{"command": "feed", "job": "abc"}\n'
        say(node, answer or {"ok": True})
        yield node, stream, thread
        node.shutdown(socket.SHUT_RDWR)
    thread.join(60)
    assert not thread.is_alive()


@pytest.mark.parametrize("workers", [0, 1])
def test_micro_batches_are_drawn_as_asked_in_order(workers: int) -> None:
    job = make(workers=workers)
    expected = Sampler(job).draw(Work(2, Phase.TRAIN, 0))
    with served(job) as (node, stream, _):
        ask_for(node, [2, 1, 0])
        ask_for(node, [0, 1, 0])
        header, buffers = receive(stream)
        assert header["work"] == [2, 1, 0]
        assert [tensor["name"] for tensor in header["tensors"]] == list(expected) == ["batch['x']", "batch['i']"]
        assert torch.equal(
            torch.frombuffer(bytearray(buffers[0]), dtype=torch.float32).view(2, 2), expected["batch['x']"]
        )
        assert receive(stream)[0]["work"] == [0, 1, 0]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_error_in_the_data_set_is_told_with_its_traceback_and_ends_the_feeder(workers: int) -> None:
    with served(make(workers=workers)) as (node, stream, thread):
        ask_for(node, [0, 1, 0])
        assert receive(stream)[0]["work"] == [0, 1, 0]
        ask_for(node, [1, 1, 0])
        header, _ = receive(stream)
        assert "data[3]: ValueError: page 3 is torn" in header["error"]
        assert "Traceback" in header["detail"]
        assert "page 3 is torn" in header["detail"]
        assert stream.read() == b""
        thread.join(60)
        assert not thread.is_alive()


def test_a_node_that_wants_no_feeder_is_an_error() -> None:
    node, feeder = socket.socketpair()
    with node:
        say(node, {"error": "job abc is over", "status": 1})
        with pytest.raises(JobError, match="the node wants no feeder for job abc: job abc is over"):
            serve(feeder, "abc", make())


@contextmanager
def process(folder: Path, text: str) -> Iterator[tuple[socket.socket, BinaryIO, subprocess.Popen[bytes]]]:
    """A feeder process, its offer accepted."""
    job_file = folder / "job.py"
    job_file.write_text(text)
    short = Path(os.path.relpath(folder / "node.sock"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(short))
        listener.listen()
        listener.settimeout(60)
        command = [sys.executable, "-m", "edged.feeder", "--socket", str(short.absolute()), "--job", "abc"]
        command += ["--path", str(job_file), "--function", "job", "--set", "epochs=2"]
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
        ) as child:
            try:
                node, _ = listener.accept()
                with node, node.makefile("rb") as stream:
                    assert stream.readline() == b'{"command": "feed", "job": "abc"}\n'
                    say(node, {"ok": True})
                    yield node, stream, child
            finally:
                child.kill()


def test_the_process_serves_a_job_file_and_exits_with_the_connection(tmp_path: Path) -> None:
    with process(tmp_path, JOB_FILE) as (node, stream, child):
        ask_for(node, [1, 1, 0])
        header, buffers = receive(stream)
        assert header["work"] == [1, 1, 0]
        assert torch.frombuffer(bytearray(buffers[0]), dtype=torch.int64).tolist() == [2, 3]
        ask_for(node, [11, 1, 0])  # of the second epoch: sample 11 never comes
        assert child.stderr is not None
        assert b"sleeping" in child.stderr.readline()
        node.shutdown(socket.SHUT_RDWR)
        assert child.wait(60) == 0


def test_the_process_tells_an_error_of_the_data_set(tmp_path: Path) -> None:
    with process(tmp_path, JOB_FILE) as (node, stream, child):
        ask_for(node, [4, 1, 0])
        header, _ = receive(stream)
        assert header["error"].startswith("data[9]: ValueError: no such page (")
        assert 'raise ValueError("no such page")' in header["detail"]
        assert child.wait(60) == 0


def test_the_process_tells_why_a_job_file_does_not_load(tmp_path: Path) -> None:
    with process(tmp_path, "import nothing_of_this_name\n") as (_, stream, child):
        header, _ = receive(stream)
        assert "No module named 'nothing_of_this_name'" in header["error"]
        assert "Traceback" in header["detail"]
        assert child.wait(60) == 1
