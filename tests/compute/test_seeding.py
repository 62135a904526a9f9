"""Seeds depend on what is computed, and spread."""

import torch

from edged.compute.seeding import generator_of, mix, work_seed


def test_seed_of_an_operation_is_known_for_all_time() -> None:
    assert mix(0, 0) == 0xE220A8397B1DCDAF  # SplitMix64's first output from state 0
    assert mix(work_seed(5, 1, 2), 3) == 0xD0C6E3ACF6CD753C


def test_seeds_of_neighbours_differ_in_their_low_32_bits() -> None:
    seeds = {
        mix(work_seed(seed, step, micro_batch), operation) & 0xFFFFFFFF
        for seed in range(-2, 3)
        for step in range(6)
        for micro_batch in range(6)
        for operation in range(6)
    }
    assert len(seeds) == 5 * 6**3


def test_seeds_fit_the_generator() -> None:
    generator = generator_of(torch.device("cpu"))
    assert generator is torch.default_generator
    for seed in (0, -1, 2**62):
        generator.manual_seed(mix(work_seed(seed, 10**9, 10**6), 10**6))
