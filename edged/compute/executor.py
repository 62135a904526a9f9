"""Everything that a node computes for a job, behind one door; the only part of ``compute`` that roles talk to.

Every method runs on the compute thread, one at a time, but for ``expects``, which any thread may call.
"""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from edged.compute.check import CheckedProgram
from edged.compute.environment import environment, pick_device
from edged.compute.expectations import Expectations, fits_program, sizes
from edged.compute.hosting import Hosting, Outgoing
from edged.compute.interpreter import synchronize
from edged.compute.layers import owned_state
from edged.compute.optimizer import read
from edged.compute.program import Program
from edged.compute.program_form import load
from edged.compute.result import state_sha256
from edged.compute.slowing import Slowdown, timer
from edged.compute.state import (
    StateCopy,
    copy_layers,
    copy_state,
    read_first_state,
    read_state,
    state_dict,
    write_tensors,
)
from edged.compute.tensors import acceptable
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Work
from edged.core.messages import Activation, Gradient, Inputs, StateParcel
from edged.core.plan import Plan
from edged.errors import BrokenInvariantError, MalformedError


@dataclass(frozen=True, slots=True)
class ForwardResult:
    """A forward done. ``loss`` (the micro-batch's mean) and ``metrics`` on the last hop, ``outgoing`` on the others."""

    seconds: float
    loss: float | None
    metrics: tuple[tuple[str, float], ...]
    outgoing: Outgoing | None


@dataclass(frozen=True, slots=True)
class BackwardResult:
    """A backward done. ``outgoing`` on all hops but the first."""

    seconds: float
    outgoing: Outgoing | None


@dataclass(frozen=True, slots=True)
class UpdateResult:
    """An update done, with the learning rate that it used."""

    seconds: float
    learning_rate: float


@dataclass(frozen=True, slots=True)
class SnapshotResult:
    """Layers' state, copied between two computations, and how long that kept the thread."""

    copy: StateCopy
    seconds: float


class Executor:
    """Runs a node's hops of one plan at a time; programs of several jobs may be loaded."""

    def __init__(self, device: str, threads: int, slowdown: float) -> None:
        """``device``: auto, cpu, cuda or mps. ``slowdown`` >= 1.0 emulates a device so many times slower.

        Raises ``ConfigError`` for a device that is not there.
        """
        self.device = pick_device(device)
        self._environment = environment(self.device, threads)
        self._slowdown = Slowdown(slowdown)
        self._programs: Mapping[JobId, CheckedProgram] = {}
        self._hosting: Hosting | None = None
        self._expectations: Expectations | None = None

    # -- any thread

    def expects(self, header: Inputs | Activation | Gradient | StateParcel) -> bool:
        """Whether names, types, shapes and sizes in a parcel's header fit what could be received now."""
        if isinstance(header, StateParcel):
            known = self._programs.get(header.stamp.job)
            return all(map(acceptable, header.tensors)) if known is None else fits_program(known.program, header)
        expectations = self._expectations
        return expectations is not None and expectations.accept(header)

    # -- building

    def load_program(self, job: JobId, data: bytes | memoryview) -> None:
        """Read and check a program that came from a peer. Raises ``ProgramRefusedError``."""
        program = load(data)
        self._programs = {**self._programs, job: CheckedProgram(program)}

    def build(
        self,
        plan: Plan,
        node: NodeId,
        spec: JobSpec,
        version: int,
        states: Sequence[tuple[StateParcel, Sequence[memoryview]]],
    ) -> None:
        """Build this node's hops from the program and state that have arrived; they start at weight ``version``.

        Raises ``MalformedError`` if the state does not fit, ``JobError`` if the optimizer cannot be built.
        """
        checked = self._checked(plan.stamp.job)
        program = checked.program
        self._hosting, self._expectations = None, None
        self._environment.apply()
        self._slowdown.forget()
        values = checked.values(sizes(spec))
        found = read_state(program, states, self.device)
        names = next(iter(values.values()))  # the same for every size
        hosting = Hosting(program, names, plan, node, spec, self.device, found, read(spec.training))
        hosting.version = version
        self._expectations = Expectations(plan.stamp, spec, values, hosting.interfaces())
        self._hosting = hosting

    def drop_stages(self, stamp: Stamp) -> None:
        """Forget the stages of this plan, if they are the ones that stand."""
        if self._expectations is not None and self._expectations.stamp == stamp:
            self._hosting, self._expectations = None, None

    def drop_job(self, job: JobId) -> None:
        """Forget a job's stages and its program."""
        if self._expectations is not None and self._expectations.stamp.job == job:
            self._hosting, self._expectations = None, None
        self._programs = {known: program for known, program in self._programs.items() if known != job}

    def relieve(self) -> int:
        """Memory ran out: let go of the stages with all that they hold; returns how many bytes that was.

        What fits them is still expected, and not kept: nobody has been told yet, and a parcel that is refused where the
        plan waits for it ends the job.
        """
        held = 0 if self._hosting is None else self._hosting.held_bytes
        self._hosting = None
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        return held

    # -- computing

    def put(self, header: Inputs | Activation | Gradient, buffers: Sequence[memoryview]) -> None:
        """Keep what has arrived until its forward or backward runs; nothing is kept for a plan that does not stand.

        The buffers are used without a copy and must not change. Raises ``MalformedError`` for sizes that do not fit.
        """
        if self._hosting is not None and self._hosting.stamp == header.stamp:
            self._hosting.put(header, buffers)

    def forward(self, route: int, hop: int, work: Work, weight: float) -> ForwardResult:
        """Run one hop's forward of ``work``; all it needs has been ``put``. ``weight`` is n_i / N in training."""
        hosting = self._standing()
        with self._timed("forward", route, hop, work) as seconds:
            output, outgoing = hosting.forward(route, hop, work, weight)
            loss = None if output.loss is None else float(output.loss)
            metrics = tuple((key, float(value)) for key, value in output.metrics.items())
        return ForwardResult(seconds(), loss, metrics, outgoing)

    def backward(self, route: int, hop: int, work: Work) -> BackwardResult:
        """Run one hop's backward of ``work``: adds to the parameters' gradients."""
        hosting = self._standing()
        with self._timed("backward", route, hop, work) as seconds:
            outgoing = hosting.backward(route, hop, work)
        return BackwardResult(seconds(), outgoing)

    def norms(self) -> tuple[tuple[int, float], ...]:
        """``(index in Program.state, 2-norm)`` of this node's parameter gradients, ascending; ``None`` is left out."""
        return self._standing().norms()

    def update(self, version: int, norms: Sequence[tuple[int, float]] | None, *, skip: bool = False) -> UpdateResult:
        """Clip if ``norms`` (of all the program's parameters) is given, update, step the scheduler, clear gradients.

        ``skip``: only clear the gradients. The weights are at ``version`` afterwards.
        """
        hosting = self._standing()
        self._environment.check()
        if hosting.version + 1 != version:
            raise BrokenInvariantError(f"an update to version {version} of weights at {hosting.version}")
        with self._timed("skip" if skip else "update") as seconds:
            rate = hosting.update(norms, skip=skip)
        return UpdateResult(seconds(), rate)

    # -- state

    def state(self, first_layer: int, last_layer: int) -> StateCopy:
        """Copy the live state of these layers (inclusive), which this node must run."""
        hosting = self._standing()
        names = _owned(hosting.program, first_layer, last_layer)
        return copy_state(hosting.program, names, hosting.settled, hosting.optimizer)

    def snapshot(self, stamp: Stamp, first_layer: int, last_layer: int, version: int) -> SnapshotResult:
        """Copy the live state of these layers so that any of them can be cut out again without the program.

        Raises ``BrokenInvariantError`` unless the stages are those of ``stamp`` and stand at ``version``.
        """
        hosting = self._standing()
        if (hosting.stamp, hosting.version) != (stamp, version):
            raise BrokenInvariantError(f"a snapshot of version {version} of weights at {hosting.version}")
        began = time.perf_counter()
        names = [_owned(hosting.program, layer, layer) for layer in range(first_layer, last_layer + 1)]
        copy = copy_layers(hosting.program, names, hosting.settled, hosting.optimizer)
        return SnapshotResult(copy, time.perf_counter() - began)

    def first_state(self, job: JobId, path: Path, first_layer: int, last_layer: int) -> StateCopy:
        """Layers at version 0, from the spool's file of first weights. The program must have been loaded.

        Any of them can be cut out again, as of a snapshot.
        """
        program = self._checked(job).program
        names = [_owned(program, layer, layer) for layer in range(first_layer, last_layer + 1)]
        return copy_layers(program, names, read_first_state(path, _owned(program, first_layer, last_layer)), None)

    def write_weights(
        self, job: JobId, parcels: Sequence[tuple[StateParcel, Sequence[memoryview]]], output: Path
    ) -> str:
        """Write what ``model.load_state_dict`` takes, of parcels that cover all layers; returns its ``state_sha256``.

        Raises ``JobError`` if something is missing or the disk refuses.
        """
        program = self._checked(job).program
        if len({header.version for header, _ in parcels}) > 1:
            raise BrokenInvariantError("weights of different versions cannot make one file")
        weights = state_dict(program, read_state(program, parcels, torch.device("cpu")).tensors)
        write_tensors(output, weights)
        return state_sha256(weights)

    def _checked(self, job: JobId) -> CheckedProgram:
        checked = self._programs.get(job)
        if checked is None:
            raise MalformedError(f"the program of job {job} has not arrived")
        return checked

    def _standing(self) -> Hosting:
        if self._hosting is None:
            raise BrokenInvariantError("nothing has been built")
        return self._hosting

    def _samples(self, work: Work) -> int:
        return self._standing().spec.sizes(work.version, work.phase)[work.micro_batch]

    @contextmanager
    def _timed(self, what: str, route: int = 0, hop: int = 0, work: Work | None = None) -> Iterator[Any]:
        """Measure a computation, and sleep as the slowdown says; gives a function that tells the seconds."""
        cpu = timer(self.device)
        began, before, elapsed = cpu(), time.perf_counter(), math.nan
        yield lambda: elapsed
        synchronize(self.device)
        elapsed = time.perf_counter() - before
        if self._slowdown.factor > 1.0:
            alike = (what, route, hop) if work is None else (what, route, hop, work.phase, self._samples(work))
            time.sleep(self._slowdown.rest(alike, cpu() - began, elapsed))
            elapsed = time.perf_counter() - before


def _owned(program: Program, first_layer: int, last_layer: int) -> tuple[str, ...]:
    return owned_state(program, program.layers[first_layer][0], program.layers[last_layer][1])
