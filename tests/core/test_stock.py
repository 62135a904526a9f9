"""Whether the job can go on with what there is, and in which words it cannot."""

import pytest

from edged.core.messages import Holding, HoldingKind, Inventory, MemberState
from edged.core.stock import BEGINNING_SECONDS, STEP_SECONDS, Stock, lost_layers, take_stock
from tests.core.job_sample import A, B, C, D, member, plan, spec, stamp

FIRST = Holding(0, 3, 0, HoldingKind.FIRST)
LATER = Holding(0, 3, 8, HoldingKind.SNAPSHOT)


def have(*holdings, program=False, data=False):
    return Inventory(stamp(), holdings, program, data)


def take(inventories, gone=(), leaving=(), doubted=(), committed=-1, step_seconds=None, stands=False):
    members = {n: member(n, MemberState.DEAD if n in gone else MemberState.ALIVE) for n in (A, B, C, D)}
    return take_stock(
        spec(),
        inventories,
        members,
        leaving=set(leaving),
        doubted=set(doubted),
        before=plan(stamp(), (B, C)),
        committed=committed,
        step_seconds=step_seconds,
        stands=stands,
    )


def test_what_is_there_is_enough():
    assert take({A: have(FIRST, program=True, data=True), B: have(LATER)}) == Stock(8, A, A, 0.0)


def test_the_program_may_be_had_from_another_node():
    inventories = {A: have(data=True), C: have(LATER, program=True)}
    assert take(inventories) == Stock(8, A, C, 0.0)


@pytest.mark.parametrize(
    ("inventories", "circumstances", "source"),
    [
        ({A: have(data=True), B: have(data=True)}, {}, A),
        ({A: have(data=False), B: have(data=True)}, {}, B),
        ({B: have(data=True)}, {"gone": [A]}, B),
        ({B: have(data=True)}, {"doubted": [A]}, B),
        ({A: have(data=True), B: have(data=True)}, {"leaving": [A]}, B),
        ({A: have(data=True), B: have()}, {"leaving": [A]}, A),
        ({A: have(data=True), B: have(data=True)}, {"leaving": [A, B]}, A),
        ({B: have(data=True), C: have(data=True)}, {"gone": [A], "leaving": [B]}, C),
        ({B: have(data=True)}, {"gone": [A], "leaving": [B]}, B),
    ],
)
def test_who_draws_the_samples(inventories, circumstances, source):
    inventories = {**inventories, D: have(LATER, program=True)}
    assert take(inventories, **circumstances).source == source


@pytest.mark.parametrize(("inventories", "source"), [({}, None), ({A: have(data=True)}, A), ({C: have(data=True)}, C)])
def test_layers_of_a_job_that_stands_may_move_without_samples(inventories, source):
    inventories = {**inventories, B: have(LATER, program=True)}
    assert take(inventories, gone={A} - {*inventories}, stands=True) == Stock(8, source, B, 0.0)


def test_a_source_that_only_is_silent_is_waited_for():
    inventories = {B: have(LATER, program=True, data=True)}
    assert take(inventories) == "only node pi-a has the job's data"


@pytest.mark.parametrize(
    ("inventories", "gone", "sentence"),
    [
        (
            {B: have(LATER)},
            [A],
            "node pi-a is gone, and nobody else has the job's data; the job goes on when it is back",
        ),
        ({A: have()}, [], "node pi-a does not have the job's data, and nobody else does"),
        (
            {A: have(data=True, program=True), B: have(), C: have()},
            [],
            (
                "nobody who is here holds layers 0–3, and node pi-a does not have the first weights; "
                "the job goes on when a node that does is back"
            ),
        ),
        (
            {A: have(data=True), B: have(LATER)},
            [],
            "the program was lost with node pi-a; the job goes on when it is back",
        ),
        (
            {A: have(data=True, program=True), B: have(Holding(0, 1, 8, HoldingKind.DISK))},
            [],
            "layers 2–3 were lost with node pi-c; the job goes on when it is back",
        ),
    ],
)
def test_what_lacks_is_said(inventories, gone, sentence):
    assert take(inventories, gone=gone) == sentence


@pytest.mark.parametrize(
    ("held", "sentence"),
    [
        (
            {A: have(Holding(0, 2, 8, HoldingKind.DISK))},
            "layer 3 was lost with node pi-c; the job goes on when it is back",
        ),
        ({}, "layers 0–3 were lost with nodes pi-b and pi-c; the job goes on when they are back"),
        ({B: have(), C: have()}, "nobody who is here holds layers 0–3; the job goes on when a node that does is back"),
    ],
)
def test_whose_layers_are_lost(held, sentence):
    members = {n: member(n) for n in (A, B, C)}
    assert lost_layers(spec(), held, members, plan(stamp(), (B, C))) == sentence


def test_without_any_plan_before_nobody_is_blamed():
    assert lost_layers(spec(), {}, {}, None).startswith("nobody who is here")


@pytest.mark.parametrize(
    ("committed", "disk", "step_seconds", "patience"),
    [
        (-1, None, 2.0, 0.0),
        (0, None, 2.0, 0.0),
        (10, None, 2.0, 20.0),
        (-1, 6, 2.0, 12.0),
        (5, 6, None, BEGINNING_SECONDS),
        (999, None, None, 999 * STEP_SECONDS),
        (600_000, None, 1.0, 600_000.0),
    ],
)
def test_going_back_to_the_beginning_is_worth_some_waiting(committed, disk, step_seconds, patience):
    parts = () if disk is None else (Holding(0, 1, disk, HoldingKind.DISK),)
    inventories = {A: have(FIRST, program=True, data=True), B: have(*parts)}
    assert take(inventories, committed=committed, step_seconds=step_seconds) == Stock(0, A, A, patience)
