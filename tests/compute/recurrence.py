"""Asynchronous training as its recurrence, on one device, with the user's module: no pipeline, no edged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Span:
    """Micro-batches ``first`` to ``end - 1``, from an empty pipeline of ``stages`` stages to an empty one."""

    first: int
    end: int
    stages: int
    stage_of: Mapping[str, int]

    def used(self, name: str, i: int) -> int:
        """The version of a parameter with which micro-batch ``i`` is computed."""
        return max(self.first, i - (self.stages - 1 - self.stage_of[name]))


def delayed(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    loss_of: Callable[[int], torch.Tensor],
    spans: Sequence[Span],
) -> list[float]:
    """Train ``model`` in place; returns the losses. ``loss_of(i)`` is micro-batch i's, of the module as it stands."""
    parameters = dict(model.named_parameters())

    def stand(version_of: Callable[[str], int]) -> None:
        for name, parameter in parameters.items():
            parameter.data = history[version_of(name)][name].clone()

    def copied() -> dict[str, torch.Tensor]:
        return {name: parameter.detach().clone() for name, parameter in parameters.items()}

    history, losses = [copied()], []
    for span in spans:
        for i in range(span.first, span.end):
            stand(lambda name, i=i, span=span: span.used(name, i))
            loss = loss_of(i)
            losses.append(float(loss.detach()))
            loss.backward()
            stand(lambda _name, i=i: i)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            optimizer.zero_grad()
            history.append(copied())
    return losses
