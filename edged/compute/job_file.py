"""Loads a job file: ``JOB.py[:function]``, with overrides from the command line.

The file runs as an ordinary module of its own, with its folder first in ``sys.path``, so it may import its neighbours.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from collections.abc import Mapping
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from edged.compute.job_reference import check_there, split
from edged.compute.sampling import own_random_state
from edged.compute.user_code import UserCode, last_line
from edged.errors import ConfigError, JobError
from edged.job import Job

_WORDS = {"true": True, "yes": True, "false": False, "no": False, "none": None}
_TEXT_FIELDS = {"name", "strategy", "mode", "weights", "on_nan"}
_NUMBER_FIELDS = {
    "batch_size", "micro_batches", "epochs", "seed", "clip_norm", "max_steps", "drop_last", "shuffle", "workers",
    "replicate_every", "average_every", "keep_inputs_home",
}  # fmt: skip
_PARTIAL_FIELDS = ("optimizer", "scheduler")


def load(reference: str, overrides: Mapping[str, str] | None = None) -> Job:
    """Run the file's function and return its job.

    An override names, in this order: an argument of the function; a number, flag or text field of ``Job``; or a number
    of the optimizer or scheduler (``optimizer.lr``). Raises ``JobError`` for every mistake of the file, ``ConfigError``
    if it is not there and for mistakes of the overrides, in one sentence. Samples that other threads draw wait
    meanwhile: drawing seeds the random state, which belongs to the process.
    """
    with own_random_state():
        return _loaded(reference, overrides or {})


def _loaded(reference: str, overrides: Mapping[str, str]) -> Job:
    path, name = split(reference)
    function = _function(_module(path), path, name)
    parameters = inspect.signature(function).parameters
    arguments, fields = {}, {}
    for key, text in overrides.items():
        if key in parameters:
            arguments[key] = _typed(text, parameters[key].default)
        else:
            fields[key] = text
    missing = [key for key, p in parameters.items() if p.default is p.empty and key not in arguments and _is_named(p)]
    if missing:
        raise ConfigError(f"{path.name}: {name}() wants {missing[0]}: add --set {missing[0]}=...")
    with UserCode(f"{path.name}: {name}() failed"):
        job = function(**arguments)
    if not isinstance(job, Job):
        found = "nothing" if job is None else f"a value of type {type(job).__name__}"
        raise JobError(f"{path.name}: {name}() returned {found}: return an edged.Job")
    return _overridden(job, fields, list(parameters))


def _module(path: Path) -> ModuleType:
    check_there(path)
    spec = spec_from_file_location(f"edged_job_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise JobError(f"{path} is not a Python file: a job file ends in .py")
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    folder = str(path.parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with UserCode(f"{path.name} failed"):
            spec.loader.exec_module(module)
    except JobError as error:
        if isinstance(error.__cause__, SyntaxError):
            raise _syntax(path, error.__cause__) from error.__cause__
        raise
    return module


def _syntax(path: Path, error: SyntaxError) -> JobError:
    where = path.name if error.filename is None else Path(error.filename).name
    return JobError(f"{where}, line {error.lineno}: {last_line(type(error)(error.msg))}: mend it and try again")


def _function(module: ModuleType, path: Path, name: str) -> Any:
    function = getattr(module, name, None)
    if function is None:
        found = [key for key, value in vars(module).items() if inspect.isfunction(value) and not key.startswith("_")]
        there = f"; it has {', '.join(found[:8])}" if found else ""
        raise JobError(f"{path.name} has no function {name}(){there}: write `def {name}() -> Job:`")
    if not callable(function):
        raise JobError(f"{path.name}: {name} is of type {type(function).__name__}: write `def {name}() -> Job:`")
    return function


def _is_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind not in {parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD}


def _typed(text: str, default: Any) -> Any:
    """An argument of the job function: a text if its default is one (or it has none that tells), else as it reads."""
    if isinstance(default, str | Path) or default is inspect.Parameter.empty:
        return text
    return text if default is None and not isinstance(_plain(text), bool | int | float) else _plain(text)


def _plain(text: str) -> Any:
    """A number, a flag, ``None``, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _overridden(job: Job, fields: Mapping[str, str], arguments: list[str]) -> Job:
    changes: dict[str, Any] = {}
    for key, text in fields.items():
        head, dot, tail = key.partition(".")
        if dot and head in _PARTIAL_FIELDS and tail:
            call = changes.get(head) or getattr(job, head)
            if call is None:
                raise ConfigError(f"--set {key}: the job has no {head}")
            changes[head] = partial(call.func, *call.args, **(call.keywords | {tail: _plain(text)}))
        elif key in _TEXT_FIELDS:
            changes[key] = text
        elif key in _NUMBER_FIELDS:
            changes[key] = _plain(text)
        else:
            fields_known = sorted((_TEXT_FIELDS | _NUMBER_FIELDS).difference(arguments))
            known = ", ".join([*arguments, *fields_known, "optimizer.lr"])
            raise ConfigError(f"--set {key}: there is nothing of this name to set; there is {known}")
    try:
        return dataclasses.replace(job, **changes) if changes else job
    except JobError as error:  # the job that the file makes is sound
        raise ConfigError(f"--set: {error}") from error
