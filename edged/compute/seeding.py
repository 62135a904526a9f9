"""Seeds of random operations: a function of what is computed, never of where or when.

Every random operation draws from a generator that was seeded just before from (job seed, step, micro-batch, index of
the operation in the program). So a mask does not depend on the cuts, on the order of other work, or on a replay.

The mixing function is the finalizer of SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators,
OOPSLA 2014), applied once per number. Its low 32 bits are as well mixed as the high ones, which matters: torch's
Mersenne Twister takes only those.
"""

from __future__ import annotations

from typing import Final

import torch

_MASK: Final = (1 << 64) - 1
_STEP: Final = 0x9E3779B97F4A7C15


def mix(state: int, number: int) -> int:
    """Fold ``number`` into ``state``: an unsigned 64-bit integer (any integers are taken modulo 2**64)."""
    z = ((state ^ number) + _STEP) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


def work_seed(seed: int, step: int, micro_batch: int) -> int:
    """What all random operations of one micro-batch share; ``mix`` it with an operation's index to get its seed."""
    return mix(mix(mix(0, seed), step), micro_batch)


def generator_of(device: torch.device) -> torch.Generator:
    """The generator that operations without one of their own draw from on ``device``.

    Seeding it directly costs a microsecond; ``torch.manual_seed`` seeds every device and costs 70.
    """
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]
        index = torch.cuda.current_device() if device.index is None else device.index
        generator: torch.Generator = torch.cuda.default_generators[index]
        return generator
    if device.type == "mps":
        return torch.mps._get_default_mps_generator()  # noqa: SLF001 -- torch has no public name for it
    return torch.default_generator
