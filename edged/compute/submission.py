"""Turns a job into what a cluster runs: captured, compared, measured, and written to the node's spool.

::

    Job ──> model ──> program + first weights ──> profile ──> HOME/jobs/<job id>/
            build      capture (compares bits)    measure       program.msgpack, state.safetensors, job.json
"""

from __future__ import annotations

import hashlib
import json
import logging
import secrets
import shutil
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from edged.compute.capture import Captured, capture
from edged.compute.environment import environment
from edged.compute.expectations import occurring
from edged.compute.fingerprint import fingerprint, text_digest
from edged.compute.optimizer import Optimizer, check_parameters, read, training_of
from edged.compute.profiler import calibrate, profile
from edged.compute.program import Program
from edged.compute.program_form import dump
from edged.compute.sampling import Sampler, flatten, preserved_random_state
from edged.compute.sizes import check_sizes
from edged.compute.state import sync, write_first_state
from edged.compute.user_code import UserCode
from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec, Phase, Work
from edged.errors import JobError
from edged.job import Job

_PROBE_SIDE = 64
"""Of the square parameter on which an optimizer's copies are counted."""


def build_model(job: Job) -> nn.Module:
    """The job's module with its first weights. Raises ``JobError``."""
    model = job.model
    if not isinstance(model, nn.Module):
        with UserCode("model: the function failed"):
            model = model()
        if not isinstance(model, nn.Module):
            raise JobError(f"model: the function returned a value of type {type(model).__name__}: return an nn.Module")
    if job.weights is not None:
        try:
            _load(model, Path(job.weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            words = " ".join(str(error).split())[:300]
            raise JobError(f"weights: {job.weights} does not fit the model: {words}") from error
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise JobError("model has no parameter that wants a gradient: there is nothing to train")
    return model


def _load(model: nn.Module, path: Path) -> None:
    """Fill the model from a file. One on the meta device gets its tensors there and then, tensor by tensor.

    So it never lies in memory twice. Each lies in memory of its own, as a model's do, aligned and not in the mapped
    file; parameters that were one stay one. Raises what ``load_state_dict`` and safetensors raise.
    """
    own = model.state_dict(keep_vars=True)
    if not any(tensor.is_meta for tensor in own.values()):
        model.load_state_dict(load_file(path))
        return
    with safe_open(path, framework="pt") as file:
        found = {
            name: file.get_tensor(name).to(own[name].dtype if name in own else None, copy=True)
            for name in file.keys()  # noqa: SIM118 -- it is no mapping
        }
    model.load_state_dict(found, assign=True)
    first: dict[int, str] = {}
    for name, tensor in own.items():
        if (same := first.setdefault(id(tensor), name)) != name:
            (holder, _, key), (module, _, last) = same.rpartition("."), name.rpartition(".")
            setattr(model.get_submodule(module), last, getattr(model.get_submodule(holder), key))


def capture_job(job: Job, sampler: Sampler | None = None) -> Captured:
    """Build the model, draw the first micro-batch, capture on it, and check all that follows from it.

    What is done otherwise than the job asks is logged as a warning of ``edged.job`` (on standard error, where nobody
    has set up logging). Raises ``JobError`` in one sentence for whatever cannot be trained exactly.
    """
    sampler = sampler or Sampler(job)
    first = Work(0, Phase.TRAIN, 0)
    batch = sampler.batch(first)
    inputs = flatten(batch, len(sampler.indices(first)))
    with preserved_random_state():
        model = build_model(job)
        captured = capture(model, job.objective, batch, job.metrics)
    trained = [spec.name for spec in captured.program.state if spec.parameter and spec.requires_grad]
    training = read(training_of(job))
    check_parameters(training, {name: captured.state[name] for name in trained})
    _check_fixed(captured.program, sampler.spec)
    notes = captured.notes if captured.program.evaluates else captured.notes[:-1]
    for note in (*job.notes, *notes):
        logging.getLogger("edged.job").warning("%s: %s", job.name, note)
    if job.eval_data is not None:
        _check_evaluation(captured, sampler, list(inputs.values()))
    with preserved_random_state():
        check_sizes(captured, model, job, sampler)
    return captured


def measure_job(job: Job, threads: int) -> JobSpec:
    """What a cluster would be told of the job: captured, checked and profiled on this device; nothing is written.

    It computes with so many ``threads``. It has no id and no source. Raises ``JobError`` as ``submit`` does.
    """
    sampler = Sampler(job)
    with environment(torch.device("cpu"), threads).held():
        return _specified(job, sampler, capture_job(job, sampler), "")


def submit(
    job: Job,
    home: Path,
    feeder: Mapping[str, Any] | None,
    output: str | Path | None,
    *,
    source: str,
    strategies: Collection[str] = (),
    job_id: str = "",
) -> JobSpec:
    """Prepare ``job`` and write its spool folder under ``home``; the node is still to be told (``submit``).

    ``feeder``: ``{"path": ..., "function": ..., "set": {...}}``, or none if this process will feed. ``output``: where
    the node shall write the weights. ``source``: the id of this home's node. ``strategies``: the names that may be
    asked for besides "auto" (empty: not checked). ``job_id``: drawn here if it is empty. Takes seconds;
    writes nothing if it raises ``JobError``.
    """
    if strategies and job.strategy not in {"auto", *strategies}:
        known = ", ".join(sorted(strategies))
        raise JobError(f"strategy={job.strategy!r} is not known: write 'auto' or one of {known}")
    target = None if output is None else Path(output).expanduser().absolute()
    if target is not None and not target.parent.is_dir():
        raise JobError(f"output: there is no folder {target.parent}: make it first, or write elsewhere")
    sampler = Sampler(job)
    captured = capture_job(job, sampler)
    data = dump(captured.program)
    spec = _specified(job, sampler, captured, hashlib.sha256(data).hexdigest())
    spec = replace(spec, job=JobId(job_id or secrets.token_hex(6)), source=NodeId(source))
    document = {
        "spec": asdict(spec),
        "feeder": None if feeder is None else dict(feeder),
        "output": None if target is None else str(target),
        "inputs": [[given.name, given.dtype, given.shape[1:]] for given in captured.program.inputs],
        "data": {} if feeder is None else dict(fingerprint(sampler)),
        "text": "" if feeder is None else text_digest(Path(feeder["path"])),
        "pretrained": dict(captured.pretrained),
    }
    _write_spool(home / "jobs" / spec.job, data, captured, document)
    return spec


def _specified(job: Job, sampler: Sampler, captured: Captured, program: str) -> JobSpec:
    """The outline completed with all that is measured and read off the program."""
    training = training_of(job)
    with preserved_random_state():
        inputs = sampler.micro_batch(Work(0, Phase.TRAIN, 0))  # of the size that the program was captured with
        layers = profile(captured.program, captured.values, captured.state, inputs)
    return replace(
        sampler.spec,
        program=program,
        layers=layers,
        parameters=sum(captured.state[spec.name].numel() for spec in captured.program.state if spec.parameter),
        inputs=len(captured.program.inputs),
        optimizer_copies=_copies(training),
        source_slowness=calibrate(),
        training=training,
    )


def _copies(training: str) -> int:
    """Parameter-sized tensors that the optimizer keeps, counted on a small parameter after one update."""
    probe = torch.zeros(_PROBE_SIDE, _PROBE_SIDE, requires_grad=True)
    optimizer = Optimizer(read(training), {"probe": probe})
    probe.grad = torch.ones_like(probe)
    optimizer.update()
    kept = sum(tensor.numel() for tensor in optimizer.tensors("probe").values() if tensor.dim())
    return -(-kept // probe.numel())


def _check_fixed(program: Program, spec: JobSpec) -> None:
    fixed = program.fixed_batch
    if not fixed:
        return
    training = occurring(spec, Phase.TRAIN)
    if set(training) != {fixed}:
        raise JobError(
            f"the model exports for micro-batches of {fixed} samples only, but an epoch's last one would have "
            f"{min(training)}: write drop_last=True"
        )
    if set(occurring(spec, Phase.EVALUATE)) - {fixed}:
        raise JobError(
            f"the model exports for micro-batches of {fixed} samples only, and eval_data has {spec.eval_samples}: "
            f"leave {spec.eval_samples % fixed} out, or let the model take any batch size"
        )


def _check_evaluation(captured: Captured, sampler: Sampler, inputs: list[torch.Tensor]) -> None:
    if not captured.program.evaluates:
        raise JobError(
            f"eval_data: {'; '.join(captured.notes)}: leave eval_data out, and evaluate the finished weights yourself"
        )
    evaluated = sampler.micro_batch(Work(sampler.spec.steps, Phase.EVALUATE, 0))
    kinds = [[(tensor.dtype, tuple(tensor.shape[1:])) for tensor in drawn] for drawn in (inputs, evaluated)]
    if kinds[0] != kinds[1]:
        seen = [", ".join(f"{str(d).removeprefix('torch.')} {s}" for d, s in kind) for kind in kinds]
        raise JobError(f"eval_data: its samples are ({seen[1]}), those of data are ({seen[0]}): make them alike")


def _write_spool(folder: Path, program: bytes, captured: Captured, document: Mapping[str, Any]) -> None:
    """Write all files beside the final place, then rename: the folder is there whole or not at all.

    It is on the disk when this returns: the node's list of jobs will name it.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        partial.mkdir(mode=0o700)
        (partial / "program.msgpack").write_bytes(program)
        (partial / "job.json").write_text(json.dumps(document), encoding="utf-8")
        for name in ("program.msgpack", "job.json"):
            sync(partial / name)
        write_first_state(partial / "state.safetensors", captured.state)  # syncs itself, and the folder
        partial.rename(folder)
        sync(folder.parent)
        sync(folder.parent.parent)
    except OSError as error:
        raise JobError(f"cannot write {folder}: {error.strerror}; is there room, and is the home yours?") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
