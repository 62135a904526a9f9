"""What people are told of a change of plan."""

import pytest

from edged.core.messages import Transfer
from edged.core.recovery import LEAVES, Recovery, cause_of
from tests.core.job_sample import A, B, C, D, member, plan, spec, stamp

MEMBERS = {node: member(node) for node in (A, B, C, D)}
BEFORE = plan(stamp(), (B, C))


def text(recovery, nodes=(B,), version=8, moves=None, source=None):
    after = plan(stamp(version=2), nodes)
    return recovery.report(after, spec(), version, moves or {}, MEMBERS, source, 3.84).text


@pytest.mark.parametrize(
    ("reached", "ending"),
    [(8, "no step lost"), (5, "no step lost"), (9, "1 step is done again"), (20, "12 steps are done again")],
)
def test_what_it_cost(reached, ending):
    assert text(Recovery("died", {C: "died"}, BEFORE, reached, 3.0)).endswith(f"in 0.8 s; {ending}")


def test_where_lost_layers_came_back_from():
    moves = {B: (Transfer(0, 1, 8, B), Transfer(2, 2, 8, D), Transfer(3, 3, 8, A))}
    told = text(Recovery("died", {C: "died"}, BEFORE, 8, 3.0), moves=moves)
    assert told == "pi-c died; its layers 2–3 came back from pi-d and pi-a in 0.8 s; no step lost"


@pytest.mark.parametrize(
    ("recovery", "expected"),
    [
        (
            ("died", {C: "died", B: "was restarted"}),
            "pi-c died and pi-b was restarted; their layers 0–3 came back from  in",
        ),
        (("died", {B: "was restarted", C: "was restarted"}), "pi-b and pi-c were restarted; their"),
        (("died", {A: "died"}), "pi-a died; the job went on after"),
        (("expelled", {C: "was expelled"}), "pi-c was expelled; its layers 2–3 came back from  in"),
        (("left", {C: LEAVES}), "pi-c leaves; its layers 2–3 went to pi-b in"),
        (("left", {B: LEAVES, C: LEAVES}), "pi-b and pi-c leave; their layers 0–3 went to pi-b in"),
        (("left", {A: LEAVES}), "pi-a leaves; the job went on after"),
        (("link", {C: "cannot be reached"}), "pi-c cannot be reached; the job went on after"),
        (("joined", {B: "joined"}), "pi-b joined; it runs layers 0–3 after"),
        (("joined", {D: "joined"}), "pi-d joined; the job went on after"),
        (("leader", {}), "the leader changed; the job went on after"),
        (("paused", {}), "the job was resumed; the job went on after"),
    ],
)
def test_what_happened_and_what_came_of_it(recovery, expected):
    assert text(Recovery(*recovery, BEFORE, 8, 3.0)).startswith(expected)


def test_a_new_source_is_named():
    told = text(Recovery("died", {A: "died"}, BEFORE, 8, 3.0), source=C)
    assert told == "pi-a died; the job went on after 0.8 s; pi-c goes on with the data; no step lost"


@pytest.mark.parametrize(
    ("verbs", "cause"),
    [
        (["died"], "died"),
        (["was expelled", "was expelled"], "expelled"),
        (["was expelled", "died"], "died"),
        (["left"], "left"),
        (["left", "was restarted"], "died"),
    ],
)
def test_what_it_is_called_when_nodes_are_missed(verbs, cause):
    assert cause_of(verbs) == cause


def test_the_dead_and_the_expelled_are_told_together():
    recovery = Recovery("joined", {D: "joined"}, BEFORE, 8, 3.0)
    recovery.also("expelled", {C: "was expelled"}, 8)
    assert recovery.cause == "expelled"
    recovery.also("died", {B: "died"}, 8)
    assert recovery.cause == "died"
    assert recovery.headline(MEMBERS) == "pi-c was expelled and pi-b died"


def test_the_weightiest_cause_is_what_is_told():
    recovery = Recovery("joined", {D: "joined"}, BEFORE, 4, 3.0)
    assert recovery.planned
    recovery.also("link", {C: "does not answer"}, 6)
    assert (recovery.cause, recovery.verbs, recovery.reached) == ("link", {C: "does not answer"}, 6)
    recovery.also("died", {C: "died"}, 2)
    recovery.also("link", {B: "does not answer"}, 2)
    recovery.also("died", {B: "died"}, 2)
    assert (recovery.cause, recovery.verbs, recovery.reached) == ("died", {C: "died", B: "died"}, 6)
    assert not recovery.planned
