"""Whole clusters whose leader expels somebody, over bad links, while others are killed and restarted."""

from __future__ import annotations

import random

import pytest

from edged.core.effects import Depart, Effect, Expel
from edged.core.events import MessageReceived, PeerMet
from edged.core.ids import NodeId
from edged.core.messages import Gossip
from edged.core.simulate import Network
from tests.core.records import node_id
from tests.core.test_expelling import marked
from tests.simulation.cluster import Cluster


class Shunning(Cluster):
    """Notes who shuts whom out, and who is told."""

    def perform(self, node: NodeId, effect: Effect) -> None:
        super().perform(node, effect)
        if isinstance(effect, Expel):
            self.shunned.setdefault(effect.record.node, set()).add(node)
        elif isinstance(effect, Depart) and effect.failed:
            self.told.add(node)
            self.simulation.kill(node)

    def __init__(self, seed: int, size: int, network: Network) -> None:
        self.shunned: dict[NodeId, set[NodeId]] = {}
        self.told: set[NodeId] = set()
        super().__init__(seed, size, network)


@pytest.mark.parametrize("seed", range(40))
def test_everyone_shuts_the_expelled_out_and_it_never_comes_back(seed: int) -> None:
    rng = random.Random(seed)
    size = rng.choice([2, 3, 5, 6])
    cluster = Shunning(seed, size, Network(loss=0.05, duplication=0.02))
    cluster.simulation.run_for(6.0)
    bad = node_id(rng.randrange(size))
    good = [node for node in cluster.nodes if node != bad]
    judge = rng.choice(good)
    away = rng.choice(good) if size > 2 and rng.random() < 0.5 else None
    if away not in {None, judge}:
        cluster.simulation.partition({away}, set(cluster.nodes) - {away})
    mark = marked(cluster.pair(judge).membership.members[bad])
    cluster.strangers = True  # from now on somebody is cut off for good
    cluster.simulation.post(judge, MessageReceived(judge, Gossip((mark,))))
    cluster.simulation.run_for(5.0)
    cluster.simulation.heal()
    cluster.simulation.run_for(30.0)
    assert cluster.shunned[bad] == set(good), f"seed {seed}"
    assert bad in cluster.told or size == 2, f"seed {seed}: nobody has told it"  # of two, the one word may be lost
    cluster.start(int(bad, 16))
    again = cluster.pair(bad).membership.own
    for node in good:
        cluster.simulation.post(node, PeerMet(again), 0.01)
    cluster.simulation.run_for(20.0)
    assert not cluster.runs(bad) or all(bad not in _present(cluster, node) for node in good), f"seed {seed}"
    (leader,) = cluster.leading() if not cluster.runs(bad) else set(cluster.leading()) - {bad}
    assert leader in good
    assert all(bad not in cluster.pair(node).election.electorate.voters for node in good)


def _present(cluster: Cluster, node: NodeId) -> set[NodeId]:
    return {record.node for record in cluster.pair(node).membership.alive()}
