"""Who keeps copies, when a version is safe, and what everyone is told of it."""

from dataclasses import replace

import pytest

from edged.core.effects import SendMessage
from edged.core.messages import Committed, DataHeld, Held, Lying, Start, StepReport
from edged.core.protection import FIRST_EVERY, START_SECONDS, VERSIONS, Protection, unmeasured
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, D, member, plan, spec, stamp

ALL = (A, B, C, D)


def protect(nodes=(A, B, C), leader=D, staying=ALL, replicas=1, interval=lambda cost, step: 4, **fields):
    made = Protection(
        plan(stamp(), nodes, layers=6),
        replace(spec(layers=6), **fields),
        8,
        leader,
        replicas=replicas,
        interval=interval,
    )
    made.arrange(staying, staying, 0.0)
    return made


def hold(made, node, version, first, last, seconds=0.0, now=0.0, heard=None, boot=0):
    committed = made.committed if heard is None else heard
    made.hear(node, Held(made.plan.stamp, first, last, version, seconds, 100, committed, boot), now)


def hold_all(made, version, seconds=0.5, heard=None):
    for node in made.plan.nodes():
        for _, _, hop in made.plan.hops_of(node):
            for keeper in (node, *made.holders(node)):
                hold(made, keeper, version, hop.first_layer, hop.last_layer, seconds, heard=heard)


def told(effects, kind):
    return {e.to: e.message for e in effects if isinstance(e, SendMessage) and isinstance(e.message, kind)}


# ----------------------------------------------------------------------------------------------- holders


@pytest.mark.parametrize(
    ("nodes", "leader", "staying", "replicas", "expected"),
    [
        ((A, B, C), D, ALL, 1, {A: (B, D), B: (C, D), C: (A, D), D: ()}),
        ((A, B, C), A, ALL, 1, {A: (B,), B: (C, A), C: (A,)}),
        ((A, B, C), D, ALL, 2, {A: (B, C, D)}),
        ((A, B, C), D, (A, C, D), 1, {A: (C, D)}),
        ((A,), A, ALL, 1, {A: (B,)}),
        ((A,), A, (A,), 1, {A: ()}),
        ((A, B), A, (A, B), 1, {A: (B,), B: (A,)}),
        ((A,), A, ALL, 0, {A: ()}),
    ],
)
def test_ring_successors_and_the_leader_keep_replicas(nodes, leader, staying, replicas, expected):
    made = protect(nodes, leader, staying, replicas)
    assert {node: made.holders(node) for node in expected} == expected


def test_a_holder_that_goes_is_replaced_at_once():
    made = protect()
    effects = made.arrange((A, C, D), (A, C, D), 1.0)
    assert told(effects, Start)[A].holders == (C, D)
    assert made.arrange((A, C, D), (A, C, D), 1.0) == []


# ------------------------------------------------------------------------------------------------ commits


def test_a_version_is_safe_when_all_owners_and_their_holders_have_it():
    made = protect()
    pieces = [(node, hop) for node in (A, B, C) for _, _, hop in made.plan.hops_of(node)]
    wanted = [(keeper, hop) for node, hop in pieces for keeper in (node, *made.holders(node))]
    for keeper, hop in wanted:
        made.arrange(ALL, ALL, 0.0)
        assert made.committed == -1
        hold(made, keeper, 8, hop.first_layer, hop.last_layer)
    effects = made.arrange(ALL, ALL, 0.1)
    assert made.committed == 8
    word = told(effects, Committed)
    assert set(word) == set(ALL)
    assert word[A].layers == (Lying(0, 1, (A, B, D)), Lying(2, 3, (B, C, D)), Lying(4, 5, (A, C, D)))


def test_what_a_holder_outside_the_plan_has_said_is_void_once_it_is_another_process():
    members = {node: member(node) for node in (B, C)}
    made = Protection(
        plan(stamp(), (B,), layers=6), spec(layers=6), 8, B, replicas=1, interval=unmeasured, members=members
    )
    made.arrange((B, C), (B, C), 0.0)
    assert made.holders(B) == (C,)
    hold(made, C, 16, 0, 5, boot=1)
    members[C] = member(C, boot=2)
    hold(made, B, 16, 0, 5, boot=1)
    hold(made, C, 16, 0, 5, boot=1)  # said by the process that is gone, and heard now
    made.arrange((B, C), (B, C), 0.1)
    assert made.committed == -1
    hold(made, C, 16, 0, 5, boot=2)
    made.arrange((B, C), (B, C), 0.2)
    assert (made.committed, made.state().layers) == (16, (Lying(0, 5, (B, C)),))
    members[C] = member(C, boot=3)
    word = told(made.arrange((B, C), (B, C), 0.3), Committed)
    assert word[B].layers == (Lying(0, 5, (B,)),)
    assert not made.safe_without(B)
    hold(made, C, 16, 0, 5, boot=3)
    assert made.state().layers == (Lying(0, 5, (B, C)),)


def test_what_an_earlier_leader_has_told_of_a_process_is_void_with_it():
    members = {node: member(node) for node in ALL}
    made = Protection(
        plan(stamp(), (A, B), layers=6), spec(layers=6), 8, D, replicas=1, interval=unmeasured, members=members
    )
    made.remember(Committed(stamp(), 16, 16, (Lying(0, 2, (A, D)), Lying(3, 5, (C,))), ""))
    members[C] = member(C, boot=2)
    word = told(made.arrange(ALL, ALL, 0.0), Committed)
    assert word[A].layers == (Lying(0, 2, (A, D)),)


def test_a_newer_version_may_be_safe_before_an_older_one_and_never_goes_back():
    made = protect()
    hold_all(made, 32)
    made.arrange(ALL, ALL, 0.0)
    hold_all(made, 16)
    made.arrange(ALL, ALL, 0.0)
    assert made.committed == 32


def test_fewer_holders_may_make_a_version_safe():
    made = protect()
    hold_all(made, 8)
    fresh = protect()
    for node in (A, B, C):
        for _, _, hop in fresh.plan.hops_of(node):
            hold(fresh, node, 8, hop.first_layer, hop.last_layer)
            hold(fresh, D, 8, hop.first_layer, hop.last_layer)
    fresh.arrange(ALL, ALL, 0.0)
    assert fresh.committed == -1
    fresh.arrange(ALL, (D,), 0.0)
    assert fresh.committed == 8


def test_words_of_another_plan_count_nothing():
    made = protect()
    for node in ALL:
        made.hear(node, Held(stamp(version=2), 0, 5, 8, 0.0, 1), 0.0)
        made.hear(node, DataHeld(OTHER_JOB), 0.0)
    made.arrange(ALL, ALL, 0.0)
    assert made.committed == -1
    assert not made.data_held(A)


def test_only_the_newest_versions_are_counted():
    made = protect()
    for version in range(40):
        hold(made, A, version, 0, 1)
    assert len(made._held) <= VERSIONS + 1


def test_where_copies_are_slower_than_snapshots_these_become_rarer_until_a_version_is_complete():
    made = protect((A, B), leader=A, staying=(A, B), replicate_every=1)
    for version in (9, 10):
        hold(made, A, version, 0, 2)
    assert made.every == 1
    hold(made, A, 11, 0, 2)
    assert made.every == 2
    hold(made, A, 12, 0, 2)
    hold(made, A, 14, 0, 2)
    assert made.every == 4
    hold_all(made, 16)
    effects = made.arrange((A, B), (A, B), 1.0)
    assert made.committed == 16
    assert {start.every for start in told(effects, Start).values()} == {2}
    hold_all(made, 18)
    made.arrange((A, B), (A, B), 2.0)
    assert (made.committed, made.every) == (18, 1)


def test_what_nodes_may_have_let_go_since_they_told_of_it_is_not_committed():
    made = protect((A, B), leader=A, staying=(A, B), replicate_every=1)
    for version in (9, 10, 11):
        hold(made, A, version, 0, 2)
    hold_all(made, 9)
    made.arrange((A, B), (A, B), 1.0)
    assert made.committed == -1
    hold_all(made, 12)
    made.arrange((A, B), (A, B), 1.0)
    assert made.committed == 12


def test_what_was_said_before_the_interval_became_shorter_was_heard_does_not_count():
    made = protect((A, B), leader=A, staying=(A, B), replicate_every=1)
    for version in (9, 10, 11):
        hold(made, A, version, 0, 2)
    hold_all(made, 10)
    made.arrange((A, B), (A, B), 1.0)
    assert (made.committed, made.every) == (10, 1)
    hold_all(made, 11, heard=-1)  # and let go, as long as only every second version was wanted
    made.arrange((A, B), (A, B), 1.1)
    assert made.committed == 10
    hold_all(made, 11, heard=10)
    made.arrange((A, B), (A, B), 1.2)
    assert made.committed == 11
    hold_all(made, 12, heard=10)  # nothing was let go meanwhile
    made.arrange((A, B), (A, B), 1.3)
    assert made.committed == 12


def test_what_a_longer_interval_lets_go_is_not_committed_where_a_holder_leaves():
    made = protect((A, B), leader=D, staying=(A, B, D), interval=lambda cost, step: 64)
    for step in range(2):
        made.hear(A, StepReport(stamp(), step, 0, 0.0, 0.0, 0.0), step * 0.25)
    for node in (A, B):
        for _, _, hop in made.plan.hops_of(node):
            for keeper in (A, B):
                hold(made, keeper, 16, hop.first_layer, hop.last_layer)
    hold_all(made, 8)
    made.arrange((A, B, D), (A, B, D), 1.0)
    assert (made.committed, made.every) == (8, 64)
    made.arrange((A, B), (A, B), 1.1)
    assert made.committed == 8


def test_a_new_leader_counts_what_is_said_by_those_who_have_heard_it():
    made = protect()
    made.remember(Committed(stamp(), 16, 2, (), ""))
    hold_all(made, 18, heard=-1)
    made.arrange(ALL, ALL, 0.0)
    assert made.committed == 16
    hold_all(made, 18, heard=16)
    made.arrange(ALL, ALL, 0.1)
    assert made.committed == 18


def test_what_an_earlier_leader_told_is_kept_for_the_same_plan_only():
    made = protect()
    made.remember(Committed(stamp(version=7), 99, 2, (), ""))
    assert made.committed == -1
    word = Committed(stamp(), 16, 2, (Lying(0, 5, (A, D)),), B)
    made.remember(word)
    assert made.state() == word
    assert made.data_held(A)


def test_everything_is_said_again_when_it_is_time():
    made = protect()
    assert made.deadline() == START_SECONDS
    assert made.arrange(ALL, ALL, START_SECONDS - 0.1) == []
    effects = made.arrange(ALL, ALL, START_SECONDS)
    assert set(told(effects, Start)) == {A, B, C}
    assert set(told(effects, Committed)) == set(ALL)
    assert made.arrange(ALL, ALL, START_SECONDS, again=True)


def test_a_node_can_be_spared_when_two_others_hold_all_that_it_does():
    made = protect()
    assert not made.safe_without(D)
    hold_all(made, 8)
    made.arrange(ALL, ALL, 0.0)
    assert made.safe_without(D)
    assert not made.safe_without(A)
    made.arrange(ALL, (A, B, C), 0.0)
    assert made.safe_without(D)


# ------------------------------------------------------------------------------------------------ cadence


def test_the_interval_follows_from_what_is_measured():
    asked = []
    made = protect(interval=lambda cost, step: asked.append((cost, step)) or 32)
    for step in range(4):
        made.hear(A, StepReport(stamp(), step, 0, 0.0, 0.0, 0.0), step * 0.25)
    assert made.step_seconds == 0.25
    assert made.every == FIRST_EVERY
    hold_all(made, 8, seconds=0.02)
    effects = made.arrange(ALL, ALL, 1.0)
    assert [(cost.seconds, step) for cost, step in asked] == [(0.02, 0.25)]
    assert {start.every for start in told(effects, Start).values()} == {32}


@pytest.mark.parametrize(("chosen", "every"), [(2, 2), (64, FIRST_EVERY)])
def test_where_steps_are_long_the_first_interval_is_not_waited_for(chosen, every):
    made = protect(interval=lambda cost, step: chosen)
    hold_all(made, 8, seconds=0.02)
    made.arrange(ALL, ALL, 1.0)
    assert (made.committed, made.every) == (8, FIRST_EVERY)
    made.hear(A, StepReport(stamp(), 9, 0, 0.0, 0.0, 0.0), 20.0)
    assert made.every == FIRST_EVERY
    made.hear(A, StepReport(stamp(), 10, 0, 0.0, 0.0, 0.0), 32.0)
    assert {start.every for start in told(made.arrange(ALL, ALL, 32.0), Start).values()} == {every}
    hold_all(made, 12)
    made.arrange(ALL, ALL, 50.0)
    assert made.committed == (12 if every == 2 else 8)


def test_a_job_may_fix_the_interval():
    made = protect(replicate_every=5)
    made.hear(A, StepReport(stamp(), 1, 0, 0.0, 0.0, 0.0), 0.0)
    made.hear(A, StepReport(stamp(), 2, 0, 0.0, 0.0, 0.0), 0.1)
    hold_all(made, 8)
    made.arrange(ALL, ALL, 1.0)
    assert made.every == 5


# --------------------------------------------------------------------------------------------------- data


@pytest.mark.parametrize(
    ("nodes", "staying", "expected"),
    [((A, B, C), ALL, B), ((B, A), ALL, B), ((B, C), ALL, B), ((A,), (A, D), D), ((A,), (A,), "")],
)
def test_the_sources_ring_successor_gets_a_copy_of_the_data(nodes, staying, expected):
    made = protect(nodes, staying=staying)
    assert made.start(A).data_holder == expected
    assert all(made.start(node).data_holder == "" for node in nodes if node != A)


def test_the_data_is_told_to_be_safe_only_when_it_is():
    made = protect()
    assert made.state().data_holder == ""
    made.hear(B, DataHeld(JOB), 0.0)
    assert made.state().data_holder == B
    assert made.data_held(A)
    assert not made.data_held(B)


@pytest.mark.parametrize("how", ["said", "found", "told"])
def test_a_copy_of_the_data_counts_for_the_process_that_has_it(how):
    members = {node: member(node) for node in ALL}
    made = Protection(
        plan(stamp(), (A, B), layers=6), spec(layers=6), 8, D, replicas=1, interval=unmeasured, members=members
    )
    match how:
        case "said":
            made.hear(B, DataHeld(JOB), 0.0)
        case "found":
            made.inventory([B])
        case "told":
            made.remember(Committed(stamp(), 8, 16, (), B))
    made.arrange(ALL, ALL, 0.0)
    assert (made.data_held(A), made.state().data_holder) == (True, B)
    members[B] = member(B, boot=2)
    word = told(made.arrange(ALL, ALL, 0.1), Committed)
    assert (made.data_held(A), word[A].data_holder) == (False, "")
    made.hear(B, DataHeld(JOB), 0.2)
    assert (made.data_held(A), made.state().data_holder) == (True, B)


def test_whoever_has_the_data_already_need_not_be_sent_it_again():
    made = protect(staying=(A,))
    made.inventory([A, C])
    made.arrange(ALL, ALL, 0.0)
    assert made.state().data_holder == C


def test_a_data_holder_is_kept_while_it_stays():
    made = protect()
    made.arrange(ALL, (A, C, D), 0.0)
    assert made.data_holder == C
    made.arrange(ALL, ALL, 0.0)
    assert made.data_holder == C


def test_inputs_that_stay_at_home_are_not_copied():
    assert protect(keep_inputs_home="inputs").data_holder == ""


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        (0, {A: (B, D), B: (C, D), C: (A, D)}),  # not measured yet
        (10**9, {A: (B, D), B: (C, D), C: (A, D)}),
        (3 * 3 * 4400, {A: (B, D), B: (C, D), C: (A, D)}),  # two layers each, of 2,200 bytes, three versions of them
        (3 * 3 * 4400 - 1, {A: (B, D), B: (C, D), C: (A,)}),
        (3 * 4400, {A: (B, D), B: (C,), C: (A,)}),
        (100, {A: (B,), B: (C,), C: (A,)}),
    ],
)
def test_the_leader_keeps_replicas_as_far_as_its_memory_has_room(memory, expected):
    members = {node: member(node) for node in ALL} | {D: replace(member(D), memory_bytes=memory)}
    made = Protection(
        plan(stamp(), (A, B, C), layers=6), spec(layers=6), 8, D, replicas=1, interval=unmeasured, members=members
    )
    made.arrange(ALL, ALL, 0.0)
    assert {node: made.holders(node) for node in (A, B, C)} == expected
    for node, first in ((A, 0), (B, 2), (C, 4)):
        for keeper in (node, *expected[node]):
            hold(made, keeper, 8, first, first + 1, boot=1)
    made.arrange(ALL, ALL, 1.0)
    assert made.committed == 8
    members[D] = member(D)
    made.arrange(ALL, ALL, 2.0)
    assert made.holders(C) == (A, D)


@pytest.mark.parametrize(("memory", "expected"), [(48_400, (C, A)), (48_399, (C,))])
def test_what_the_leader_runs_and_keeps_as_a_successor_comes_first(memory, expected):
    """Its own two layers take 8,800 bytes, three micro-batches in flight included, copies of any two layers 13,200."""
    members = {node: member(node) for node in ALL} | {A: replace(member(A), memory_bytes=memory)}
    made = Protection(
        plan(stamp(), (A, B, C), layers=6), spec(layers=6), 8, A, replicas=1, interval=unmeasured, members=members
    )
    made.arrange(ALL, ALL, 0.0)
    assert made.holders(A) == (B,)
    assert made.holders(C) == (A,)
    assert made.holders(B) == expected
