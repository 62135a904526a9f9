"""What is fuzzed of all that is loaded: programs, jobs, their settings, what optimizers are made of and keep.

What a target promises stands in ``fuzz_wire.py``.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import fuzz_seeds
import torch
from fuzz_forms import packed, written
from fuzz_target import Target, refused
from torch import nn
from torch.nn import functional
from torch.optim import lr_scheduler

from edged.compute.capture import capture
from edged.compute.check import check_program
from edged.compute.job_file import load as load_job
from edged.compute.optimizer import Optimizer, describe
from edged.compute.optimizer import read as read_training
from edged.compute.program import InputSpec, Program, StateSpec
from edged.compute.program_form import dump, load
from edged.compute.state import copy_layers, read_state
from edged.core.messages import StateParcel, Submit
from edged.data.digits_job import accuracy, network
from edged.errors import ConfigError, JobError, MalformedError, ProgramRefusedError
from edged.replication.snapshots import cut, held_of
from edged.roles.spool import Spool, read_submitted
from edged.transport.codec import encode

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 -- a folder of this process's own is made there
"""Where a file is written and read again without a disk."""


def program() -> Target:
    """Programs as bytes: ``compute/program_form.py``. Structure only; ``shapes`` goes further."""

    def read(data: bytes) -> bool:
        try:
            got = load(data)
        except ProgramRefusedError as error:
            return refused(error)
        again = dump(got)
        assert dump(load(again)) == again
        return True

    return Target(_programs, read, packed(0), 1 << 15)


def shapes() -> Target:
    """Programs run without data, to find what does not fit: ``compute/check.py``."""
    warnings.simplefilter("ignore")  # of operations that torch means to drop

    def read(data: bytes) -> bool:
        try:
            values = check_program(load(data))
        except ProgramRefusedError as error:
            return refused(error)
        assert values
        return True

    return Target(_programs, read, packed(0), 1 << 15)


def _programs() -> tuple[bytes, ...]:
    """Captured models: a perceptron with dropout and a metric; convolutions with batch norm, of `edged demo`."""

    def objective(model: nn.Module, batch: Any) -> torch.Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    torch.manual_seed(0)
    perceptron = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Dropout(0.1), nn.Linear(4, 3))
    labels = torch.tensor([0, 1, 2, 0])
    return tuple(
        dump(capture(model, objective, batch, accuracy).program)
        for model, batch in ((perceptron, (torch.ones(4, 5), labels)), (network(), (torch.ones(4, 1, 8, 8), labels)))
    )


def job() -> Target:
    """What `edged train` hands to its node, and what lies beside copies of a job: ``roles/spool.py``."""
    home = tempfile.TemporaryDirectory(prefix="edged-fuzz-", dir=MEMORY)
    spool = Spool(Path(home.name), fuzz_seeds.JOB)
    spool.folder.mkdir(parents=True)

    def read(data: bytes) -> bool:
        (Path(home.name) / "jobs" / fuzz_seeds.JOB / "job.json").write_bytes(data)
        try:
            spec, _, _ = spool.read()
        except JobError as error:
            return refused(error)
        encode(Submit(spec))  # the node's next step, which must not break it
        for further in (spool.kinds, lambda: read_submitted(spool.folder)):
            try:
                further()
            except JobError as error:
                refused(error)
        return True

    def documents() -> Iterable[bytes]:
        feeder = {"path": "/home/a/job.py", "function": "job", "set": {"epochs": "2"}, "folder": "/home/a"}
        document = {
            "spec": asdict(fuzz_seeds.spec()), "feeder": feeder, "output": "/home/a/out.safetensors",
            "inputs": [["x", "float32", [3]], ["y", "int64", []]], "data": {"data[0]": "ab" * 32}, "text": "cd" * 32,
        }  # fmt: skip
        alone = {**document, "feeder": None, "output": None}
        return [json.dumps(each).encode() for each in (document, alone)]

    return Target(documents, read, written())


def training() -> Target:
    """The training document, by which every node builds its optimizer: ``compute/optimizer.py``."""
    warnings.simplefilter("ignore")

    def read(data: bytes) -> bool:
        text = data.decode(errors="replace")
        try:
            Optimizer(read_training(text), {"w": torch.ones(2, 2, requires_grad=True)})
        except JobError as error:
            return refused(error)
        return True

    kinds: list[tuple[Any, Any, float | None]] = [
        (partial(torch.optim.SGD, lr=0.1, momentum=0.9), None, 1.0),
        (partial(torch.optim.AdamW, lr=0.1, betas=(0.8, 0.9)), partial(lr_scheduler.CosineAnnealingLR, T_max=9), None),
        (partial(torch.optim.Adam, lr=0.1), partial(lr_scheduler.CyclicLR, base_lr=0.1, max_lr=1.0), None),
        (partial(torch.optim.SGD, lr=0.1), partial(lr_scheduler.MultiStepLR, milestones=[3, 5]), None),
        (partial(torch.optim.SGD, lr=0.1), partial(lr_scheduler.OneCycleLR, max_lr=1.0, total_steps=9), None),
    ]
    return Target(lambda: [describe(*kind).encode() for kind in kinds], read, written())


def state() -> Target:
    """What comes with the tensors of layers, for who holds them and who runs them: ``replication/``, ``compute/``."""
    names, host = ("a", "b"), torch.device("cpu")
    adam = partial(torch.optim.Adam, lr=0.1)
    plain = read_training(describe(adam, partial(torch.optim.lr_scheduler.MultiStepLR, milestones=[3])))
    specs = tuple(StateSpec(name, "float32", (2,), (1,), True, True, True, ()) for name in names)
    whole = Program((InputSpec("x", "float32", (1,)),), specs, (), (), "loss", (), 0, evaluates=True)

    def built() -> tuple[dict[str, torch.Tensor], Optimizer]:
        tensors = {name: torch.ones(2, requires_grad=True) for name in names}
        return tensors, Optimizer(plain, tensors)

    tensors, optimizer = built()
    for tensor in tensors.values():
        tensor.grad = torch.ones_like(tensor)
    optimizer.update()
    copy = copy_layers(whole, [["a"], ["b"]], tensors, optimizer)

    def read(data: bytes) -> bool:
        header = StateParcel(fuzz_seeds.STAMP, 0, 1, 3, copy.tensors, data, replica=True)
        sound = 0
        try:
            held = held_of(header, copy.buffers)
            sound += sum(cut(held, layer, layer).size_bytes > 0 for layer in (0, 1))
        except MalformedError as error:
            refused(error)
        try:
            found = read_state(whole, [(header, copy.buffers)], host)
            if found.numbers is not None:
                built()[1].restore(found.numbers, found.kept)
            sound += 1
        except (MalformedError, JobError) as error:
            refused(error)
        return sound > 0

    return Target(lambda: (copy.extra,), read, written())


def settings() -> Target:
    """A job file with ``--set``: ``compute/job_file.py``. Its own code runs, what it is told is anything."""
    warnings.simplefilter("ignore")
    logging.disable()
    path = Path(__file__).with_name("fuzz_job.py")

    def read(data: bytes) -> bool:
        try:
            overrides = json.loads(data)
        except (ValueError, RecursionError):
            return False
        if not isinstance(overrides, dict):
            return False
        try:
            load_job(f"{path}:job", {key: value for key, value in overrides.items() if isinstance(value, str)})
        except (ConfigError, JobError) as error:
            return refused(error)
        return True

    given: list[dict[str, str]] = [
        {"epochs": "2", "batch_size": "4", "micro_batches": "2", "seed": "7"},
        {"rate": "0.5", "optimizer.momentum": "0.1", "optimizer.weight_decay": "1e-3", "clip_norm": "1.0"},
        {"scheduler.base_lr": "0.1", "scheduler.step_size_up": "3", "max_steps": "5", "shuffle": "no"},
        {"name": "other", "strategy": "spread", "mode": "async", "on_nan": "stop", "drop_last": "true", "workers": "0"},
    ]
    return Target(lambda: [json.dumps(each).encode() for each in given], read, written(), 1 << 11)
