"""What the core knows of a job: plain numbers, no tensors, no code; and the arithmetic of steps and micro-batches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from edged.core.ids import JobId, NodeId


class Phase(IntEnum):
    """What a micro-batch is for. Evaluation at a weight version comes before training at that version."""

    EVALUATE = 0
    TRAIN = 1


@dataclass(frozen=True, slots=True, order=True)
class Work:
    """One micro-batch's pass. Ordered as it is fed: by version, evaluation first, then by number.

    ``version`` is the weight version (steps applied) that it must be computed with, so a training micro-batch of
    version v belongs to step v + 1, and an evaluation at version v is the one after step v.
    """

    version: int
    phase: Phase
    micro_batch: int

    def in_words(self) -> str:
        """For people, who count steps from 1."""
        if self.phase is Phase.EVALUATE:
            return f"the evaluation after step {self.version}, micro-batch {self.micro_batch}"
        return f"step {self.version + 1}, micro-batch {self.micro_batch}"


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One layer in numbers. Times are seconds for one micro-batch on the source; sizes are bytes.

    ``crossing_bytes``: what crosses the cut after this layer, forward, for one micro-batch.
    ``state_bytes``: parameters and buffers. ``inputs``: indices of the program's inputs that its operations use.
    """

    forward_seconds: float
    backward_seconds: float
    parameter_bytes: int
    state_bytes: int
    activation_bytes: int
    crossing_bytes: int
    inputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class JobSpec:
    """A job as its source hands it to the cluster.

    ``samples`` and ``eval_samples`` are lengths of the data sets (0: no evaluation). ``steps`` is the total number of
    steps. ``program`` is the SHA-256 of the program's bytes, in hexadecimal. ``optimizer_copies`` is the number of
    parameter-sized tensors that the optimizer keeps (momentum 1, Adam 2). ``training`` is a JSON document that only
    ``compute`` reads: optimizer, scheduler, clipping, each by name and numbers. ``replicate_every`` is in steps (0:
    chosen from measured cost). ``on_nan``: "stop" ends the job at a loss that is not finite, "skip" leaves that step
    out on all nodes alike.
    """

    job: JobId
    name: str
    source: NodeId
    strategy: str
    mode: str
    program: str
    layers: tuple[LayerProfile, ...]
    parameters: int
    inputs: int
    samples: int
    batch_size: int
    micro_batches: int
    drop_last: bool
    epochs: int
    steps: int
    eval_samples: int
    seed: int
    clips: bool
    optimizer_copies: int
    keep_inputs_home: str
    shuffle: bool
    replicate_every: int
    on_nan: str
    source_slowness: float
    training: str

    @property
    def asynchronous(self) -> bool:
        """Whether weights change after every micro-batch, which then is a step of its own: see ``stashing.py``."""
        return self.mode == "async"

    @property
    def micro_batch_size(self) -> int:
        """Samples in a full micro-batch."""
        return self.batch_size // self.micro_batches

    @property
    def steps_per_epoch(self) -> int:
        """Steps in one pass over the data."""
        full, rest = divmod(self.samples, self.batch_size)
        return full + (1 if rest and not self.drop_last else 0)

    def epoch_of(self, version: int) -> int:
        """Epoch (from 0) of the training step that starts at weight version ``version``."""
        return version // self.steps_per_epoch

    def sample_range(self, version: int) -> tuple[int, int]:
        """Positions ``[start, stop)`` within the epoch's order of the samples of step ``version + 1``."""
        start = (version % self.steps_per_epoch) * self.batch_size
        return start, min(start + self.batch_size, self.samples)

    def sizes(self, version: int, phase: Phase) -> tuple[int, ...]:
        """Sizes of the micro-batches, in order: of one training step, or of a whole evaluation."""
        if phase is Phase.TRAIN:
            start, stop = self.sample_range(version)
            return cut(stop - start, self.micro_batch_size)
        return cut(self.eval_samples, self.micro_batch_size)

    def evaluates_at(self, version: int) -> bool:
        """Whether the model is evaluated at this weight version: at the end of each epoch, and at the end."""
        if self.eval_samples == 0 or version == 0 or version > self.steps:
            return False
        return version == self.steps or version % self.steps_per_epoch == 0

    def barrier_after(self, version: int) -> int:
        """The next version at which the pipeline must be empty: of an evaluation, or the last."""
        if self.eval_samples == 0:
            return self.steps
        return min(self.steps, (version // self.steps_per_epoch + 1) * self.steps_per_epoch)

    def works_at(self, version: int) -> tuple[Work, ...]:
        """All works of a weight version, in feeding order: its evaluation, if due, then its training step."""
        works: list[Work] = []
        if self.evaluates_at(version):
            works += [Work(version, Phase.EVALUATE, m) for m in range(len(self.sizes(version, Phase.EVALUATE)))]
        if version < self.steps:
            works += [Work(version, Phase.TRAIN, m) for m in range(len(self.sizes(version, Phase.TRAIN)))]
        return tuple(works)


def weighted_mean(weights: Iterable[float], values: Iterable[float]) -> float:
    """The sum of weight times value, added up in the order given, so that all who report it report the same bits."""
    total = 0.0
    for weight, value in zip(weights, values, strict=True):
        total += weight * value
    return total


def cut(samples: int, size: int) -> tuple[int, ...]:
    """Cut ``samples`` into pieces of ``size``, in order; the last may be smaller."""
    full, rest = divmod(samples, size)
    return (size,) * full + ((rest,) if rest else ())
