"""Bytes over links: against a count of every micro-batch on its way."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import pairwise

from edged.core.ids import Stamp
from edged.core.plan import Hop, Plan, Route
from edged.core.traffic import bytes_per_step
from tests.core.job_sample import JOB, A, B, C, D, spec


def counted(job, plan):
    sent = Counter()
    for micro_batch in range(plan.micro_batches):
        route = plan.routes[plan.route_of(micro_batch)]
        runs = {layer: hop.node for hop in route.hops for layer in range(hop.first_layer, hop.last_layer + 1)}
        for layer in range(plan.layers - 1):
            here, there = runs[layer], runs[layer + 1]
            if here != there:
                sent[here, there] += job.layers[layer].crossing_bytes
                sent[there, here] += job.layers[layer].crossing_bytes
    return dict(sent)


def test_every_crossing_counts_once_each_way():
    rng = random.Random(3)
    for _ in range(300):
        layers, micro_batches = rng.randrange(1, 9), rng.randrange(1, 7)
        job = spec(layers=max(layers, 2))
        job = replace(
            job, layers=tuple(replace(job.layers[0], crossing_bytes=rng.randrange(1000)) for _ in range(layers))
        )
        dealt = [rng.randrange(2) for _ in range(micro_batches)]
        routes = []
        for number in set(dealt):
            cuts = sorted(rng.sample(range(1, layers), rng.randrange(min(4, layers))))
            edges = [0, *cuts, layers]
            hops = tuple(Hop(rng.choice([A, B, C, D]), first, last - 1, 1) for first, last in pairwise(edges))
            routes.append(Route(hops, tuple(m for m in range(micro_batches) if dealt[m] == number)))
        plan = Plan(Stamp(JOB, 1, 1), "s", "", layers, micro_batches, tuple(routes), 0.0)
        assert bytes_per_step(job, plan) == counted(job, plan)
