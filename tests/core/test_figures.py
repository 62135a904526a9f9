"""The newest figures of every process that is there, and what they are compared by."""

from dataclasses import replace

import pytest

from edged.core.figures import SMALL, Figures
from edged.core.ids import JobId
from edged.core.messages import LinkReport, MemberState, NodeReport
from edged.core.situation import LinkSpeed
from tests.core.job_sample import JOB, OTHER_JOB, A, B, C, member, spec


def report(slowness=1.5, job=JOB, links=()):
    return NodeReport(1, 0, 0, 0, 0.5, 0.01, 1, links, JobId(job), slowness)


def link(peer, startup=0.001, rate=1e7):
    return LinkReport(peer, 0.002, 5e5, startup, rate)


@pytest.fixture
def members():
    return {node: member(node) for node in (A, B)}


def test_the_newest_figure_counts_and_stays_while_nothing_is_computed(members):
    figures = Figures(members)
    figures.hear(A, report(1.5))
    figures.hear(A, report(2.0))
    figures.hear(A, report(0.0))
    figures.hear(B, report(0.0))
    assert figures.slowness(JOB) == ((A, 2.0),)


def test_a_figure_is_of_one_job(members):
    figures = Figures(members)
    figures.hear(A, report(2.0, OTHER_JOB))
    assert figures.slowness(JOB) == ()
    figures.hear(A, report(0.0, JOB))
    assert figures.slowness(JOB) == figures.slowness(OTHER_JOB) == ()


def test_another_process_and_who_is_gone_are_forgotten(members):
    figures = Figures(members)
    for node in (A, B, C):
        figures.hear(node, report(2.0, links=(link(A), link(C))))
    assert [node for node, _ in figures.slowness(JOB)] == [A, B], "C is no member"
    members[A] = member(A, boot=2)
    assert [node for node, _ in figures.slowness(JOB)] == [B]
    figures.hear(A, report(0.0))
    assert [node for node, _ in figures.slowness(JOB)] == [B]
    members[B] = member(B, MemberState.DEAD)
    figures.hear(B, report(3.0))
    figures.forget()
    assert figures.slowness(JOB) == figures.links() == ()


def test_links_are_those_between_members_that_were_measured(members):
    figures = Figures(members)
    figures.hear(A, report(links=(link(B), link(C))))
    figures.hear(B, report(links=(link(A, 0.0, 0.0),)))
    assert figures.links() == (LinkSpeed(A, B, 0.001, 1e7),)


def test_impossible_figures_are_not_believed(members):
    figures = Figures(members)
    figures.hear(A, report(-1.0, links=(link(B, -1.0), link(B, rate=-5.0))))
    assert figures.slowness(JOB) == figures.links() == ()


def test_levels_are_measured_speeds_or_calibrated_ones_memory_and_seconds_of_a_usual_crossing(members):
    its = replace(spec(), source_slowness=2.0)
    figures = Figures(members)
    figures.hear(A, report(3.0, links=(link(B, 0.5, 400.0),)))
    figures.hear(B, report(0.0, links=(link(A, 1e-6, 1e9),)))
    stage = 4 * 0.03 / 2
    assert figures.levels(its, members.values()) == {
        ("speed", A, A): 3.0,
        ("speed", B, B): 0.5,
        ("memory", A, A): 1e9,
        ("memory", B, B): 1e9,
        ("link", A, B): pytest.approx(0.5 + 1.0),
        ("link", B, A): pytest.approx(SMALL * stage),
    }
    assert ("link", A, B) not in figures.levels(its, [members[A]])
