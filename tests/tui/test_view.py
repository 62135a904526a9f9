from __future__ import annotations

import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from edged.core.plan import layer_numbers, layers_in_words
from edged.tui.picture import write_svg
from edged.tui.view import lines, render, summary
from tests.tui.sample import status
from tests.tui.scenes import training


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("height", [12, 24, 50])
@pytest.mark.parametrize("nodes", [1, 2, 4, 6, 20])
def test_the_view_never_outgrows_its_terminal(width: int, height: int, nodes: int) -> None:
    drawn = lines(status(nodes), width, height)
    assert len(drawn) <= height
    assert max(map(cell_len, drawn)) <= width


@pytest.mark.parametrize("nodes", [1, 3, 4])
def test_every_stage_shows_name_layers_share_and_pace(nodes: int) -> None:
    drawn = "\n".join(lines(status(nodes), 100, 30))
    for index, name in enumerate(["desk", "laptop", "pi-5", "pi-4"][:nodes]):
        assert name in drawn
        assert f"layers {3 * index}–{3 * index + 2}" in drawn
    assert "90%" in drawn
    assert "12 ms/micro" in drawn
    assert "★" in drawn


def test_without_a_job_members_wait_for_work() -> None:
    drawn = "\n".join(lines(status(2, job=False), 80, 24))
    assert "waiting for work" in drawn
    assert "edged train JOB.py" in drawn
    assert "─▶" not in drawn.split("nodes  ")[0]


def test_a_suspect_member_is_marked_without_colour() -> None:
    assert "! suspect" in "\n".join(lines(status(5), 120, 40))


@pytest.mark.parametrize(
    ("fate", "count"),
    [
        ({"state": "left"}, "3 of 3"),
        ({"state": "left", "expelled": True}, "3 of 3"),
        ({"state": "dead", "expelled": True}, "3 of 3"),
        ({"state": "dead"}, "3 of 4"),
    ],
)
def test_who_has_left_or_was_expelled_is_no_member_that_is_missing(fate, count):
    document = status()
    document["members"][3] |= {"layers": None, **fate}
    assert f"{count} nodes alive" in summary(document, 100)[0]


def test_a_member_that_was_expelled_is_not_called_dead() -> None:
    document = status(4)
    document["members"][3] |= {"state": "dead", "expelled": True, "layers": None}
    (row,) = (line for line in summary(document, 100) if line.startswith("✗"))
    assert row.split() == ["✗", document["members"][3]["name"], "expelled"]


def test_colour_changes_no_character() -> None:
    assert render(status(), 80, 24).plain == "\n".join(lines(status(), 80, 24))


def test_a_reason_to_wait_is_shown() -> None:
    waiting = status(2)
    waiting["view"]["waiting"] = "2 of 3 members known"
    assert "waiting: 2 of 3 members known" in lines(waiting, 80, 24)


def test_a_cluster_without_a_leader_says_why_and_what_follows() -> None:
    why = "1 of 3 voters agree; laptop does not answer; pi-5 does not answer; goes on as a fork after 15 s"
    led_by_none = {**status(2), "leader": None}
    led_by_none["view"]["waiting"] = why
    assert lines(led_by_none, 80, 24)[2:4] == [
        "no leader: 1 of 3 voters agree; laptop does not answer; pi-5 does not answer;",
        "  goes on as a fork after 15 s",
    ]


def test_the_source_is_named_in_its_box_and_in_its_row() -> None:
    document = status()
    document["members"][0]["roles"] = ["leader", "source", "worker"]
    drawn = lines(document, 160, 30)
    assert any("layers 0–2        source" in line for line in drawn)
    (desk,) = (line for line in summary(document, 100) if line.startswith("● desk"))
    assert desk.split()[-2:] == ["leader,", "source"]


def test_svg_holds_the_picture(tmp_path: Path) -> None:
    write_svg(status(), tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text(encoding="utf-8")
    assert text.startswith("<svg")
    assert "laptop" in text
    assert "url(http" not in text


def test_a_node_that_is_alone_shows_how_others_join() -> None:
    line = "join from another device with:  edged join --key abcdefg-hijklmn --seed 192.168.1.20:41233"
    alone = {**status(1, job=False), "invitation": line}
    drawn = lines(alone, 60, 24)
    assert "edged join" in "".join(drawn)
    assert any("--key abcdefg-hijklmn" in row or "abcdefg-hijklmn" in row for row in drawn)
    assert "edged join" not in "\n".join(lines({**status(2, job=False), "invitation": line}, 60, 24))


def test_a_node_that_sees_nobody_says_why_and_what_to_do_within_80x24() -> None:
    alone = status(1, job=False)
    alone["invitation"] = "alone; `edged key join-command` prints the line to type on the next device"
    alone["unmet"] = [
        {"reason": "key", "address": "192.168.1.20:7077", "text": f"192.168.1.20:7077 answers {'so ' * 60}and so on"},
        *({"reason": "cluster", "address": "", "text": "the node at ..."} for _ in range(20)),
    ]
    drawn = lines(alone, 80, 24)
    assert drawn[2].startswith("not met: 192.168.1.20:7077 answers so so")
    assert any("and so on" in line for line in drawn)
    assert any("edged key join-command" in line for line in drawn)
    assert any(line.startswith("last events") for line in drawn)
    assert sum("the node at" in line for line in summary(alone, 80)) == 20
    among_others = {**status(2, job=False), "unmet": alone["unmet"]}
    assert "not met" not in "\n".join(lines(among_others, 80, 24))
    assert "not met" in "\n".join(summary(among_others, 80))


def test_one_sentence_tells_of_all_that_are_not_met_for_one_reason() -> None:
    found = status(1, job=False)
    doors = [f"192.168.1.{number}:7077" for number in range(5, 9)]
    found["unmet"] = [
        *({"reason": "key", "address": door, "text": f"{door} answers, but not to this key"} for door in doors[:2]),
        *({"reason": "cluster", "address": door, "text": f"the node at {door} is foreign; do so"} for door in doors),
    ]
    told = " ".join(line.strip() for line in summary(found, 100))
    assert told.count("not met: ") == 2
    assert "192.168.1.5:7077 answers, but not to this key (so it is with 192.168.1.6:7077, too)" in told
    assert told.count("do so") == 1
    assert "the node at 192.168.1.5:7077 is foreign; do so" in told
    assert "(so it is with 192.168.1.6:7077, 192.168.1.7:7077 and 1 more, too)" in told
    found["unmet"] = found["unmet"][:1]
    assert "so it is" not in " ".join(summary(found, 100))


def test_a_job_that_is_over_leaves_its_members_waiting_and_its_reason() -> None:
    over = status(2)
    over["job"] = {**over["job"], "state": "failed", "reason": "laptop died"}
    drawn = "\n".join(lines(over, 100, 30))
    assert "✗ job digits: failed (laptop died)" in drawn
    assert "waiting for work" in drawn


def test_a_fork_is_told_before_anything_that_it_computes() -> None:
    fork = {**status(2), "tentative": "a fork: its results are tentative until a majority is back (missing: pi-5)"}
    assert lines(fork, 100, 24)[2] == fork["tentative"]


@pytest.mark.parametrize("state", ["waiting", "paused"])
def test_a_job_that_stands_shows_why(state: str) -> None:
    stands = status(2)
    stands["job"] = {**stands["job"], "state": state, "reason": "layers 3–5 were lost"}
    stands["view"]["waiting"] = "layers 3–5 were lost with node pi-4; the job goes on when it is back"
    drawn = lines(stands, 100, 30)
    label = "waiting: " if state == "waiting" else ""
    mark = {"waiting": "!", "paused": "‖"}[state]
    assert drawn[1:3] == [f"{mark} job digits: {state}", label + stands["view"]["waiting"]]
    assert "samples/s" not in "\n".join(drawn)
    assert "waiting for work" in "\n".join(drawn)


def test_links_that_carry_only_gossip_are_left_out() -> None:
    quiet = status(2)
    for member in quiet["members"]:
        for link in member["links"].values():
            link["bytes_per_second"] = 900.0
    assert "B/s" not in "\n".join(lines(quiet, 100, 30))
    assert "desk ─▶ laptop  3.1 MB/s   0.4 ms" in "\n".join(lines(status(2), 100, 30))


def test_measured_figures_of_devices_and_links_are_shown() -> None:
    shown = status(2)
    for member in shown["members"]:
        for link in member["links"].values():
            link |= {"latency_seconds": 0.002, "bandwidth_bytes_per_second": 1.25e7}
    drawn = "\n".join(lines(shown, 140, 30))
    assert "desk ─▶ laptop  3.1 MB/s     2 ms  of 12.5 MB/s" in drawn
    assert "slowness  free" in drawn
    assert "slowness  free" not in "\n".join(lines(shown, 72, 24))


def test_long_events_are_wrapped_and_the_newest_stands_last() -> None:
    long = status(1)
    long["view"]["events"] = [{"time": "12:00:00", "text": "word " * 40}, {"time": "12:00:09", "text": "the newest"}]
    drawn = lines(long, 80, 40)
    assert drawn[-1] == "12:00:09  the newest"
    assert max(map(len, drawn)) <= 80
    assert sum("word" in line for line in drawn) > 2
    assert drawn[-2].startswith(" " * 10 + "word")


def test_what_was_decided_and_evaluated_is_told_where_there_is_room() -> None:
    document = training()
    drawn = lines(document, 120, 40)
    assert "after epoch 3: evaluation loss 0.1092, accuracy 0.9667" in drawn
    assert any(line.startswith("plan 3.1: 4 of 5 devices; attic is left out") for line in drawn)
    assert any(line.startswith("12 s ago: kept: pi-4 works 1.3 times slower") for line in drawn)
    assert "kept" not in "\n".join(lines(document, 120, 24))
    document["job"]["state"] = "finished"
    assert "kept" not in "\n".join(lines(document, 120, 40))


def test_nobody_in_trouble_is_among_those_that_are_only_counted() -> None:
    document = status(100)
    document["members"][90]["state"] = "suspect"
    document["members"][95] |= {"state": "dead", "layers": None}
    drawn = "\n".join(lines(document, 80, 24))
    assert "? pi-90 " in drawn
    assert re.search(r"… \d+ more: \d+ alive, 1 dead", drawn)


def test_only_time_and_share_stay_beside_a_short_bar() -> None:
    assert next(line for line in lines(status(), 40, 24) if "█" in line).endswith(" 30%  1 min 23 s left")


def test_nothing_is_called_complete_before_it_is() -> None:
    nearly = status()
    nearly["job"] |= {"step": 399, "steps": 400}
    assert " 99%  step 399/400" in "\n".join(lines(nearly, 80, 24))


def test_further_routes_are_counted() -> None:
    several = status(2)
    several["plan"]["routes"] *= 3
    assert "and 2 more routes" in lines(several, 80, 24)


def test_what_is_told_again_and_again_does_not_push_out_what_matters() -> None:
    routine = [
        {"time": f"12:00:{second:02}", "text": text}
        for second in range(40)
        for text in ("kept: no other plan is faster", f"epoch {second}: evaluation loss 0.1")
    ]
    long = status()
    long["view"]["events"] = [{"time": "11:59:59", "text": "pi-4 died: its port refuses"}, *routine]
    drawn = lines(long, 80, 24)
    assert drawn[-3:] == [
        "11:59:59  pi-4 died: its port refuses",
        "12:00:39  kept: no other plan is faster",
        "12:00:39  epoch 39: evaluation loss 0.1",
    ]


def test_the_summary_lists_members_in_the_order_of_the_pipeline() -> None:
    named = [line.split()[1] for line in summary(status(4), 100) if line.startswith("●")]
    assert named == ["desk", "laptop", "pi-5", "pi-4"]


def test_one_layer_is_no_range() -> None:
    assert (layers_in_words(3, 3), layers_in_words(3, 7)) == ("layer 3", "layers 3–7")
    assert (layer_numbers(3, 3), layer_numbers(3, 7)) == ("3", "3–7")
