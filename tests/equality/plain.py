"""The loop on one device that defines what edged must compute, written without a line of edged."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch.utils._pytree import tree_map
from torch.utils.data import Dataset, default_collate


class Rows(Dataset):
    """The rows of a collated batch, one sample each."""

    def __init__(self, batch: Any, length: int) -> None:
        self.batch, self.length = batch, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        return tree_map(lambda tensor: tensor[index], self.batch)


def plain_loop(job: Any) -> dict[str, torch.Tensor]:
    """Train ``job.model`` in place; returns its state dict."""
    model = job.model
    model.train()
    optimizer = job.optimizer(model.parameters(), foreach=False)
    scheduler = job.scheduler(optimizer) if job.scheduler else None
    step = 0
    for epoch in range(job.epochs):
        order = torch.randperm(len(job.data), generator=torch.Generator().manual_seed(job.seed + epoch)).tolist()
        for start in range(0, len(order), job.batch_size):
            batch = order[start : start + job.batch_size]
            if len(batch) < job.batch_size and job.drop_last:
                break
            if job.max_steps is not None and step == job.max_steps:
                return model.state_dict()
            size = job.batch_size // job.micro_batches
            for first in range(0, len(batch), size):
                mine = batch[first : first + size]
                collated = default_collate([job.data[index] for index in mine])
                (job.objective(model, collated) * (len(mine) / len(batch))).backward()
            if job.clip_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), job.clip_norm)
            optimizer.step()
            optimizer.zero_grad()
            if scheduler is not None:
                scheduler.step()
            step += 1
    return model.state_dict()


def sha256(state: dict[str, torch.Tensor]) -> str:
    """``state_sha256`` as the interface defines it."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(name.encode() + str(tensor.dtype).encode() + str(tuple(tensor.shape)).encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
