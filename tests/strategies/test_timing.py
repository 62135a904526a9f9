"""The fast evaluation against the rehearsal with the production machines."""

from __future__ import annotations

import random

import pytest

from edged.strategies.figures import Figures
from edged.strategies.rehearsal import rehearse
from edged.strategies.timing import road, step_seconds
from tests.strategies.situations import draw_plan, draw_situation


@pytest.mark.parametrize("block", range(20))
def test_the_evaluation_equals_the_rehearsal_to_the_last_bit(block):
    for seed in range(block * 150, (block + 1) * 150):
        draw = random.Random(seed)
        situation = draw_situation(draw, most_nodes=4, most_layers=6)
        plan = draw_plan(draw, situation, revisit=draw.random() < 0.2)
        (route,) = plan.routes
        nodes, cuts = [hop.node for hop in route.hops], [hop.first_layer for hop in route.hops]
        steps = draw.randint(2, 3)
        found = step_seconds(
            road(Figures(situation), nodes, cuts), [hop.window for hop in route.hops], plan.micro_batches, steps
        )
        assert found == rehearse(plan, situation, steps=steps).step_seconds, seed
