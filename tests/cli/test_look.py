"""What commands that look print: promised keys, and nothing else."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import pytest

from edged.cli.look import untold
from tests.cli.shell import JOBS, Outcome, edged, wait_until

STATUS = {"cluster", "node", "name", "term", "leader", "members", "job", "plan", "protection",
          "lineage", "tentative", "unmet", "traffic"}  # fmt: skip
MEMBER = {"node", "name", "address", "state", "roles", "slowness", "memory_bytes", "layers", "weight_version",
          "replicas", "links"}  # fmt: skip

MOST_LINES = 20_000
"""Of a journal, are replayed: how many there are hangs on how long the tests before have taken."""


@pytest.fixture(autouse=True)
def after_a_job(trained: Outcome) -> None:
    """All of these look at a cluster that has trained."""


@pytest.mark.parametrize("home", ["desk", "laptop"])
def test_status_has_the_promised_keys(request: pytest.FixtureRequest, home: str) -> None:
    status = edged("status", "--json", home=request.getfixturevalue(home)).object
    assert set(status) == STATUS
    assert status["name"] == home
    assert {member["name"] for member in status["members"]} == {"desk", "laptop"}
    assert all(set(member) >= MEMBER for member in status["members"])
    assert status["leader"] in {member["node"] for member in status["members"]}
    assert {member["state"] for member in status["members"]} <= {"alive", "suspect"}  # for a moment, of a busy node


def test_status_for_people_fits_a_page_and_shows_everyone(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = wait_until(lambda: "2 of 2 nodes alive" in (out := edged("status", home=desk).out) and out.splitlines())
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    assert "2 of 2 nodes alive" in lines[0]
    assert any("● laptop" in line for line in lines)


def test_events_are_the_journal_as_json_lines(desk: Path) -> None:
    events = edged("events", home=desk).objects
    assert all({"time", "event", "effects"} <= set(event) for event in events)
    assert len({event["event"]["type"] for event in events}) > 1


def copy_journal(home: Path, folder: Path) -> Path:
    """The first records of a node's journal, which goes on being written."""
    folder.mkdir()
    path = folder / "journal-0.jsonl"
    with (home / "journal" / path.name).open("rb") as file:
        lines = list(islice(file, MOST_LINES))
    path.write_bytes(b"".join(lines))
    return path


def test_the_newest_events_are_told_in_the_words_of_the_live_view(desk: Path) -> None:
    told = edged("events", "--text", home=desk)
    assert any("finished after 16 steps" in line for line in told.out.splitlines())
    assert all(re.fullmatch(r"\d\d:\d\d:\d\d  \S.*", line) for line in told.out.splitlines())


def test_events_in_words_are_followed(desk: Path) -> None:
    command = [sys.executable, "-m", "edged", "events", "--text", "--follow", "--home", str(desk)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert next(line for line in following.stdout if "finished after 16 steps" in line)
        edged("train", JOBS, "--set", "name=another", "--set", "epochs=1", "--json", home=desk)
        assert next(line for line in following.stdout if "finished after 8 steps" in line)
        following.terminate()


@pytest.mark.parametrize(
    ("told", "found", "new"),
    [
        ("", "abc", "abc"),
        ("abc", "abc", ""),
        ("abc", "abcd", "d"),
        ("abc", "bcd", "d"),  # the oldest was forgotten
        ("abx", "aby", "y"),  # the newest was taken back
        ("abc", "xyz", "xyz"),  # all was forgotten
        ("a", "aba", "ba"),
    ],
)
def test_each_event_is_told_once(told: str, found: str, new: str) -> None:
    assert untold(list(told), list(found)) == list(new)


def test_a_nodes_journal_is_decided_alike_again(desk: Path, laptop: Path, tmp_path: Path) -> None:
    for home in (desk, laptop):
        copied = copy_journal(home, tmp_path / home.name).parent
        found = edged("replay", copied, "--json").object
        assert (found["equal"], found["difference"], found["lives"], found["left_out"]) == (True, None, 1, 0)
        assert found["events"] > 100
        assert edged("replay", copied).out.splitlines()[-1] == f"{found['events']} events replayed, the same decisions"


def test_a_doctored_journal_is_found_out(desk: Path, tmp_path: Path) -> None:
    path = copy_journal(desk, tmp_path / "copied")
    lines = path.read_text().splitlines()
    number = next(n for n, line in enumerate(lines) if '"type":"TellLeader","leader":"' in line)
    record = json.loads(lines[number])
    effect = next(effect for effect in record["effects"] if effect["type"] == "TellLeader")
    effect["term"] += 1
    lines[number] = json.dumps(record)
    path.write_text("\n".join(lines) + "\n")
    outcome = edged("replay", path)
    assert outcome.refuses(1, "decided otherwise")
    *_, place, event, recorded, replayed = outcome.out.splitlines()
    assert f"line {number + 1} " in place
    assert event.startswith("event:    {")
    assert json.loads(recorded.removeprefix("recorded: ")) == effect
    assert json.loads(replayed.removeprefix("replayed: ")) == {**effect, "term": effect["term"] - 1}
    shown = edged("replay", path, "--json")
    assert shown.status == 1
    assert (shown.object["equal"], shown.object["difference"]["line"]) == (False, number + 1)


def test_what_cannot_be_replayed_says_why(desk: Path, tmp_path: Path) -> None:
    assert edged("replay", tmp_path / "missing").refuses(2, "does not exist", "HOME/journal")
    assert edged("replay", tmp_path).refuses(2, "holds no journal")
    told = tmp_path / "events.jsonl"
    told.write_text(edged("events", home=desk).out)
    assert edged("replay", told).refuses(2, "does not go back to the start of its node", "HOME/journal")


def test_watch_once_draws_the_members(desk: Path) -> None:
    for arguments in (["watch", "--once"], ["watch"]):  # without a terminal there is nothing to keep alive
        outcome = edged(*arguments, home=desk)
        assert outcome.status == 0
        assert "desk" in outcome.out
        assert "last events" in outcome.out
        assert "\x1b" not in outcome.out


def test_watch_writes_a_picture(desk: Path, tmp_path: Path) -> None:
    assert edged("watch", "--svg", tmp_path / "view.svg", home=desk).status == 0
    assert (tmp_path / "view.svg").read_text(encoding="utf-8").startswith("<svg")


def test_a_picture_that_cannot_be_written_is_told(desk: Path, tmp_path: Path) -> None:
    assert edged("watch", "--svg", tmp_path / "missing" / "view.svg", home=desk).refuses(2, "--svg", "missing")
