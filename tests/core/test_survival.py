"""What a job would survive: against what the survivors of every single death would answer the leader."""

from dataclasses import replace
from itertools import product
from random import Random

import pytest

from edged.core.ids import NodeId
from edged.core.inventory import lacking as lacking_of
from edged.core.inventory import newest_complete, ranges
from edged.core.plan import Hop, Plan, Route
from edged.core.recovery_messages import Committed, Holding, HoldingKind, Inventory, Lying
from edged.core.survival import Cover, Lack, Standing, Verdict, covers, lacking, verdict, verdicts
from tests.core.job_sample import A, B, C, D, plan, stamp

LAYERS = 4


def committed(*layers: Lying, version: int = 120, data_holder: str = "") -> Committed:
    return Committed(stamp(), version, 16, layers, data_holder)


def standing(word, *, alive=(A, B, C), source=A, origin=A, step=123, nodes=(A, B), runs=True) -> Standing:
    return Standing(plan(stamp(), nodes, LAYERS), step, source, origin, frozenset(alive), word, runs)


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
    assert nothing == Verdict(B, None, 0, lost=((2, 3),)), "what A runs does not lie on B"
    bare = committed(Lying(0, 1, (A, B)), Lying(2, 3, (D,)))
    again = verdict(standing(bare, source=C, origin=D), A)
    assert (again.waits, again.lost) == (True, ((2, 3),)), "B runs these, and at another version"


def test_layers_that_can_only_be_had_by_beginning_anew_are_named() -> None:
    word = committed(Lying(0, 1, (A, B)), Lying(2, 3, (B,)))
    anew = verdict(standing(word), B)
    assert anew == Verdict(B, 0, 123, lost=((2, 3),))
    assert not anew.waits


def test_a_job_that_runs_lacks_nothing_nor_one_that_can_go_on() -> None:
    assert lacking(standing(None, origin=D)) is None
    assert lacking(standing(committed(*RING), alive=(A, C))) is None
    assert lacking(standing(None, alive=(A, C))) is None, "it begins anew, at once"


def test_what_went_with_a_node_already_is_not_said_to_lie_on_another() -> None:
    """B ran layers 2 and 3 and is dead; A is not the one to wait for them, whether it has the first weights or not."""
    word = committed(Lying(0, 1, (A, C)), Lying(2, 3, (B,)), data_holder=C)
    now = standing(word, alive=(A, C), origin=D)
    assert lacking(now) == Lack((B,), ((2, 3),))
    for node, heir in ((A, C), (C, None)):
        found = verdict(now, node)
        assert (found.version, found.lost, found.heir, found.waits) == (None, (), heir, False)
    anew = standing(word, alive=(A, C))
    assert lacking(anew) == Lack((B,), ((2, 3),), begins_anew=True)
    assert verdict(anew, A) == Verdict(A, None, 0, heir=C, first=True)
    assert verdict(anew, A).waits, "nobody else has the first weights"


def test_the_only_holder_of_something_counts_though_the_plan_does_not_name_it() -> None:
    word = committed(Lying(0, 1, (C,)), Lying(2, 3, (A, B, C)))
    for now in (standing(word, alive=(A, C, D), origin=B), standing(word, origin=D, runs=False)):
        assert lacking(now) is None
        assert verdict(now, C) == Verdict(C, None, 0, lost=((0, 1),))
    assert verdict(standing(word, origin=D), C) == Verdict(C, 123, 0), "while the plan runs its layers are live"


def test_what_one_more_death_adds_is_told_apart_from_what_is_lacking_already() -> None:
    word = committed(Lying(0, 1, (C,)), Lying(2, 3, (B,)))
    now = standing(word, alive=(A, C, D), origin=B)
    assert lacking(now) == Lack((B,), ((2, 3),))
    assert verdict(now, C) == Verdict(C, None, 0, lost=((0, 1),))
    assert not verdict(now, D).waits


@pytest.mark.parametrize(
    ("silent", "dead", "named"),
    [
        ((), B, ()),
        ((A,), B, (A,)),  # it holds what B runs, and draws the samples
        ((C,), B, ()),
        ((B,), B, ()),  # whoever dies is not relied on
        ((B,), A, (B,)),
        ((A, C), B, (A, C)),  # both hold the same
        ((B,), C, (B,)),  # the plan runs only as long as B is there
        ((D,), C, ()),
    ],
)
def test_a_verdict_names_those_it_relies_on_that_do_not_answer(silent, dead, named) -> None:
    word = committed(Lying(0, 1, (A, B)), Lying(2, 3, (B, A, *(silent if C in silent and A in silent else ()))))
    word = replace(word, data_holder=B)
    now = replace(standing(word, alive=(A, B, C, D), origin=D), silent=frozenset(silent))
    assert verdict(now, dead).relies_on == named


def test_who_alone_has_the_first_weights_is_relied_on_to_begin_anew() -> None:
    now = replace(standing(None, origin=C), silent=frozenset((C,)))
    assert verdict(now, B) == Verdict(B, 0, 123, relies_on=(C,))


def test_samples_that_nobody_can_draw_are_lacking() -> None:
    assert lacking(standing(committed(*RING), alive=(B, C))) == Lack((A,), samples=True)
    copied = standing(committed(*RING, data_holder=C), alive=(B, C))
    assert lacking(copied) is None
    assert verdict(copied, C).samples, "the source is gone, and this is the only copy"


def test_the_last_node_is_waited_for() -> None:
    assert verdict(standing(committed(*RING), alive=(A,)), A) == Verdict(A, None, 0, last=True)


def test_everyone_who_is_there_gets_a_verdict_those_of_the_plan_first() -> None:
    assert [each.node for each in verdicts(standing(committed(*RING), alive=(C, B, A)))] == [A, B, C]
    assert [each.node for each in verdicts(standing(committed(*RING), alive=(C, B)))] == [B, C]


def inventory(node: NodeId, now: Standing, *, undisturbed: bool) -> Inventory:
    """What this node would answer the leader that asks the survivors."""
    kept = [
        Holding(each.first_layer, each.last_layer, now.version, HoldingKind.REPLICA)
        for each in now.committed.layers
        if node in each.holders and now.version >= 0
    ]
    hops = [hop for *_, hop in now.plan.hops_of(node)]
    live = [Holding(hop.first_layer, hop.last_layer, now.step, HoldingKind.SNAPSHOT) for hop in hops]
    begun = [Holding(0, LAYERS - 1, 0, HoldingKind.FIRST)] if node == now.origin else []
    return Inventory(stamp(), (*kept, *begun, *(live if undisturbed else [])), program=True, data=True)


def what_is_left(now: Standing, there) -> tuple[int | None, set[int]]:
    """The newest version that these nodes have, and what they lack of the one that should be gone on from.

    Those that work by the plan hold its newest step as long as nobody whom a step needs is missing.
    """
    undisturbed = now.runs and not {now.source, *now.plan.nodes()} - set(there)
    answers = {node: inventory(node, now, undisturbed=undisturbed) for node in there}
    newest = newest_complete(LAYERS, answers)
    wanted = max(now.version, 0)
    gaps = () if newest is not None and newest >= wanted else lacking_of(LAYERS, wanted, answers)
    return newest, {layer for first, last in gaps for layer in range(first, last + 1)}


def draw(random: Random) -> Standing:
    """Any job: who runs it may be dead, and who holds its layers need not run any."""
    nodes = (A, B, C, D)
    lying = tuple(
        Lying(first, last, tuple(random.sample(nodes, random.randint(0, 3))))
        for first, last in random.choice((((0, 3),), ((0, 1), (2, 3)), ((0, 0), (1, 2), (3, 3)), ((0, 2),)))
    )
    return standing(
        committed(*lying, version=random.choice((-1, 0, 8, 16)), data_holder=random.choice(("", *nodes))),
        alive=random.sample(nodes, random.randint(1, 4)),
        source=random.choice(nodes),
        origin=random.choice(nodes),
        step=19,
        nodes=tuple(random.sample(nodes, random.randint(1, 3))),
        runs=random.random() < 0.7,
    )


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_agree_with_what_recovery_would_find_after_every_single_death(seed: int) -> None:
    random = Random(seed)
    for _ in range(200):
        now = draw(random)
        drawers = {now.source, now.committed.data_holder}
        before, lacks = what_is_left(now, now.alive)
        undrawn = not drawers & now.alive
        found = lacking(now)
        assert (found is not None) == (undrawn or bool(lacks)), now
        if found is not None:
            assert (found.layers, found.samples) == (ranges(lacks), undrawn), now
            assert found.begins_anew == (bool(lacks) and before == 0), now
        for dead in now.alive:
            survivors = now.alive - {dead}
            newest, missing = what_is_left(now, survivors)
            told = verdict(now, dead)
            assert told.last == (not survivors)
            if not survivors:
                continue
            assert told.samples == (not undrawn and not drawers & survivors), (now, dead)
            if told.samples:
                continue
            assert told.version == newest, (now, dead)
            assert told.steps_again == (19 - newest if newest is not None else 0)
            assert told.waits == (newest is None and (before is not None or bool(missing - lacks))), (now, dead)
            assert {*told.lost} <= {*ranges(missing - lacks)} or before == 19, (now, dead)
            assert bool(told.lost) == bool(missing - lacks), (now, dead)


@pytest.mark.parametrize("seed", range(5))
def test_a_verdict_that_names_nobody_holds_also_without_those_that_do_not_answer(seed: int) -> None:
    random = Random(seed)
    for _ in range(400):
        now = draw(random)
        silent = frozenset(random.sample(sorted(now.alive), random.randint(0, len(now.alive))))
        for dead in now.alive:
            told = verdict(replace(now, silent=silent), dead)
            assert {*told.relies_on} <= silent - {dead}
            gone = verdict(replace(now, alive=now.alive - silent | {dead}), dead)
            if now.alive - silent - {dead} and not told.relies_on and not told.waits:
                assert gone.version == told.version, (now, silent, dead)
                assert not gone.samples, (now, silent, dead)


def test_no_layer_is_forgotten_or_told_twice() -> None:
    for holders in product(((), (A,), (B,), (A, B), (C, D)), repeat=3):
        word = committed(*(Lying(index, index, each) for index, each in enumerate(holders)))
        found = covers(standing(word))
        told = [layer for cover in found for layer in range(cover.first_layer, cover.last_layer + 1)]
        assert told == list(range(LAYERS))
