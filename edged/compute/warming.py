"""Pays beforehand what only the first use of torch in a process costs."""

from __future__ import annotations

from functools import partial

import torch

from edged.compute.optimizer import Optimizer, describe, read


def warm_up() -> None:
    """Build one tiny optimizer and update once: the first one of a process imports most of a second of modules.

    Draws nothing from any generator and keeps nothing.
    """
    parameter = torch.zeros(1, requires_grad=True)
    parameter.grad = torch.zeros(1)
    Optimizer(read(describe(partial(torch.optim.SGD, lr=0.1))), {"weight": parameter}).update()
