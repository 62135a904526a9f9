"""The job that a user writes: a model, its objective, its data, and how to train it.

Everything that can be checked without running the model is checked when the ``Job`` is built, so that a mistake shows
where it was made: ``JobError`` names the argument and says what to write instead.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from functools import partial, wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn
from torch.utils.data import IterableDataset

from edged.errors import JobError

MODES = ("sync", "async")
"""How updates follow micro-batches: together after each step, or after each micro-batch."""

NAN_POLICIES = ("stop", "skip")
"""What a loss that is not finite does: it ends the job, or its step is left out."""

_T = TypeVar("_T")

_LONGEST_NAME = 100
_LONGEST_QUOTE = 60

_HOME_INPUTS = (False, True, "labels")
OPTIMIZERS = frozenset({
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "Muon", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD",
})  # fmt: skip
"""Those of ``torch.optim`` that treat each parameter by itself and compute the loss once a step."""

SCHEDULERS = frozenset({
    "ConstantLR", "CosineAnnealingLR", "CosineAnnealingWarmRestarts", "CyclicLR", "ExponentialLR", "LinearLR",
    "MultiStepLR", "OneCycleLR", "PolynomialLR", "StepLR",
})  # fmt: skip
"""Those of ``torch.optim.lr_scheduler`` that are made of numbers alone and stepped once per step."""

_UNFIT = {
    "Optimizer": "is only the base of the others",
    "LBFGS": "computes the loss several times a step",
    "SparseAdam": "needs sparse gradients",
    "LRScheduler": "is only the base of the others",
    "LambdaLR": "takes a function, and peers run no foreign code",
    "MultiplicativeLR": "takes a function, and peers run no foreign code",
    "ReduceLROnPlateau": "waits for a metric, but the scheduler is stepped once per step",
    "SequentialLR": "is made of other schedulers",
    "ChainedScheduler": "is made of other schedulers",
}
_EXAMPLES = {"optimizer": "AdamW", "scheduler": "CosineAnnealingLR"}
_UNFIT_ARGUMENTS = ("capturable", "differentiable")

REFUSALS = (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, AssertionError, RuntimeError)
"""What torch raises for numbers that an optimizer or a scheduler does not take: ``betas=()``, ``step_size_up=0``."""

FAST_PATHS = ("foreach", "fused")
"""Arguments of optimizers that only change how torch computes, and in places the bits; they are left out."""


_WANTED = {
    "model": "what is trained, for example model=nn.Linear(64, 10)",
    "objective": "its loss, for example objective=lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])",
    "data": "the samples, for example data=TensorDataset(inputs, labels)",
    "optimizer": "how weights are changed, for example optimizer=partial(torch.optim.SGD, lr=0.05)",
    "batch_size": "samples of one step, for example batch_size=32",
}
"""What the fields of ``Job`` without a default are for, and a right form of each."""


def _names_mistakes(kind: type[_T]) -> type[_T]:
    """Let a class of keywords say what a mistyped one could have meant, and what is missing. It raises ``JobError``."""
    checked: Any = kind
    build = checked.__init__

    @wraps(build)
    def init(self: _T, *arguments: object, **given: object) -> None:
        parameters = inspect.signature(kind).parameters
        known = list(parameters)
        if arguments:
            raise JobError(f"all arguments of {kind.__name__} are keywords: write {known[0]}=..., {known[1]}=...")
        for name in given:
            if name not in known:
                near = get_close_matches(name, known, n=1)
                there = f"did you mean {near[0]}?" if near else f"the fields are {', '.join(known)}"
                raise JobError(f"{kind.__name__} has no field {name}: {there}")
        missing = [name for name in known if parameters[name].default is inspect.Parameter.empty and name not in given]
        if missing:
            told = "; ".join(f"{name}, {_WANTED[name]}" for name in missing)
            raise JobError(f"{kind.__name__} lacks {told}")
        build(self, **given)

    checked.__init__ = init
    return kind


@_names_mistakes
@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One training job. All arguments are keywords.

    Args:
        model: any ``nn.Module`` that ``torch.export`` takes, or a function without arguments that returns one.
        objective: ``objective(model, batch)`` returns the loss: one number, the mean over the micro-batch.
        data: a map-style data set: ``len(data)``, and ``data[i]`` gives a tensor, or a tuple or dict of tensors.
        optimizer: ``functools.partial`` of a class of ``torch.optim``, with numbers, for example
            ``partial(torch.optim.SGD, lr=0.05, momentum=0.9)``.
        batch_size: samples of one step (one update of the optimizer); with ``mode="async"`` a step is a micro-batch,
            ``batch_size / micro_batches`` samples.
        name: what people call it, in ``edged jobs``, ``attach``, ``stop``.
        micro_batches: equal parts of a batch; with more than one, several devices are busy at once. Must divide
            ``batch_size``.
        epochs: passes over the data.
        seed: of the order of samples, of dropout and other random operations, and of what the data set draws.
        scheduler: ``partial`` of a class of ``torch.optim.lr_scheduler``, with numbers; stepped once per step.
        clip_norm: largest global norm of the gradient, as ``torch.nn.utils.clip_grad_norm_``.
        max_steps: stop after so many steps, even within an epoch.
        drop_last: leave out the last, smaller batch of an epoch.
        shuffle: draw a new order in each epoch.
        collate: makes a micro-batch of a list of samples, in place of ``torch.utils.data.default_collate``.
        eval_data: data set of the evaluation at the end of each epoch.
        metrics: ``metrics(model, batch)`` returns a dict of numbers, averaged over ``eval_data``.
        strategy: who chooses the plan (``docs/planning.md``): ``"auto"``, or ``"pipeline"``, takes the devices that
            make a step shorter, ``"spread"`` all of them in proportion to their speed, ``"equal"`` all as if they were
            equally fast.
        mode: ``"sync"``: the weights are those of one device. ``"async"``: an update after every micro-batch, which is
            a step of its own, from weights that are a few updates old; see ``docs/asynchronous.md``.
        average_every: with ``mode="async"``: every so many steps a device goes on with the mean of the versions of its
            weights that micro-batches on their way still use (``docs/asynchronous.md#averaging``); ``None``: never.
        replicate_every: steps between two copies of the weights to other nodes; ``None``: chosen from measured cost.
        on_nan: what a training loss that is not finite does. ``"stop"``: the job ends, names the step, and its newest
            copied weights are written. ``"skip"``: that step changes no parameter, on all nodes alike; neither
            optimizer nor scheduler is stepped, but running statistics (batch norm) have seen its samples.
        keep_inputs_home: keep the layers that see samples on the source. (Only ``False`` is built yet; the rest is
            refused.)
        weights: a ``.safetensors`` file with the first weights; a model built on the ``meta`` device is filled from it.
        workers: processes that draw samples ahead; 0 draws them in one.
    """

    model: nn.Module | Callable[[], nn.Module]
    objective: Callable[[nn.Module, Any], torch.Tensor]
    data: Any
    optimizer: partial[Any]
    batch_size: int
    name: str = "job"
    micro_batches: int = 1
    epochs: int = 1
    seed: int = 0
    scheduler: partial[Any] | None = None
    clip_norm: float | None = None
    max_steps: int | None = None
    drop_last: bool = True
    shuffle: bool = True
    collate: Callable[[list[Any]], Any] | None = None
    eval_data: Any = None
    metrics: Callable[[nn.Module, Any], dict[str, torch.Tensor]] | None = None
    strategy: str = "auto"
    mode: str = "sync"
    average_every: int | None = None
    replicate_every: int | None = None
    on_nan: str = "stop"
    keep_inputs_home: bool | str = False
    weights: str | Path | None = None
    workers: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be run. Raises ``JobError``."""
        _check_name(self.name)
        _check_model(self.model)
        _check_callables(self)
        _check_data("data", self.data)
        if self.eval_data is not None:
            _check_data("eval_data", self.eval_data)
        elif self.metrics is not None:
            raise JobError("metrics are computed on eval_data: give eval_data= too, or leave metrics out")
        _check_counts(self)
        _check_flags(self)
        _check_options(self)
        optimizer = _check_optimizer(self.optimizer)
        if self.scheduler is not None:
            _check_scheduler(self.scheduler, optimizer)

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on what is done otherwise than the job asks; none of them changes what is trained."""
        notes = []
        asked = [f"{key}=True" for key in FAST_PATHS if self.optimizer.keywords.get(key)]
        if asked:
            notes.append(f"optimizer: {' and '.join(asked)} is not used, the plain form gives equal bits everywhere")
        return tuple(notes)


def check_choice(what: str, name: str) -> None:
    """Refuse an optimizer or a scheduler (``what``) that cannot train exactly on several nodes. Raises ``JobError``."""
    known = OPTIMIZERS if what == "optimizer" else SCHEDULERS
    if name not in known:
        reason = _UNFIT.get(name, "is not one that edged knows")
        raise JobError(f"{what}: {name} {reason}: take another one, such as {_EXAMPLES[what]}")
    if not hasattr(torch.optim if what == "optimizer" else torch.optim.lr_scheduler, name):
        raise JobError(f"{what}: this device's torch has no {name}")


def checked_arguments(what: str, call: partial[Any]) -> dict[str, Any]:
    """All arguments of an optimizer or scheduler (``what``) by name, without those that choose a fast path.

    The first one (parameters, or the optimizer) is added later by edged. Raises ``JobError`` for a class that cannot be
    used, and for arguments that are not plain numbers and texts.
    """
    check_choice(what, call.func.__name__)
    try:
        bound = inspect.signature(call.func).bind_partial(None, *call.args, **call.keywords)
    except TypeError as error:
        raise JobError(f"{what}: {call.func.__name__}: {error}; mend the arguments of the partial") from error
    first = next(iter(bound.arguments))
    arguments = {key: value for key, value in bound.arguments.items() if key != first}
    arguments.update(arguments.pop("kwargs", {}))
    for key, value in arguments.items():
        if not _is_plain(value):
            raise JobError(f"{what}: {key} is a number, a text or a list of these, not {_short(value)}")
        if key in _UNFIT_ARGUMENTS and value:
            raise JobError(f"{what}: {key}=True is not supported: leave it out")
    return {key: value for key, value in arguments.items() if key not in FAST_PATHS}


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name.strip() or len(name) > _LONGEST_NAME or not name.isprintable():
        raise JobError(f"name is a printable text of 1 to 100 characters, for example 'my-job', not {_short(name)}")


def _check_model(model: object) -> None:
    if isinstance(model, nn.Module):
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise JobError("model has no parameter that wants a gradient: there is nothing to train")
        return
    if isinstance(model, type) or not callable(model):
        raise JobError(
            f"model is an nn.Module or a function that returns one (write Net(), not Net), not {_short(model)}"
        )


def _check_callables(job: Job) -> None:
    for name, example in (
        ("objective", "lambda model, batch: F.cross_entropy(model(batch[0]), batch[1])"),
        ("metrics", "lambda model, batch: {'accuracy': ...}"),
        ("collate", "a function of a list of samples"),
    ):
        value = getattr(job, name)
        if not callable(value) and (value is not None or name == "objective"):
            raise JobError(f"{name} is a function, for example {example}, not {_short(value)}")


def _check_data(name: str, data: object) -> None:
    if isinstance(data, IterableDataset):
        raise JobError(
            f"{name} is an IterableDataset, whose samples cannot be drawn again after a failure: "
            "write a map-style data set, with __len__ and __getitem__"
        )
    if isinstance(data, torch.utils.data.DataLoader):
        raise JobError(f"{name} is a DataLoader: give its data set instead; edged makes the batches (batch_size=)")
    if not hasattr(data, "__len__") or not hasattr(data, "__getitem__"):
        raise JobError(f"{name} is a map-style data set, with __len__ and __getitem__, not {_short(data)}")
    if isinstance(data, dict):
        raise JobError(f"{name} is a dict: give a data set whose [i] is one sample, for example a list of samples")
    if len(data) == 0:
        raise JobError(f"{name} is empty: it needs at least one sample; is its path right?")


def _check_counts(job: Job) -> None:
    for name, value, least in (
        ("batch_size", job.batch_size, 1),
        ("micro_batches", job.micro_batches, 1),
        ("epochs", job.epochs, 1),
        ("workers", job.workers, 0),
        ("max_steps", job.max_steps, 1),
        ("replicate_every", job.replicate_every, 1),
        ("average_every", job.average_every, 1),
        ("seed", job.seed, -(2**63)),
    ):
        if value is None and name in {"max_steps", "replicate_every", "average_every"}:
            continue
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            wanted = "a whole number" if name == "seed" else f"a whole number from {least} on"
            raise JobError(f"{name} is {wanted}, not {_short(value)}")
    if not -(2**62) < job.seed < 2**62:
        raise JobError(f"seed is a whole number of at most 62 bits, not {job.seed}")
    if job.batch_size % job.micro_batches:
        near = max(job.micro_batches, job.batch_size - job.batch_size % job.micro_batches)
        raise JobError(
            f"batch_size={job.batch_size} cannot be cut into micro_batches={job.micro_batches} equal parts: "
            f"write batch_size={near}, or a divisor of {job.batch_size} for micro_batches"
        )
    if job.drop_last and len(job.data) < job.batch_size:
        raise JobError(
            f"data has {len(job.data)} samples, fewer than batch_size={job.batch_size}, so drop_last leaves no step: "
            "write drop_last=False or a smaller batch_size"
        )
    limit = job.clip_norm
    if limit is not None and (
        isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf
    ):
        raise JobError(f"clip_norm is a number above 0, for example 1.0, or None, not {_short(limit)}")


def _check_flags(job: Job) -> None:
    for name in ("drop_last", "shuffle"):
        if not isinstance(getattr(job, name), bool):
            raise JobError(f"{name} is True or False, not {_short(getattr(job, name))}")


def _check_options(job: Job) -> None:
    if not isinstance(job.strategy, str) or not job.strategy:
        raise JobError(f"strategy is the name of a strategy, or 'auto', not {_short(job.strategy)}")
    if job.on_nan not in NAN_POLICIES:
        raise JobError(f"on_nan is 'stop' or 'skip', not {_short(job.on_nan)}")
    _check_mode(job)
    if not any(job.keep_inputs_home is choice for choice in _HOME_INPUTS[:2]) and job.keep_inputs_home != "labels":
        raise JobError(f"keep_inputs_home is False, True or 'labels', not {_short(job.keep_inputs_home)}")
    if job.keep_inputs_home is not False:
        raise JobError(
            "keep_inputs_home is not built yet, so inputs do leave this device (encrypted): "
            "write keep_inputs_home=False if they may"
        )
    if job.weights is not None:
        if not isinstance(job.weights, str | Path) or Path(job.weights).suffix != ".safetensors":
            raise JobError(f"weights is the path of a .safetensors file, not {_short(job.weights)}")
        if not Path(job.weights).is_file():
            raise JobError(f"weights: there is no file {job.weights}")


def _check_mode(job: Job) -> None:
    """Refuse what only one of the two modes can do: an asynchronous job never stops all devices at an update."""
    if job.mode not in MODES:
        raise JobError(f"mode is 'sync' or 'async', not {_short(job.mode)}")
    if job.mode == "sync":
        if job.average_every is not None:
            raise JobError(
                "average_every is for mode='async', where several versions of the weights are in use at once: "
                "leave average_every out, or write mode='async'"
            )
        return
    if job.clip_norm is not None:
        raise JobError(
            "clip_norm needs the gradients of all devices at each update, and mode='async' never waits for them: "
            "leave clip_norm out, or write mode='sync'"
        )
    if job.on_nan == "skip":
        raise JobError(
            "on_nan='skip' needs all devices to agree on each update, and mode='async' never waits for them: "
            "write on_nan='stop', or mode='sync'"
        )


def _check_optimizer(optimizer: object) -> torch.optim.Optimizer:
    example = "write for example partial(torch.optim.SGD, lr=0.05, momentum=0.9)"
    if isinstance(optimizer, torch.optim.Optimizer):
        raise JobError(f"optimizer is already built, but its parameters will live on other devices: {example}")
    if isinstance(optimizer, type):
        raise JobError(f"optimizer is a class without its numbers: {example}")
    if not isinstance(optimizer, partial) or not _lives_in(optimizer.func, torch.optim, torch.optim.Optimizer):
        raise JobError(
            f"optimizer is a functools.partial of a class of torch.optim, not {_short(optimizer)}: {example}"
        )
    arguments = checked_arguments("optimizer", optimizer)
    # Without torch's decorator of this method, which imports torch._dynamo: a second's worth, of no use to a check.
    plain = {"add_param_group": inspect.unwrap(torch.optim.Optimizer.add_param_group)}
    kind: Any = optimizer.func
    probe = type(kind.__name__, (kind,), plain)
    try:
        built: torch.optim.Optimizer = probe([nn.Parameter(torch.zeros(2, 2))], **arguments)
    except REFUSALS as error:
        raise JobError(f"optimizer: {optimizer.func.__name__}: {error}; mend the arguments of the partial") from error
    return built


def _check_scheduler(scheduler: object, optimizer: torch.optim.Optimizer) -> None:
    rooms = torch.optim.lr_scheduler
    example = "write for example partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=100)"
    if not isinstance(scheduler, partial) or not _lives_in(scheduler.func, rooms, object):
        raise JobError(
            f"scheduler is a functools.partial of a class of torch.optim.lr_scheduler, not {_short(scheduler)}: "
            f"{example}"
        )
    arguments = checked_arguments("scheduler", scheduler)
    try:
        scheduler.func(optimizer, **arguments)
    except REFUSALS as error:
        raise JobError(f"scheduler: {scheduler.func.__name__}: {error}; mend the arguments of the partial") from error


def _lives_in(found: object, room: Any, base: type) -> bool:
    return isinstance(found, type) and issubclass(found, base) and getattr(room, found.__name__, None) is found


def _is_plain(value: object) -> bool:
    if isinstance(value, list | tuple):
        return all(_is_plain(item) for item in value)
    return value is None or isinstance(value, bool | int | float | str)


def _short(value: object) -> str:
    text = value.__qualname__ if isinstance(value, type) else repr(value)
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_QUOTE else f"{type(value).__name__} {text[:40]}..."
