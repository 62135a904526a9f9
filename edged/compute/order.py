"""Which samples a micro-batch is made of: arithmetic alone, the same for a job's own data set and for a copy of it.

::

    epoch e:  torch.randperm(len(data), generator=torch.Generator().manual_seed(seed + e)); shuffle=False: 0, 1, 2, ...
              |<----- batch_size ----->|<----- batch_size ----->| ...      step e * steps_per_epoch + 0, + 1, ...
              | m 0 | m 1 | ... | M-1  |                                   micro-batches, in order
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from edged.core.job import JobSpec, Phase, Work
from edged.errors import JobError


class Order:
    """The order in which one job takes its samples. Keeps that of the newest epoch only."""

    def __init__(self, spec: JobSpec) -> None:
        """Compute nothing yet."""
        self._spec = spec
        self._epoch = -1
        self._order: Sequence[int] = ()

    def indices(self, work: Work) -> list[int]:
        """Positions in the data set of the samples of ``work``, in order. ``JobError`` if there is no such work."""
        sizes = self._spec.sizes(work.version, work.phase)
        last = self._spec.steps - 1 if work.phase is Phase.TRAIN else self._spec.steps
        if not 0 <= work.micro_batch < len(sizes) or not 0 <= work.version <= last:
            raise JobError(f"the job has no micro-batch {work.micro_batch} at version {work.version}")
        before = sum(sizes[: work.micro_batch])
        if work.phase is Phase.EVALUATE:
            return list(range(before, before + sizes[work.micro_batch]))
        start = self._spec.sample_range(work.version)[0] + before
        return list(self.of(self._spec.epoch_of(work.version))[start : start + sizes[work.micro_batch]])

    def of(self, epoch: int) -> Sequence[int]:
        """The order in which epoch number ``epoch`` (from 0) takes the samples."""
        if not self._spec.shuffle:
            return range(self._spec.samples)
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self._spec.seed + epoch)
            self._order, self._epoch = torch.randperm(self._spec.samples, generator=generator).tolist(), epoch
        return self._order
