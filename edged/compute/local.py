"""Trains a job on this device alone: the reference for every cluster, and the way to debug.

The same captured program runs as one stage, with the same optimizer, clipping and samples as on a cluster, but without
a node, a network or a feeder; and in the same environment as a node's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from edged.compute.clipping import clip, gradient_norms, total_norm
from edged.compute.environment import Environment, environment
from edged.compute.interpreter import synchronize
from edged.compute.layers import interface
from edged.compute.optimizer import Optimizer, read, training_of
from edged.compute.result import Result, state_sha256
from edged.compute.sampling import Sampler, preserved_random_state
from edged.compute.stage import Output, Stage
from edged.compute.state import own, state_dict, write_tensors
from edged.compute.submission import capture_job
from edged.core.job import Phase, Work, weighted_mean
from edged.errors import JobError, JobFailedError
from edged.job import Job

_CPU = torch.device("cpu")


def train_local(
    job: Job,
    *,
    output: str | Path | None = None,
    on_event: Callable[[Mapping[str, Any]], None] | None = None,
    device: torch.device = _CPU,
    threads: int | None = None,
) -> Result:
    """Train ``job`` here; returns when it is done.

    ``output``: where to write the weights (.safetensors), if anywhere. ``on_event`` gets the objects of ``edged train
    --json`` as they happen. It computes as a node with so many ``threads`` does (by default as many as torch uses in
    this process); what that changes in the process is put back whenever the user's code runs, and at the end. Raises
    ``JobError`` if the job cannot be run as it is written, ``JobFailedError`` if the loss is not a number and the job
    does not say ``on_nan="skip"``.
    """
    history: list[dict[str, Any]] = []

    def tell(event: dict[str, Any]) -> None:
        history.append(event)
        if on_event is not None:
            on_event(event)

    computing = environment(device, threads or torch.get_num_threads())
    return _Run(job, device, computing, tell).run(
        None if output is None else Path(output).expanduser().absolute(), history
    )


class _Run:
    """One run: program, state, optimizer. Computes in its environment; draws samples and tells events in the user's."""

    def __init__(
        self, job: Job, device: torch.device, computing: Environment, tell: Callable[[dict[str, Any]], None]
    ) -> None:
        self._job, self._device, self._computing, self._tell = job, device, computing, tell
        self._sampler = Sampler(job)
        self._spec = self._sampler.spec
        captured = capture_job(job, self._sampler)
        self._program = captured.program
        self._state = {
            spec.name: own(captured.state[spec.name], device).requires_grad_(spec.parameter and spec.requires_grad)
            for spec in captured.program.state
        }
        whole = interface(captured.program, captured.values, 0, len(captured.program.layers) - 1)
        self._stage = Stage(captured.program, whole, device, self._state, job.seed)
        self._trained = {
            index: self._state[spec.name]
            for index, spec in enumerate(captured.program.state)
            if spec.parameter and spec.requires_grad
        }
        self._training = read(training_of(job))
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
        weights = [size / sum(sizes) for size in sizes]
        losses = []
        for work, weight in zip(self._works(version, Phase.TRAIN), weights, strict=True):
            result = self._forward(work, weight)
            losses.append(float(result.loss) if result.loss is not None else math.nan)
            if not math.isfinite(losses[-1]) and spec.on_nan == "stop":
                raise JobFailedError(
                    f"the loss became {losses[-1]} in step {version + 1}, micro-batch {work.micro_batch}: "
                    "try a smaller learning rate, or clip_norm"
                )
            with self._computing.held():
                self._stage.backward(work, {})
        with self._computing.held():
            rate = self._update() if all(map(math.isfinite, losses)) else self._optimizer.skip()
            synchronize(self._device)
        loss = weighted_mean(weights, losses)
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

    def _update(self) -> float:
        if self._training.clip_norm is not None:
            total = total_norm(self._program, gradient_norms(self._trained), self._device)
            clip(self._trained.values(), self._training.clip_norm, total)
        return self._optimizer.update()

    def _evaluate(self, version: int) -> None:
        spec = self._spec
        weights = [size / spec.eval_samples for size in spec.sizes(version, Phase.EVALUATE)]
        losses: list[float] = []
        metrics: dict[str, list[float]] = {}
        for work in self._works(version, Phase.EVALUATE):
            result = self._forward(work, 1.0)
            losses.append(float(result.loss) if result.loss is not None else math.nan)
            for name, value in result.metrics.items():
                metrics.setdefault(name, []).append(float(value))
        self._tell(
            {
                "event": "eval",
                "epoch": spec.epoch_of(version - 1),
                "loss": weighted_mean(weights, losses),
                "metrics": {name: weighted_mean(weights, values) for name, values in metrics.items()},
            }
        )

    def _works(self, version: int, phase: Phase) -> Iterator[Work]:
        for number in range(len(self._spec.sizes(version, phase))):
            yield Work(version, phase, number)

    def _forward(self, work: Work, weight: float) -> Output:
        tensors = self._sampler.micro_batch(work)
        inputs = {}
        for spec, tensor in zip(self._program.inputs, tensors, strict=True):
            if tuple(tensor.shape[1:]) != spec.shape[1:] or str(tensor.dtype) != f"torch.{spec.dtype}":
                raise JobError(
                    f"data: {work.in_words()} holds {tensor.dtype} {tuple(tensor.shape)} where {spec.dtype} (n, "
                    f"{', '.join(map(str, spec.shape[1:]))}) stood in the first micro-batch: make all samples alike"
                )
            if spec.name in self._stage.interface.inputs:
                inputs[spec.name] = tensor.to(self._device)
        with self._computing.held(), preserved_random_state():
            return self._stage.forward(work, inputs, weight)
