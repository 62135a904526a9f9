"""Asynchronous training as its recurrence, on one device, with the user's module: no pipeline, no edged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn


@dataclass(frozen=True)
class Span:
    """Micro-batches ``first`` to ``end - 1``, from an empty pipeline of ``stages`` stages to an empty one.

    ``fed``: where a fault ended it, there was more on its way, up to this micro-batch.
    """

    first: int
    end: int
    stages: int
    stage_of: Mapping[str, int]
    fed: int = 0

    def used(self, name: str, i: int) -> int:
        """The version of a parameter with which micro-batch ``i`` is computed."""
        return max(self.first, i - (self.stages - 1 - self.stage_of[name]))

    def held(self, name: str, i: int) -> list[int]:
        """Versions of a parameter that are in use once micro-batch ``i`` has been applied, the newest last."""
        flying = range(i + 1, min(i + self.stages - self.stage_of[name], self.fed or self.end))
        return sorted({self.used(name, j) for j in flying} | {i + 1})


def delayed(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    scheduler: Any,
    loss_of: Callable[[int], torch.Tensor],
    spans: Sequence[Span],
    average_every: int = 0,
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
            if average_every and (i + 1) % average_every == 0:
                history[-1] = {name: mean([history[v][name] for v in span.held(name, i)]) for name in parameters}
                stand(lambda _name, i=i: i + 1)
    return losses


def mean(versions: Sequence[torch.Tensor]) -> torch.Tensor:
    """Added up in their order, then divided."""
    return sum(versions[1:], start=versions[0].clone()) / len(versions)
