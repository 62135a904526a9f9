"""What the job would survive, in words and as an object."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edged.core.effects import TellLeader, TellMember
from edged.core.ids import Stamp
from edged.core.messages import Committed, JobState, Lying, MemberState, PlanChosen, StepReport
from edged.core.plan import Hop, Route
from tests.roles.conftest import record_of
from tests.roles.test_observer import AGAIN, OWN, PEER, PLAN, RING, SPEC, STAMP, Stage


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.do(TellMember(record_of(PEER, "pi-4"), None, "joined"))
    stage.do(TellLeader(PEER, 3))
    stage.job(JobState.RUNNING)
    stage.hear(PlanChosen(PLAN, SPEC))
    for number in (1, 2, 3):
        stage.now = float(number)
        stage.hear(StepReport(STAMP, number, 0, 2.5, 100.0, 0.05))
    return stage


def protection(stage: Stage) -> dict:
    return json.loads(json.dumps(stage.status()["protection"]))


def sentences(stage: Stage) -> list[str]:
    found = protection(stage)
    return [
        *(each["text"] for each in found["layers"]),
        found["samples"]["text"],
        *([found["lacks"]["text"]] if found["lacks"] else []),
        *(each["text"] for each in found["if_died"]),
    ]


def test_before_a_version_is_committed_the_job_is_unprotected(stage: Stage) -> None:
    found = protection(stage)
    assert (found["protected"], found["version"], found["age_steps"], found["age_seconds"]) == (False, None, None, None)
    assert sentences(stage) == [
        "layer 0: live on desk, no replica yet",
        "layer 1: live on pi-4, no replica yet",
        "samples: only on desk: if it dies the job waits for it",
        "if desk died the job would wait for desk, because only desk can draw the samples",
        "if pi-4 died: nothing is lost, 3 steps are done again (from version 0); another node would lead",
    ]


def test_a_committed_version_with_its_replicas_and_their_age(stage: Stage) -> None:
    stage.now = 4.5
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    found = protection(stage)
    assert {key: found[key] for key in ("job", "protected", "version", "every", "age_steps", "age_seconds")} == {
        "job": SPEC.job,
        "protected": True,
        "version": 2,
        "every": 2,
        "age_steps": 1,
        "age_seconds": 2.5,
    }
    assert found["layers"][1] == {
        "first_layer": 1,
        "last_layer": 1,
        "live": [PEER],
        "replicas": [OWN],
        "text": "layer 1: live on pi-4, replica of version 2 on desk",
    }
    assert found["samples"] == {"source": OWN, "copies": [PEER], "text": "samples: on desk, copy on pi-4"}
    assert found["if_died"][0] == {
        "node": OWN,
        "survives": True,
        "steps_again": 1,
        "if_silent": "goes on",
        "relies_on": [],
        "text": "if desk died: nothing is lost, 1 step is done again (from version 2); pi-4 would draw the samples",
    }
    desk, pi = stage.status()["members"]
    assert desk["replicas"] == [{"layers": [1, 1], "version": 2, "age_steps": 1, "age_seconds": 2.5}]
    assert [each["layers"] for each in pi["replicas"]] == [[0, 0]]


def test_several_replicas_are_listed_and_the_leader_is_named(stage: Stage) -> None:
    third = "c" * 16
    stage.do(TellMember(record_of(third, "shelf"), None, "joined"))
    layers = (Lying(0, 0, (OWN, third, PEER)), Lying(1, 1, (PEER, OWN)))
    stage.hear(Committed(STAMP, 3, 1, layers, ""))
    assert sentences(stage)[0] == "layer 0: live on desk, replicas of version 3 on shelf and pi-4 (leader)"
    assert sentences(stage)[-1] == "if shelf died: nothing is lost, no step is done again"


def test_what_lies_nowhere_else_is_named(stage: Stage) -> None:
    stage.records[SPEC.job] = replace(stage.records[SPEC.job], source=PEER)
    stage.observer.specs[SPEC.job] = replace(SPEC, source=PEER)
    stage.hear(Committed(STAMP, 2, 2, (Lying(0, 0, (OWN,)), Lying(1, 1, (PEER, OWN))), OWN))
    assert sentences(stage)[3] == (
        "if desk died: layer 0 lies nowhere else, so the job would wait for desk for a while, then begin anew"
        " (3 steps are done again)"
    )
    stage.observer.specs[SPEC.job] = replace(SPEC, source="f" * 16)
    assert sentences(stage)[3] == "if desk died the job would wait for desk, because layer 0 lies nowhere else"


def test_the_committed_version_of_the_plan_before_still_counts_but_does_not_protect(stage: Stage) -> None:
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    stage.hear(PlanChosen(AGAIN, SPEC))
    stage.hear(Committed(AGAIN.stamp, -1, 2, (), ""))
    stage.hear(Committed(STAMP, 4, 2, RING, PEER))
    found = protection(stage)
    assert (found["protected"], found["version"], found["samples"]["copies"]) == (False, 2, [])
    stage.hear(Committed(Stamp(SPEC.job, 1, 2), 3, 2, RING, PEER))
    assert (protection(stage)["protected"], protection(stage)["version"]) == (True, 3)


def test_those_who_have_gone_hold_nothing(stage: Stage) -> None:
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    stage.do(TellMember(record_of(PEER, "pi-4", MemberState.DEAD), MemberState.ALIVE, ""))
    stage.job(JobState.WAITING, "layer 1 waits")
    assert sentences(stage) == [
        "layer 0: last run by desk, no replica yet",
        "layer 1: not live, replica of version 2 on desk",
        "samples: only on desk: if it dies the job waits for it",
        "if desk died the job would wait for desk, because no other node is there",
    ]


@pytest.mark.parametrize("proven", [True, False])
def test_who_was_killed_and_is_back_holds_nothing_until_the_leader_says_so(stage: Stage, proven: bool) -> None:
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    stage.hear(PlanChosen(AGAIN, SPEC))
    stage.hear(Committed(AGAIN.stamp, -1, 2, (), ""))
    gone = record_of(PEER, "pi-4", MemberState.DEAD)
    stage.do(TellMember(replace(gone, proven=proven), MemberState.ALIVE, ""))
    back = replace(gone, state=MemberState.ALIVE, boot=gone.boot + 1)
    stage.do(TellMember(back, MemberState.DEAD, "came back"))
    assert [each["replicas"] for each in protection(stage)["layers"] if OWN in each["live"]] == [[]]
    stage.hear(Committed(AGAIN.stamp, 3, 2, RING, PEER))
    assert PEER in protection(stage)["layers"][0]["replicas"]


def test_who_was_only_silent_and_is_back_still_holds_what_it_held(stage: Stage) -> None:
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    before = sentences(stage)
    gone = record_of(PEER, "pi-4", MemberState.DEAD)
    stage.do(TellMember(gone, MemberState.ALIVE, ""))
    assert sentences(stage) != before
    stage.do(TellMember(replace(gone, state=MemberState.ALIVE, incarnation=1), MemberState.DEAD, "came back"))
    assert sentences(stage) == before


@pytest.mark.parametrize(
    ("forks", "follows", "words"),
    [
        (True, "fork", "after 15 s as a fork, tentatively"),
        (False, "wait", "the job would wait until a majority is there (`--minority wait`)"),
    ],
)
def test_silence_of_one_of_two_is_not_its_death(stage: Stage, forks: bool, follows: str, words: str) -> None:
    stage.observer.forks = forks
    stage.hear(Committed(STAMP, 2, 2, RING, ""))
    stage.observer.voters = lambda: (OWN, PEER)
    desk, pi = protection(stage)["if_died"]
    assert (desk["survives"], desk["if_silent"]) == (False, "wait")
    assert "silent" not in desk["text"], "the job would wait for it anyway"
    assert (pi["survives"], pi["if_silent"]) == (True, follows)
    assert pi["text"].endswith(f"another node would lead; if it only falls silent: {words}")


def test_a_majority_of_the_voters_goes_on_after_silence_as_after_a_death(stage: Stage) -> None:
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    stage.do(TellMember(record_of(SHELF, "shelf"), None, "joined"))
    stage.observer.voters = lambda: (OWN, PEER, SHELF)
    assert [each["if_silent"] for each in protection(stage)["if_died"]] == ["goes on"] * 3
    stage.do(TellMember(record_of(SHELF, "shelf", MemberState.DEAD), MemberState.ALIVE, ""))
    assert [each["if_silent"] for each in protection(stage)["if_died"]] == ["fork"] * 2


def test_who_does_not_answer_just_now_is_not_counted_as_sound(stage: Stage) -> None:
    stage.hear(Committed(STAMP, 2, 2, RING, PEER))
    stage.do(TellMember(record_of(PEER, "pi-4", MemberState.SUSPECT), MemberState.ALIVE, ""))
    stage.do(TellMember(record_of(SHELF, "shelf"), None, "joined"))
    heir = "pi-4 would draw the samples; but pi-4 does not answer just now"
    assert sentences(stage) == [
        "layer 0: live on desk, replica of version 2 on pi-4 (does not answer just now) (leader)",
        "layer 1: live on pi-4 (does not answer just now), replica of version 2 on desk",
        "samples: on desk, copy on pi-4 (does not answer just now)",
        f"if desk died: nothing is lost, 1 step is done again (from version 2); {heir}",
        "if pi-4 died: nothing is lost, 1 step is done again (from version 2); another node would lead",
        "if shelf died: nothing is lost, no step is done again; but pi-4 does not answer just now",
    ]
    assert [each["relies_on"] for each in protection(stage)["if_died"]] == [[PEER], [], [PEER]]


SHELF = "c" * 16


@pytest.fixture
def lost(stage: Stage) -> Stage:
    """Pi-4 has died with layer 1; shelf, which runs nothing, has all that is left of layer 0; desk has the samples."""
    stage.do(TellMember(record_of(SHELF, "shelf"), None, "joined"))
    stage.observer.specs[SPEC.job] = replace(SPEC, source="f" * 16)
    stage.hear(Committed(STAMP, 2, 2, (Lying(0, 0, (SHELF,)), Lying(1, 1, (PEER,))), SHELF))
    stage.do(TellMember(record_of(PEER, "pi-4", MemberState.DEAD), MemberState.ALIVE, ""))
    stage.do(TellLeader(OWN, 4))
    stage.job(JobState.WAITING, "layer 1 was lost with node pi-4; the job goes on when it is back")
    return stage


def test_while_the_job_waits_that_is_said_once_and_what_one_more_death_adds_for_each(lost: Stage) -> None:
    found = protection(lost)
    assert found["lacks"] == {
        "nodes": [PEER],
        "layers": [[1, 1]],
        "samples": False,
        "text": "the job waits for pi-4 already (layer 1)",
    }
    assert [each["if_silent"] for each in found["if_died"]] == [None, None]
    assert [each["text"] for each in found["layers"]] == [
        "layer 0: last run by desk, replica of version 2 on shelf",
        "layer 1: not live, nobody who is there holds version 2",
    ]
    assert [(each["survives"], each["steps_again"], each["text"]) for each in found["if_died"]] == [
        (True, None, "if desk died too: nothing more is lost; shelf would draw the samples; another node would lead"),
        (False, None, "if shelf died too the job would wait for shelf as well, because layer 0 lies nowhere else"),
    ]


def test_until_the_leader_has_said_that_the_job_waits_it_may_have_to(lost: Stage) -> None:
    lost.job(JobState.RUNNING)
    assert protection(lost)["lacks"]["text"] == "the job may have to wait for pi-4 (layer 1)"


def test_a_job_that_can_begin_anew_does_so_unless_who_has_the_first_weights_dies_too(lost: Stage) -> None:
    lost.observer.specs[SPEC.job] = SPEC
    assert protection(lost)["lacks"]["text"] == (
        "the job waits for pi-4 already (layer 1); it begins anew if that takes too long"
    )
    desk, shelf = sentences(lost)[-2:]
    assert desk == "if desk died too the job would wait for desk as well, because only desk has the first weights"
    assert shelf == (
        "if shelf died too: layer 0 lies nowhere else, so the job would wait for shelf for a while, then begin anew"
        " (3 steps are done again)"
    )


def test_layers_and_samples_that_are_lacking_are_told_together(lost: Stage) -> None:
    lost.records[SPEC.job] = replace(lost.records[SPEC.job], source="d" * 16)
    lost.hear(Committed(STAMP, 2, 2, (Lying(0, 0, (SHELF,)), Lying(1, 1, ("e" * 16,))), ""))
    alone = (Route((Hop(OWN, 0, 1, 2),), (0, 1)),)
    lost.hear(PlanChosen(replace(PLAN, stamp=Stamp(SPEC.job, 1, 2), routes=alone), SPEC))
    told = f"the job waits for {'d' * 16} already (layer 1 and the samples)"
    assert sentences(lost)[-3:-1] == [told, "if desk died too: nothing more is lost; another node would lead"]
    lost.observer.specs[SPEC.job] = replace(SPEC, source="f" * 16)
    lost.records[SPEC.job] = replace(lost.records[SPEC.job], source=OWN)
    assert protection(lost)["lacks"]["text"] == "the job waits for whoever holds them already (layer 1)"


def test_a_source_that_has_gone_is_waited_for(stage: Stage) -> None:
    stage.do(TellMember(record_of("d" * 16, "phone", MemberState.DEAD), None, ""))
    stage.records[SPEC.job] = replace(stage.records[SPEC.job], source="d" * 16)
    assert protection(stage)["samples"]["text"] == "samples: only on phone: the job waits for it"


@pytest.mark.parametrize("state", [JobState.FINISHED, JobState.STOPPED])
def test_a_job_that_is_over_needs_no_protection(stage: Stage, state: JobState) -> None:
    stage.job(state)
    assert stage.status()["protection"] is None
    assert stage.status()["members"][0]["replicas"] == []
