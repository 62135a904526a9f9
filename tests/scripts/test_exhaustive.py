"""The reference of the planner: its simulation against closed forms, its search against every pipeline there is."""

from __future__ import annotations

import math
import random
from itertools import combinations, permutations

import pytest
from exhaustive import Best, Block, Links, Search, Stage, bound_seconds, simulated_seconds


@pytest.mark.parametrize("micro_batches", [1, 2, 7])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_equal_stages_take_their_work_and_the_fill(count: int, micro_batches: int) -> None:
    """M (F + B) and (P - 1) (F + B), where messages take no time."""
    seconds = simulated_seconds([Stage(1.0, 1.0)] * count, micro_batches)
    assert seconds == pytest.approx(2.0 * (micro_batches + count - 1))


def test_messages_take_their_time_once_they_cannot_overlap() -> None:
    """One micro-batch: forward, 3 + 0.5 over, forward and backward, 3 + 0.5 back, backward."""
    assert simulated_seconds([Stage(1.0, 2.0, 3.0), Stage(1.0, 2.0)], 1, startup=0.5) == pytest.approx(13.0)


def test_a_network_card_sends_one_thing_at_a_time() -> None:
    """Ten activations of 5 s leave one after the other; the last goes through the second stage and comes back."""
    seconds = simulated_seconds([Stage(0.1, 0.1, 5.0), Stage(0.1, 0.1)], 10)
    assert seconds >= 50.0 + 5.0


def random_stages(rng: random.Random) -> list[Stage]:
    return [Stage(rng.random(), rng.random(), rng.choice([0.0, rng.random()])) for _ in range(rng.randrange(1, 5))]


def test_no_simulation_is_faster_than_the_bound() -> None:
    rng = random.Random(1)
    for _ in range(300):
        stages, micro_batches = random_stages(rng), rng.randrange(1, 12)
        least = bound_seconds(stages, micro_batches)
        assert simulated_seconds(stages, micro_batches, rng.random()) >= least - 1e-9


def brute_force(search: Search, blocks: int, nodes: int, micro_batches: int, startup: float) -> float:
    """The least simulation over all orders of all subsets, with all cuts."""
    least = math.inf
    for count in range(1, min(nodes, blocks) + 1):
        for order in permutations(range(nodes), count):
            for cuts in combinations(range(1, blocks), count - 1):
                stages = search.stages(Best(0.0, order, (0, *cuts)))
                least = min(least, simulated_seconds(stages, micro_batches, startup))
    return least


def test_the_search_finds_what_trying_everything_finds() -> None:
    rng = random.Random(2)
    for _ in range(150):
        blocks = [Block(rng.random(), rng.random(), rng.random()) for _ in range(rng.randrange(1, 7))]
        slowness = [rng.choice([1.0, 1.0, 2.0, 5.0, 10.0]) for _ in range(rng.randrange(1, 5))]
        links = Links(rng.choice([math.inf, 1.0, 10.0]), rng.choice([0.0, 0.2]))
        micro_batches = rng.randrange(1, 6)
        search = Search(blocks, slowness, micro_batches, links)
        found = search.best()
        assert found.seconds == pytest.approx(
            brute_force(search, len(blocks), len(slowness), micro_batches, links.startup)
        )
        assert found.seconds == pytest.approx(simulated_seconds(search.stages(found), micro_batches, links.startup))


def test_a_network_of_many_blocks_on_four_nodes_is_searched_in_seconds() -> None:
    rng = random.Random(3)
    blocks = [Block(rng.uniform(0.5e-3, 2e-3), rng.uniform(1e-3, 4e-3), 2e5) for _ in range(30)]
    search = Search(blocks, [1.0, 2.0, 5.0, 10.0], 64, Links(125e6, 1e-4))
    found = search.best()
    ideal = 64 * sum(block.forward + block.backward for block in blocks) / 1.8
    assert ideal < found.seconds < ideal / 0.85
