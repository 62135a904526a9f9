"""The job file that the fuzzer's settings are tried on: as small as a job can be."""

from functools import partial

import torch
from torch import nn
from torch.nn import functional

from edged import Job


def job(name: str = "small", epochs: int = 1, rate: float = 0.1) -> Job:
    """Two steps on eight rows."""
    rows = [(torch.ones(3), torch.tensor(1)) for _ in range(8)]
    optimizer = partial(torch.optim.SGD, lr=rate, momentum=0.9)
    return Job(
        name=name,
        model=nn.Linear(3, 2),
        objective=lambda model, batch: functional.cross_entropy(model(batch[0]), batch[1]),
        data=rows,
        optimizer=optimizer,
        scheduler=partial(torch.optim.lr_scheduler.CyclicLR, base_lr=0.01, max_lr=0.1, step_size_up=4),
        batch_size=4,
        micro_batches=2,
        epochs=epochs,
    )
