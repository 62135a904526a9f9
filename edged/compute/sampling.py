"""Draws micro-batches: which samples, in which order, with which randomness.

Any micro-batch can be drawn at any time, again and again, with the same bits: the order is a function of (seed, epoch),
see ``order.py``, and before each sample the random state (torch's, Python's, and numpy's if numpy is there) is seeded
from (seed, epoch, index). A generator that the data set made itself is the data set's own affair.
"""

from __future__ import annotations

import os
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch.utils._pytree import keystr, tree_leaves_with_path
from torch.utils.data import default_collate

from edged.compute.order import Order
from edged.compute.seeding import mix
from edged.compute.tensors import DTYPES
from edged.compute.user_code import UserCode
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.errors import JobError
from edged.job import Job

_SAMPLE, _COLLATION, _EVALUATION = 1, 2, 3
"""Keep the seeds of different uses apart."""

_NUMPY_SEED_BITS = 32


class Sampler:
    """Draws the micro-batches of one job.

    It sets the process-wide random state while a micro-batch is drawn, and puts it back afterwards; samplers of other
    threads wait for that.
    """

    def __init__(self, job: Job, spec: JobSpec | None = None) -> None:
        """Draws nothing yet. ``spec``: the job's as it was submitted; its numbers count, whatever ``job`` says now."""
        self._job = job
        self._spec = outline(job) if spec is None else spec
        self._order = Order(self._spec)

    @property
    def spec(self) -> JobSpec:
        """The job's arithmetic of steps, see ``outline``."""
        return self._spec

    def indices(self, work: Work) -> list[int]:
        """Positions in the data set of the samples of ``work``, in order. ``JobError`` if there is no such work."""
        return self._order.indices(work)

    def order(self, epoch: int) -> Sequence[int]:
        """The order in which epoch number ``epoch`` (from 0) takes the samples."""
        return self._order.of(epoch)

    def length(self, phase: Phase) -> int:
        """Samples that the data set has now; 0 without one."""
        data = self._data(phase)
        with UserCode(f"len({data_name(phase)})"):
            return 0 if data is None else len(data)

    def sample(self, phase: Phase, index: int, seed: int) -> Any:
        """One sample as the data set gives it when the random state is seeded so. ``JobError`` for what it raises.

        Changes the random state of the process, as ``collated`` does.
        """
        data = self._data(phase)
        seed_everything(seed)
        with UserCode(f"{data_name(phase)}[{index}]"):
            return data[index]

    def collated(self, phase: Phase, first: int, samples: list[Any], seed: int) -> Any:
        """A micro-batch made of samples, of which the first is number ``first``. ``JobError`` for what that raises."""
        seed_everything(seed)
        with UserCode(f"collating samples of {data_name(phase)} ({first}, ...)"):
            return (self._job.collate or default_collate)(samples)

    def batch(self, work: Work) -> Any:
        """The collated micro-batch, as ``objective`` gets it. ``JobError`` for whatever the user's code raises."""
        base = self._base(work.phase, self._spec.epoch_of(work.version))
        indices = self.indices(work)
        with preserved_random_state():
            samples = [self.sample(work.phase, index, mix(mix(base, _SAMPLE), index)) for index in indices]
            return self.collated(work.phase, indices[0], samples, mix(mix(base, _COLLATION), indices[0]))

    def single(self, phase: Phase, index: int) -> dict[str, torch.Tensor]:
        """One sample as the first epoch (or the evaluation) draws it, collated alone. Raises ``JobError``."""
        base = self._base(phase, 0)
        with preserved_random_state():
            sample = self.sample(phase, index, mix(mix(base, _SAMPLE), index))
            return flatten(self.collated(phase, index, [sample], mix(mix(base, _COLLATION), index)), 1)

    def draw(self, work: Work) -> dict[str, torch.Tensor]:
        """The micro-batch's tensors by the names of ``Program.inputs``, in their order. Raises ``JobError``."""
        return flatten(self.batch(work), len(self.indices(work)))

    def micro_batch(self, work: Work) -> list[torch.Tensor]:
        """The micro-batch's tensors in the order of ``Program.inputs``. Raises ``JobError``."""
        return list(self.draw(work).values())

    def _data(self, phase: Phase) -> Any:
        return self._job.data if phase is Phase.TRAIN else self._job.eval_data

    def _base(self, phase: Phase, epoch: int) -> int:
        return mix(self._spec.seed, epoch if phase is Phase.TRAIN else _EVALUATION)


def data_name(phase: Phase) -> str:
    """What a job calls the data set of this phase."""
    return "data" if phase is Phase.TRAIN else "eval_data"


def flatten(batch: Any, size: int) -> dict[str, torch.Tensor]:
    """The tensors of a collated batch: by name (``batch[0]``, ``batch['label']``), in the order of ``Program.inputs``.

    Raises ``JobError`` unless there is at least one, and all are tensors that can travel, of first dimension ``size``.
    """
    found = {f"batch{keystr(path)}": leaf for path, leaf in tree_leaves_with_path(batch)}
    if not found:
        raise JobError("data: a sample holds no tensor; return a tensor, or a tuple or dict of tensors")
    for name, leaf in found.items():
        if not isinstance(leaf, torch.Tensor):
            raise JobError(
                f"data: {name} of a collated micro-batch is of type {type(leaf).__name__}, not a tensor; "
                "leave it out of the sample, or make a tensor of it (collate=)"
            )
        if str(leaf.dtype).removeprefix("torch.") not in DTYPES or leaf.layout is not torch.strided:
            raise JobError(
                f"data: {name} of a collated micro-batch has type {leaf.dtype} and layout {leaf.layout}, which cannot "
                "be sent; make it a dense tensor of a common type, such as float32 or int64"
            )
        if leaf.dim() == 0 or leaf.shape[0] != size:
            raise JobError(
                f"data: {name} of a collated micro-batch of {size} samples has the shape {tuple(leaf.shape)}; "
                f"every tensor's first dimension must count the samples, here {size}"
            )
    return {name: leaf.detach() for name, leaf in found.items()}


def outline(job: Job) -> JobSpec:
    """The job's arithmetic of steps, without anything that takes capture: ids, layers and texts are empty.

    In an asynchronous job every micro-batch is a step, so there its size is the batch's.
    """
    micro_batches = 1 if job.mode == "async" else job.micro_batches
    batch_size = job.batch_size // job.micro_batches * micro_batches
    per_epoch, rest = divmod(len(job.data), batch_size)
    steps = (per_epoch + (1 if rest and not job.drop_last else 0)) * job.epochs
    return JobSpec(
        job=JobId(""),
        name=job.name,
        source=NodeId(""),
        strategy=job.strategy,
        mode=job.mode,
        program="",
        layers=(),
        parameters=0,
        inputs=0,
        samples=len(job.data),
        batch_size=batch_size,
        micro_batches=micro_batches,
        drop_last=job.drop_last,
        epochs=job.epochs,
        steps=steps if job.max_steps is None else min(steps, job.max_steps),
        eval_samples=0 if job.eval_data is None else len(job.eval_data),
        seed=job.seed,
        clips=job.clip_norm is not None,
        optimizer_copies=0,
        keep_inputs_home="",
        shuffle=job.shuffle,
        replicate_every=job.replicate_every or 0,
        on_nan=job.on_nan,
        source_slowness=0.0,
        training="",
    )


def seed_everything(seed: int) -> None:
    """Seed what data sets draw from: torch's CPU generator, ``random``, and numpy's global state if it is imported."""
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed(seed % 2**_NUMPY_SEED_BITS)


class _Turn:
    """Whose turn it is with the random state, which is the whole process's: a program may train from several threads.

    A child that is forked while another thread has its turn would wait for ever, so it begins with a lock of its own.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew)

    def _renew(self) -> None:
        self.lock = threading.RLock()


_TURN = _Turn()


@contextmanager
def own_random_state() -> Iterator[None]:
    """No sample is drawn on another thread meanwhile: that seeds the random state, from which first weights are drawn.

    Models are made under it, so that their weights are those of the seed that their author chose.
    """
    with _TURN.lock:
        yield


@contextmanager
def preserved_random_state() -> Iterator[None]:
    """Like ``own_random_state``; put the state back as it was, so that drawing a sample disturbs nobody else."""
    with _TURN.lock:
        numpy = sys.modules.get("numpy")
        states = torch.default_generator.get_state(), random.getstate()
        numbers = None if numpy is None else numpy.random.get_state()
        try:
            yield
        finally:
            torch.default_generator.set_state(states[0])
            random.setstate(states[1])
            if numpy is not None:
                numpy.random.set_state(numbers)
