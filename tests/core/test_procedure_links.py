"""Two nodes that cannot reach each other: plans keep them apart, and nobody is called faulty."""

from dataclasses import replace

import pytest

from edged.core.course import ANSWER_SECONDS
from edged.core.effects import MakePlan
from edged.core.links import REST_SECONDS
from edged.core.messages import (
    Committed,
    JobState,
    LinkReport,
    NodeReport,
    Prepare,
    RecoveryReport,
    Start,
    Stuck,
    Transfer,
    Unreachable,
    WorkFailed,
)
from edged.core.phases import Stage
from tests.core.council import Council, E, bring, replica
from tests.core.job_sample import A, B, C, D

ALL = (A, B, C, D, E)


@pytest.fixture
def council():
    return Council(nodes=ALL, workers=(B, C, E))


def ran(council, **fields):
    council.run(**fields)
    council.keep(0)
    return council


def blamed(council):
    return council.board.procedure._conduct.excluded


def test_neighbours_that_cannot_reach_each_other_are_planned_apart(council):
    ran(council)
    assert council.plan.nodes() == (B, C, E)
    council.hear(C, Unreachable((B,)))
    assert council.asked[-1].situation.apart == ((B, C),)
    assert council.plan.nodes() == (B, E)
    council.step(2)
    (_, report), *_ = council.told(RecoveryReport)
    assert (report.cause, report.nodes) == ("link", (B, C))
    assert report.text.startswith("pi-b and pi-c cannot reach each other; the job went on after")


def test_a_pair_that_the_plan_does_not_need_changes_only_who_keeps_copies(council):
    ran(council)
    since, of = len(council.sent), council.stamp
    assert dict(council.told(Start))[E].holders == (B, D)
    council.hear(B, Unreachable((E,)))
    assert council.stamp == of
    assert dict(council.told(Start, since))[E].holders == (C, D)


@pytest.mark.parametrize("stage", [Stage.TRANSFER, Stage.RESUME, Stage.RUN, Stage.DRAIN])
def test_a_cut_link_at_any_stage_leads_back_to_the_fence(stage):
    council = Council()
    bring(council, stage)
    version = council.board.procedure.version
    council.hear(B, Unreachable((C,)))
    assert council.board.procedure.version == version + 1
    assert council.asked[-1].situation.apart == ((B, C),)


def test_a_plan_that_minds_no_pairs_is_not_begun_again_for_those_it_knew(council):
    council.think = lambda ask, think=council.think: think(MakePlan(ask.stamp, replace(ask.situation, apart=())))
    ran(council)
    council.hear(C, Unreachable((B,)))
    of = council.stamp
    council.hear(C, Unreachable((B,)))
    assert council.plan.nodes() == (B, C, E)
    assert council.stamp == of


def test_a_job_whose_nodes_agree_on_updates_keeps_every_pair_apart(council):
    ran(council, clips=True)
    of = council.stamp
    council.hear(B, Unreachable((E,)))
    assert council.stamp.version == of.version + 1


def test_layers_come_from_a_holder_that_is_reached(council):
    council.workers = [B, E]
    ran(council)
    council.holdings = {A: council.holdings[A], C: (replica(0, 3, 5),), D: (replica(0, 3, 5),)}
    council.hear(C, Unreachable((B,)))
    council.hear(E, WorkFailed(council.stamp, "restarted", False, E))
    assert dict(council.told(Prepare))[B].transfers == (Transfer(0, 1, 5, D),)


def test_layers_come_from_the_holder_that_is_nearest_as_far_as_links_are_measured(council):
    council.workers = [B, E]
    ran(council)
    council.holdings = {A: council.holdings[A], C: (replica(0, 3, 5),), D: (replica(0, 3, 5),)}
    for node, rate in ((C, 1e6), (D, 1e7)):
        to_b = (LinkReport(B, 0.002, 5e5, 0.001, rate),)
        council.hear(node, NodeReport(1, 0, 0, 0, 0.5, 0.01, 1, to_b, council.record.job, 0.0))
    council.hear(E, WorkFailed(council.stamp, "restarted", False, E))
    told = dict(council.told(Prepare))
    assert told[B].transfers == (Transfer(0, 1, 5, D),)
    assert told[E].transfers == (Transfer(2, 3, 5, C),)  # of its links nothing is known, and D has given two


def test_a_holder_that_falls_silent_during_a_transfer_is_replaced_and_nobody_is_blamed(council):
    council.workers = [B, E]
    ran(council)
    council.holdings = {A: council.holdings[A], C: (replica(0, 3, 5),), D: (replica(0, 3, 5),)}
    council.answers, answers = (
        lambda to, m: () if to == B and isinstance(m, Prepare) else answers(to, m),
        council.answers,
    )
    council.hear(E, WorkFailed(council.stamp, "restarted", False, E))
    assert council.stage is Stage.TRANSFER
    assert dict(council.told(Prepare))[B].transfers == (Transfer(0, 1, 5, C),)
    del council.answers
    council.hear(B, Unreachable((C,)))
    assert dict(council.told(Prepare))[B].transfers == (Transfer(0, 1, 5, D),)
    assert council.stage is Stage.RESUME
    assert not blamed(council)


def test_who_cannot_reach_the_only_holder_gets_no_layers_and_no_blame(council):
    council.workers = [B, E]
    ran(council)
    council.holdings = {A: council.holdings[A], C: (replica(0, 3, 5),)}
    council.hear(C, Unreachable((B,)))
    council.hear(E, WorkFailed(council.stamp, "restarted", False, E))
    assert council.plan.nodes() == (E,)
    assert not blamed(council)


def test_a_job_that_only_waits_for_a_link_says_so(council):
    council.workers = [B]
    ran(council)
    council.holdings = {C: (replica(0, 3, 5),)}
    council.hear(C, Unreachable((B,)))
    council.hear(B, WorkFailed(council.stamp, "restarted", False, B))
    council.wait(2.0)
    assert council.record.state is JobState.WAITING
    assert council.record.reason == "there is no plan; node pi-b cannot reach the nodes that hold layers 0–3"
    council.hear(C, Unreachable(()))
    council.wait(2.0)
    assert council.stage is Stage.RESUME


def test_the_program_comes_from_who_is_reached(council):
    council.programs = {A, C, D}
    ran(council, step=1)
    assert dict(council.told(Prepare))[E].program_holder == A
    council.board.procedure._stock = type(council.board.procedure._stock)(0, A, C, 0.0)
    assert council.board.procedure._program_holder(E) == C
    council.hear(E, Unreachable((C,)))
    council.board.procedure._stock = type(council.board.procedure._stock)(0, A, C, 0.0)
    assert council.board.procedure._program_holder(E) == A


def test_a_link_that_breaks_twice_in_a_minute_is_not_used_for_a_while(council):
    ran(council)
    for _ in range(2):
        council.hear(C, WorkFailed(council.stamp, "the connection broke", False, B))
        council.step(1)
    assert council.plan.nodes() == (B, E)
    assert not blamed(council)
    council.stands = 1
    council.wait(REST_SECONDS - 1.0)
    assert council.plan.nodes() == (B, E)
    council.wait(10.0)
    assert council.plan.nodes() == (B, C, E)


def test_a_source_that_hears_nothing_of_a_node_again_and_again_does_without_it_for_a_while(council):
    ran(council)
    for _ in range(2):
        council.hear(A, Stuck(council.stamp, C))
        council.step(1)
    assert council.plan.nodes() == (B, E)
    assert not blamed(council)


def test_a_link_that_only_broke_is_tried_again_where_there_is_no_other_way(council):
    council.workers = [B]
    ran(council)
    for _ in range(2):
        council.hear(A, Stuck(council.stamp, B))
    council.wait(2.0)
    assert council.stage is Stage.RESUME
    assert council.plan.nodes() == (B,)


def test_who_cannot_be_reached_by_the_leader_takes_no_part(council):
    ran(council)
    council.hear(D, Unreachable((C,)))
    assert council.plan.nodes() == (B, E)


def test_another_takes_over_from_a_source_that_the_leader_cannot_reach(council):
    ran(council)
    council.data |= {E}
    council.programs |= {E}
    council.silent = {A}
    council.hear(D, Unreachable((A,)))
    council.wait(2 * ANSWER_SECONDS)
    assert council.record.source == E
    assert council.stage is Stage.RESUME


def test_the_samples_are_copied_to_who_is_reached_by_the_source(council):
    ran(council)
    holder = council.told(Start)[-1][1].data_holder
    assert dict(council.told(Start))[A].data_holder == B
    council.hear(A, Unreachable((B,)))
    assert dict(council.told(Start))[A].data_holder not in {"", B}
    assert holder == ""
    assert all(message.data_holder != B for _, message in council.told(Committed)[-2:])
