"""Trains a job on this device alone: the reference for every cluster, and the way to debug.

The same captured program runs as one stage, with the same optimizer, clipping and samples as on a cluster, but without
a node, a network or a feeder.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from edged.compute.check import check_program
from edged.compute.clipping import clip, gradient_norms, total_norm
from edged.compute.interpreter import synchronize
from edged.compute.layers import interface
from edged.compute.optimizer import Optimizer, describe, read
from edged.compute.result import Result, state_sha256
from edged.compute.sampling import Sampler
from edged.compute.stage import Output, Stage
from edged.compute.state import own, state_dict, write_tensors
from edged.compute.submission import capture_job
from edged.core.job import Phase, Work
from edged.errors import JobError, JobFailedError
from edged.job import Job

_CPU = torch.device("cpu")


def train_local(
    job: Job,
    *,
    output: str | Path | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
    device: torch.device = _CPU,
) -> Result:
    """Train ``job`` here; returns when it is done.

    ``output``: where to write the weights (.safetensors), if anywhere. ``on_event`` gets the objects of ``edged train
    --json`` as they happen. Threads are as the process has them. Raises ``JobError`` if the job cannot be run as it is
    written, ``JobFailedError`` if the loss is not a number.
    """
    history: list[dict[str, Any]] = []

    def tell(event: dict[str, Any]) -> None:
        history.append(event)
        if on_event is not None:
            on_event(event)

    return _Run(job, device, tell).run(None if output is None else Path(output).expanduser().absolute(), history)


class _Run:
    """One run: program, state, optimizer."""

    def __init__(self, job: Job, device: torch.device, tell: Callable[[dict[str, Any]], None]) -> None:
        self._job, self._device, self._tell = job, device, tell
        self._sampler = Sampler(job)
        self._spec = self._sampler.spec
        captured = capture_job(job, self._sampler)
        self._program = captured.program
        self._state = {
            spec.name: own(captured.state[spec.name], device).requires_grad_(spec.parameter and spec.requires_grad)
            for spec in captured.program.state
        }
        whole = interface(captured.program, check_program(captured.program), 0, len(captured.program.layers) - 1)
        self._stage = Stage(captured.program, whole, device, self._state, job.seed)
        self._trained = {
            index: self._state[spec.name]
            for index, spec in enumerate(captured.program.state)
            if spec.parameter and spec.requires_grad
        }
        self._training = read(describe(job.optimizer, job.scheduler, job.clip_norm))
        self._optimizer = Optimizer(
            self._training, {captured.program.state[index].name: tensor for index, tensor in self._trained.items()}
        )

    def run(self, output: Path | None, history: list[dict[str, Any]]) -> Result:
        began = time.perf_counter()
        spec, loss = self._spec, math.nan
        self._tell(
            {
                "event": "started",
                "job": "local",
                "name": spec.name,
                "layers": len(self._program.layers),
                "parameters": sum(state.numel() for state in self._state.values() if state.requires_grad),
                "steps": spec.steps,
            }
        )
        for version in range(spec.steps):
            loss = self._step(version)
            if spec.evaluates_at(version + 1):
                self._evaluate(version + 1)
        weights = state_dict(self._program, self._state)
        digest = state_sha256(weights)
        if output is not None:
            write_tensors(output, weights)
        self._tell(
            {
                "event": "finished",
                "steps": spec.steps,
                "loss": loss,
                "seconds": time.perf_counter() - began,
                "output": "" if output is None else str(output),
                "state_sha256": digest,
            }
        )
        return Result(spec.steps, history, digest, output, {} if output is not None else weights)

    def _step(self, version: int) -> float:
        began, spec = time.perf_counter(), self._spec
        sizes = spec.sizes(version, Phase.TRAIN)
        losses = []
        for work, size in self._works(version, Phase.TRAIN):
            result = self._forward(work, size / sum(sizes))
            losses.append(float(result.loss) * size if result.loss is not None else math.nan)
            if not math.isfinite(losses[-1]):
                raise JobFailedError(
                    f"the loss became {losses[-1]} in step {version + 1}, micro-batch {work.micro_batch}: "
                    "try a smaller learning rate, or clip_norm"
                )
            self._stage.backward(work, {})
        if self._training.clip_norm is not None:
            total = total_norm(self._program, gradient_norms(self._trained), self._device)
            clip(self._trained.values(), self._training.clip_norm, total)
        rate = self._optimizer.update()
        synchronize(self._device)
        loss = math.fsum(losses) / sum(sizes)
        self._tell(
            {
                "event": "step",
                "step": version + 1,
                "epoch": spec.epoch_of(version),
                "loss": loss,
                "samples_per_second": sum(sizes) / (time.perf_counter() - began),
                "learning_rate": rate,
            }
        )
        return loss

    def _evaluate(self, version: int) -> None:
        spec = self._spec
        sums: dict[str, float] = {}
        loss = 0.0
        for work, size in self._works(version, Phase.EVALUATE):
            result = self._forward(work, 1.0)
            loss += float(result.loss) * size if result.loss is not None else math.nan
            for name, value in result.metrics.items():
                sums[name] = sums.get(name, 0.0) + float(value) * size
        metrics = {name: value / spec.eval_samples for name, value in sums.items()}
        epoch = spec.epoch_of(version - 1)
        self._tell({"event": "eval", "epoch": epoch, "loss": loss / spec.eval_samples, "metrics": metrics})

    def _works(self, version: int, phase: Phase) -> Iterator[tuple[Work, int]]:
        for number, size in enumerate(self._spec.sizes(version, phase)):
            yield Work(version, phase, number), size

    def _forward(self, work: Work, weight: float) -> Output:
        tensors = self._sampler.micro_batch(work)
        inputs = {}
        for spec, tensor in zip(self._program.inputs, tensors, strict=True):
            if tuple(tensor.shape[1:]) != spec.shape[1:] or str(tensor.dtype) != f"torch.{spec.dtype}":
                raise JobError(
                    f"data: {work} holds {tensor.dtype} {tuple(tensor.shape)} where {spec.dtype} (n, "
                    f"{', '.join(map(str, spec.shape[1:]))}) stood in the first micro-batch: make all samples alike"
                )
            if spec.name in self._stage.interface.inputs:
                inputs[spec.name] = tensor.to(self._device)
        return self._stage.forward(work, inputs, weight)
