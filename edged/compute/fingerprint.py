"""What a job's data was when the job was submitted: digests of a few samples, to know the same data by.

A feeder that is started again runs the user's job file as it is then. If file or data were changed meanwhile, other
samples would be drawn, and the weights would be those of no run at all. So a few samples are drawn at submission, as
training draws them, and again by every feeder before it serves. A sample that differs or fails when it is drawn twice
tells nothing and is left out. Lengths are compared with those in the spec.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import torch

from edged.compute.sampling import Sampler, data_name
from edged.compute.seeding import mix
from edged.compute.tensors import dtype_name, to_wire
from edged.core.job import Phase
from edged.errors import JobError

_ROWS: Final = {Phase.TRAIN: 8, Phase.EVALUATE: 4}
"""Samples of each data set, at most."""

_CHOICE: Final = 6
"""Keeps this use of the job's seed apart from others."""

_SECONDS: Final = 2.0
"""No sample is begun after so long: some data sets are slow."""

Fingerprint = Mapping[str, str]
"""Digests by the name of the sample: ``data[17]``."""


def fingerprint(sampler: Sampler) -> Fingerprint:
    """That of the job's data as it is now. Takes seconds at most, unless one sample takes longer."""
    digests: dict[str, str] = {}
    until = time.monotonic() + _SECONDS
    for phase, index in _chosen(sampler):
        if digests and time.monotonic() > until:
            break
        try:
            drawn, again = (_digest(sampler.single(phase, index)) for _ in range(2))
        except JobError:
            continue
        if drawn == again:
            digests[_name(phase, index)] = drawn
    return digests


def difference(sampler: Sampler, submitted: Fingerprint) -> str:
    """In what the data differs from what was submitted, in words; empty if it does not, as far as can be told.

    Raises ``JobError`` if a sample that could be drawn then cannot be drawn now.
    """
    spec = sampler.spec
    for phase, then in ((Phase.TRAIN, spec.samples), (Phase.EVALUATE, spec.eval_samples)):
        now = sampler.length(phase)
        if now != then:
            return f"{data_name(phase)} has {now} samples, and had {then}"
    for phase, index in _chosen(sampler):
        then_digest = submitted.get(_name(phase, index))
        if then_digest is not None and _digest(sampler.single(phase, index)) != then_digest:
            return f"sample {index} of {data_name(phase)} is another"
    return ""


def text_digest(path: Path) -> str:
    """Digest of a job file's text; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _chosen(sampler: Sampler) -> Iterator[tuple[Phase, int]]:
    """Which samples: the same ones whenever the job is the same."""
    spec = sampler.spec
    for phase, total in ((Phase.TRAIN, spec.samples), (Phase.EVALUATE, spec.eval_samples)):
        base = mix(mix(spec.seed, _CHOICE), int(phase))
        indices = (mix(base, number) % total for number in range(min(_ROWS[phase], total)))
        yield from ((phase, index) for index in dict.fromkeys(indices))


def _name(phase: Phase, index: int) -> str:
    return f"{data_name(phase)}[{index}]"


def _digest(sample: Mapping[str, torch.Tensor]) -> str:
    """Over names, types, shapes and bits; how it lies in memory does not count."""
    digest = hashlib.sha256()
    for name, tensor in sample.items():
        digest.update(repr((name, dtype_name(tensor.dtype), tuple(tensor.shape))).encode())
        digest.update(to_wire(name, tensor.to("cpu").clone(memory_format=torch.contiguous_format))[1])
    return digest.hexdigest()
