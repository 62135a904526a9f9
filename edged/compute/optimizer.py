"""Optimizers and schedulers of torch, by name and numbers, over those parameters that this node holds.

A torch optimizer of the plain form (no ``foreach``, no ``fused``) treats each parameter by itself, so any cut of the
parameters over nodes gives the same bits. The *training document*, JSON, is what travels::

    {"optimizer": {"name": "SGD", "arguments": {"lr": 0.05}},
     "scheduler": {"name": "CosineAnnealingLR", "arguments": {"T_max": 100}} or null,
     "clip_norm": 1.0 or null, "average_every": 0}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import torch
from torch.optim import lr_scheduler

from edged.compute.plain_numbers import plain, restored
from edged.errors import UNREADABLE, JobError, brief
from edged.job import FAST_PATHS, OPTIMIZERS, REFUSALS, SCHEDULERS, Job, check_choice, checked_arguments

_HOST_KEYS: Final = frozenset({"step", "mu_product", "eta", "mu"})
"""Counters without dimensions, which torch's plain forms keep on the CPU."""


@dataclass(frozen=True, slots=True)
class _Choice:
    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Training:
    """The training document, read."""

    optimizer: _Choice
    scheduler: _Choice | None
    clip_norm: float | None
    average_every: int


def describe(
    optimizer: partial[Any],
    scheduler: partial[Any] | None = None,
    clip_norm: float | None = None,
    average_every: int | None = None,
) -> str:
    """The training document of a job. Raises ``JobError`` in one sentence for what cannot be described."""
    document = {
        "optimizer": _describe("optimizer", optimizer),
        "scheduler": None if scheduler is None else _describe("scheduler", scheduler),
        "clip_norm": clip_norm,
        "average_every": average_every or 0,
    }
    text = json.dumps(document)
    read(text)
    return text


def training_of(job: Job) -> str:
    """The training document of a job that a user wrote. Raises ``JobError`` as ``describe`` does."""
    return describe(job.optimizer, job.scheduler, job.clip_norm, job.average_every)


def read(document: str) -> Training:
    """Check a training document. Raises ``JobError`` for an unknown name or a malformed document."""
    try:
        found = json.loads(document)
        optimizer = _choice("optimizer", found["optimizer"])
        scheduler = found.get("scheduler")
        return Training(
            optimizer,
            None if scheduler is None else _choice("scheduler", scheduler),
            _norm(found.get("clip_norm")),
            _steps(found.get("average_every", 0)),
        )
    except UNREADABLE as error:
        raise JobError(f"the training document is malformed ({type(error).__name__}: {brief(error)})") from error


class Optimizer:
    """A torch optimizer over named parameters, with its scheduler. No parameters at all is fine."""

    def __init__(self, training: Training, parameters: Mapping[str, torch.Tensor]) -> None:
        """Build both. Raises ``JobError`` if torch refuses the numbers or the parameters."""
        self._parameters = dict(parameters)
        # An optimizer refuses an empty list, but the scheduler needs one to turn; this never gets a gradient.
        held: Sequence[torch.Tensor] = list(self._parameters.values()) or [torch.zeros(1, 1, requires_grad=True)]
        self._optimizer: torch.optim.Optimizer = _built(
            "optimizer", getattr(torch.optim, training.optimizer.name), held, _forms(training.optimizer)
        )
        self._scheduler: Any = None
        if training.scheduler is not None:
            kind = getattr(lr_scheduler, training.scheduler.name)
            self._scheduler = _built("scheduler", kind, self._optimizer, training.scheduler.arguments)

    @property
    def learning_rate(self) -> float:
        """The rate of the next update."""
        return float(self._optimizer.param_groups[0]["lr"])

    def update(self) -> float:
        """Apply the gradients, step the scheduler, clear the gradients. Returns the rate that was used."""
        rate = self.learning_rate
        self._optimizer.step()
        if self._scheduler is not None:
            self._scheduler.step()
        for parameter in self._parameters.values():
            parameter.grad = None
        return rate

    def renew(self, parameters: Mapping[str, torch.Tensor]) -> None:
        """Go on with these tensors in the place of those of the same names: gradients and what is kept go with them."""
        renewed = {}
        for name, tensor in parameters.items():
            before = self._parameters[name]
            renewed[before] = self._parameters[name] = tensor
            tensor.grad, before.grad = before.grad, None
            if before in self._optimizer.state:
                self._optimizer.state[tensor] = self._optimizer.state.pop(before)
        for group in self._optimizer.param_groups:
            group["params"] = [renewed.get(tensor, tensor) for tensor in group["params"]]

    def skip(self) -> float:
        """Drop the gradients; nothing else is stepped. Returns the rate that would have been used."""
        for parameter in self._parameters.values():
            parameter.grad = None
        return self.learning_rate

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """The live tensors kept for one parameter, by key ("exp_avg"); empty before its first update."""
        state = self._optimizer.state.get(self._parameters[name], {})
        return {key: value for key, value in state.items() if isinstance(value, torch.Tensor)}

    def numbers(self, names: Sequence[str]) -> dict[str, Any]:
        """All else, in JSON's types: group and scheduler (the same on every node), and per parameter."""
        group = {key: value for key, value in self._optimizer.param_groups[0].items() if key != "params"}
        entries: dict[str, Any] = {}
        for name in names:
            state = self._optimizer.state.get(self._parameters[name], {})
            loose = {k: v for k, v in state.items() if v is not None and not isinstance(v, torch.Tensor)}
            if loose:
                entries[name] = plain(loose)
        turned = None if self._scheduler is None else plain(self._scheduler.state_dict())
        return {"group": plain(group), "scheduler": turned, "entries": entries}

    def restore(self, numbers: Mapping[str, Any], tensors: Mapping[str, Mapping[str, torch.Tensor]]) -> None:
        """Become what ``numbers`` and ``tensors`` (by parameter, then key) say.

        Parameters not named stay as they are; names that are not held here are passed over. Raises ``JobError`` if a
        document does not fit.
        """
        try:
            for group in self._optimizer.param_groups:
                group.update(restored(numbers["group"]))
            if self._scheduler is not None and numbers["scheduler"] is not None:
                self._turn(restored(numbers["scheduler"]))
            for name, entry in numbers["entries"].items():
                if name not in self._parameters:
                    continue
                self._optimizer.state[self._parameters[name]].update(restored(entry))
        except UNREADABLE as error:
            raise JobError(f"the optimizer's numbers do not fit ({type(error).__name__}: {brief(error)})") from error
        for name, found in tensors.items():
            if name not in self._parameters:
                continue
            parameter = self._parameters[name]
            for key, tensor in found.items():
                device = torch.device("cpu") if key in _HOST_KEYS and tensor.dim() == 0 else parameter.device
                self._optimizer.state[parameter][key] = tensor.to(device)

    def _turn(self, state: Mapping[str, Any]) -> None:
        """Put a scheduler's state back, keeping the kinds of its containers (a ``Counter`` of milestones)."""
        current = self._scheduler.state_dict()
        kept = {key: value for key, value in state.items() if key in current}
        for key, value in kept.items():
            if isinstance(value, dict):
                kept[key] = type(current[key])(value)
        self._scheduler.load_state_dict({**current, **kept})


def check_parameters(training: Training, parameters: Mapping[str, torch.Tensor]) -> None:
    """Build optimizer and scheduler over these parameters, without their data.

    Raises ``JobError`` naming the first parameter that the optimizer does not take (Muon takes matrices only).
    """
    for name, tensor in parameters.items():
        shape = tuple(tensor.shape)
        try:
            Optimizer(training, {name: torch.empty(shape, dtype=tensor.dtype, device="meta", requires_grad=True)})
        except JobError as error:
            raise JobError(
                f"{error}: it does not take the parameter {name} of shape {shape}; take another one, such as AdamW"
            ) from error


def _describe(what: str, call: partial[Any]) -> dict[str, Any]:
    if not isinstance(call, partial):
        known = ", ".join(sorted(OPTIMIZERS if what == "optimizer" else SCHEDULERS))
        raise JobError(f"{what}: write functools.partial of one of {known}, with numbers")
    return {"name": call.func.__name__, "arguments": plain(checked_arguments(what, call), strict=True)}


def _choice(what: str, found: Mapping[str, Any]) -> _Choice:
    check_choice(what, found["name"])
    arguments = restored(found["arguments"])
    if not isinstance(arguments, dict) or not all(isinstance(key, str) for key in arguments):
        raise TypeError(f"the arguments of the {what} have no names")
    return _Choice(found["name"], arguments)


def _steps(number: object) -> int:
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise TypeError(f"a number of steps, not {number!r}")
    return number


def _norm(found: Any) -> float | None:
    norm = None if found is None else float(found)
    if norm is not None and not 0.0 < norm < math.inf:
        raise ValueError(f"clip_norm is {norm}")
    return norm


def _forms(choice: _Choice) -> dict[str, Any]:
    """The arguments, with the plain form chosen where there are others (Adafactor and Muon take fewer)."""
    parameters = getattr(torch.optim, choice.name).__init__.__code__.co_varnames
    return {**choice.arguments, **{form: False for form in FAST_PATHS if form in parameters}}


def _built(what: str, kind: Any, first: Any, arguments: Mapping[str, Any]) -> Any:
    try:
        return kind(first, **arguments)
    except REFUSALS as error:
        raise JobError(f"{what}: {kind.__name__}: {error}; mend the numbers of the {what}") from error
