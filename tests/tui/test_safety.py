"""Where replicas lie and what the job would survive, as lines."""

from __future__ import annotations

import pytest

from edged.tui.safety import headline, is_safe, outlook, replicas
from edged.tui.view import lines, summary
from tests.tui.sample import status


def test_the_live_view_tells_version_and_age_and_who_would_be_waited_for() -> None:
    line = "replicas: version 112, 8 steps, 2.4 s old; the job would wait for desk"
    assert headline(status(4)) == line
    assert line in lines(status(4), 80, 24)


def test_the_live_view_says_that_any_one_node_may_die() -> None:
    safe = status(2)
    safe["protection"]["if_died"][0]["survives"] = True
    assert headline(safe) == "replicas: version 112, 8 steps, 2.4 s old; any one node may die"


def test_what_the_job_waits_for_already_comes_first_and_is_not_safe() -> None:
    waiting = status(2)
    waiting["protection"]["lacks"] = {"text": "the job waits for pi-4 already (layer 1)"}
    for each in waiting["protection"]["if_died"]:
        each["survives"] = True
    assert headline(waiting) == "the job waits for pi-4 already (layer 1)"
    assert not is_safe(waiting)
    told = summary(waiting, 80)
    place = told.index("  the job waits for pi-4 already (layer 1)")
    assert "if desk died" in told[place + 1]


def test_who_does_not_answer_just_now_is_named_where_safety_relies_on_it() -> None:
    doubtful = status(2)
    for each in doubtful["protection"]["if_died"]:
        each["survives"] = True
    assert is_safe(doubtful)
    doubtful["protection"]["if_died"][0]["relies_on"] = [doubtful["members"][1]["node"]]
    assert headline(doubtful).endswith("2.4 s old; laptop does not answer just now")
    assert not is_safe(doubtful)


@pytest.mark.parametrize(("follows", "words"), [("fork", "a fork goes on"), ("wait", "the job waits for it")])
def test_where_silence_is_not_as_death_the_live_view_says_so(follows: str, words: str) -> None:
    two = status(2)
    two["protection"]["if_died"][0] |= {"survives": True, "if_silent": "goes on"}
    two["protection"]["if_died"][1] |= {"if_silent": follows}
    assert headline(two).endswith(f"any one node may be killed; if one only falls silent, {words}")
    assert is_safe(two) == (follows == "fork")


def test_one_node_alone_has_no_replicas() -> None:
    alone = status(1)
    alone["protection"]["layers"][0]["replicas"] = []
    assert headline(alone) == "snapshot: version 112, 8 steps, 2.4 s old; the job would wait for desk"


def test_a_single_step_is_no_plural() -> None:
    one = status(4)
    one["protection"]["age_steps"] = 1
    assert "version 112, 1 step, 2.4 s old" in headline(one)


def test_unprotected_until_a_version_is_committed() -> None:
    bare = status(2)
    bare["protection"] |= {"protected": False, "version": None, "age_steps": None, "age_seconds": None}
    assert "unprotected until a version is committed" in lines(bare, 80, 24)


def test_without_a_job_there_is_nothing_to_protect() -> None:
    assert headline(status(2, job=False)) == ""
    assert outlook(status(2, job=False), 80) == []
    assert headline({}) == ""


def test_members_show_what_they_hold_for_others() -> None:
    members = status(3)["members"]
    assert replicas(members[1]) == "0–2"
    several = {"replicas": [*members[1]["replicas"], {"layers": [7, 7], "version": 112}]}
    assert replicas(several) == "0–2, 7"
    assert replicas({"replicas": []}) == ""
    assert "● laptop ★  3–5     0–2 " in "\n".join(lines(status(4), 80, 24))


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_summary_has_a_line_for_each_range_the_samples_and_each_node(width: int) -> None:
    told = summary(status(3), width)
    assert max(map(len, told)) <= width
    joined = " ".join(" ".join(told).split())
    assert "layers 6–8: live on pi-5, replica of version 112 on desk" in joined
    assert "samples: only on desk" in joined
    assert "because only desk can draw the samples" in joined
    assert "if pi-5 died: 8 steps are done again" in joined
