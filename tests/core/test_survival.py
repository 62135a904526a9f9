"""What a job would survive: against what the survivors of every single death would answer the leader."""

from itertools import product
from random import Random

import pytest

from edged.core.ids import NodeId
from edged.core.inventory import newest_complete
from edged.core.plan import Hop, Plan, Route
from edged.core.recovery_messages import Committed, Holding, HoldingKind, Inventory, Lying
from edged.core.survival import Cover, Standing, Verdict, covers, verdict, verdicts
from tests.core.job_sample import A, B, C, D, plan, stamp

LAYERS = 4


def committed(*layers: Lying, version: int = 120, data_holder: str = "") -> Committed:
    return Committed(stamp(), version, 16, layers, data_holder)


def standing(word: Committed | None, *, alive=(A, B, C), source=A, origin=A, step=123, nodes=(A, B)) -> Standing:
    return Standing(plan(stamp(), nodes, LAYERS), step, source, origin, frozenset(alive), word)


RING = (Lying(0, 1, (A, B)), Lying(2, 3, (B, A)))
"""A runs 0..1 and B 2..3; each holds the other's layers."""


def test_layers_are_cut_where_their_holders_change() -> None:
    found = covers(standing(committed(Lying(0, 1, (A, B)), Lying(2, 2, (B, A)), Lying(3, 3, (B, C, D)))))
    assert found == (Cover(0, 1, (A,), (B,)), Cover(2, 2, (B,), (A,)), Cover(3, 3, (B,), (C,)))


def test_without_a_committed_version_layers_are_live_only() -> None:
    assert covers(standing(None)) == covers(standing(committed(*RING, version=-1)))
    assert covers(standing(None)) == (Cover(0, 1, (A,), ()), Cover(2, 3, (B,), ()))


def test_layers_that_several_routes_run_are_live_on_all_of_them() -> None:
    routes = (
        Route((Hop(A, 0, 3, 2),), (0, 1)),
        Route((Hop(B, 0, 1, 2), Hop(C, 2, 3, 1)), (2, 3)),
    )
    two = Standing(Plan(stamp(), "x", "", 4, 4, routes, 0.0), 5, A, A, frozenset((A, B, C)), None)
    assert covers(two) == (Cover(0, 1, (A, B), ()), Cover(2, 3, (A, C), ()))


def test_a_worker_that_dies_costs_the_steps_since_the_committed_version() -> None:
    assert verdict(standing(committed(*RING)), B) == Verdict(B, 120, 3)


def test_a_worker_that_dies_before_anything_is_committed_costs_all_steps() -> None:
    assert verdict(standing(None), B) == Verdict(B, 0, 123)


def test_a_node_without_layers_costs_nothing() -> None:
    assert verdict(standing(committed(*RING)), C) == Verdict(C, 123, 0)


def test_the_source_is_waited_for_unless_another_node_has_the_samples() -> None:
    alone = verdict(standing(committed(*RING)), A)
    assert (alone.version, alone.samples) == (None, True)
    assert verdict(standing(committed(*RING, data_holder=B)), A) == Verdict(A, 120, 3, heir=B)
    assert verdict(standing(committed(*RING, data_holder=D)), A).samples, "a copy on a dead node is none"
    assert verdict(standing(committed(*RING, data_holder=A)), A).samples, "its own copy dies with it"


def test_layers_that_lie_nowhere_else_are_named() -> None:
    word = committed(Lying(0, 1, (A, B)), Lying(2, 3, (B, D)))
    lost = verdict(standing(word, source=C, origin=D), B)
    assert lost == Verdict(B, None, 0, lost=((2, 3),))
    nothing = verdict(standing(None, source=C, origin=D), B)
    assert nothing == Verdict(B, None, 0, lost=((0, 3),))


def test_the_last_node_is_waited_for() -> None:
    assert verdict(standing(committed(*RING), alive=(A,)), A) == Verdict(A, None, 0, last=True)


def test_everyone_who_is_there_gets_a_verdict_those_of_the_plan_first() -> None:
    assert [each.node for each in verdicts(standing(committed(*RING), alive=(C, B, A)))] == [A, B, C]
    assert [each.node for each in verdicts(standing(committed(*RING), alive=(C, B)))] == [B, C]


def inventory(node: NodeId, lying: tuple[Lying, ...], version: int, *, first: bool) -> Inventory:
    """What this node would answer the leader that asks the survivors."""
    kept = [
        Holding(each.first_layer, each.last_layer, version, HoldingKind.REPLICA)
        for each in lying
        if node in each.holders and version >= 0
    ]
    begun = [Holding(0, LAYERS - 1, 0, HoldingKind.FIRST)] if first else []
    return Inventory(stamp(), (*kept, *begun), program=True, data=True)


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_agree_with_what_recovery_would_find_after_every_single_death(seed: int) -> None:
    random = Random(seed)
    nodes = (A, B, C, D)
    for _ in range(100):
        runners = random.sample(nodes, random.randint(1, 3))
        alive = frozenset(random.sample(nodes, random.randint(1, 4)))
        source, origin = random.choice(nodes), random.choice(nodes)
        version = random.choice((-1, 0, 8, 16))
        lying = tuple(
            Lying(first, last, tuple(random.sample(nodes, random.randint(0, 3))))
            for first, last in random.choice((((0, 3),), ((0, 1), (2, 3)), ((0, 0), (1, 2), (3, 3)), ((0, 2),)))
        )
        word = Committed(stamp(), version, 8, lying, random.choice(("", *nodes)))
        now = standing(word, alive=alive, source=source, origin=origin, step=19, nodes=tuple(runners))
        for dead in alive:
            survivors = alive - {dead}
            answers = {node: inventory(node, lying, version, first=node == origin) for node in survivors}
            newest = newest_complete(LAYERS, answers)
            drawn = dead != source or word.data_holder in survivors
            concerned = dead == source or dead in runners
            found = verdict(now, dead)
            if not survivors:
                assert found.last
            elif not concerned:
                assert (found.version, found.steps_again) == (19, 0)
            elif newest is None or not drawn:
                assert found.version is None, (now, dead)
                assert found.samples or found.lost
            else:
                assert (found.version, found.steps_again) == (newest, 19 - newest), (now, dead)


def test_no_layer_is_forgotten_or_told_twice() -> None:
    for holders in product(((), (A,), (B,), (A, B), (C, D)), repeat=3):
        word = committed(*(Lying(index, index, each) for index, each in enumerate(holders)))
        found = covers(standing(word))
        told = [layer for cover in found for layer in range(cover.first_layer, cover.last_layer + 1)]
        assert told == list(range(LAYERS))
