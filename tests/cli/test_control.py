"""pause, resume, leave NODE, expel: what the commands say, over a node whose answers the test sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from edged.cli import control
from edged.errors import NoNodeError
from tests.cli.shell import edged

OWN = "a" * 16
HERE = {"node": "b" * 16, "name": "pi", "state": "alive", "layers": [3, 5]}
IDLE = {**HERE, "layers": None}


class Scripted:
    """A node: fixed answers, and one status after the other; the last one stays, or (``ends``) the node goes then."""

    answers: ClassVar[dict[str, dict[str, Any]]]
    statuses: ClassVar[list[list[dict[str, Any]]]]
    asked: ClassVar[list[tuple[str, dict[str, Any]]]]
    ends: ClassVar[bool]

    def __init__(self, home: Path) -> None:
        self.home = home

    def ask(self, command: str, **fields: Any) -> dict[str, Any]:
        if command == "status":
            if not self.statuses:
                raise NoNodeError("it went away")
            return {"node": OWN, "members": self._next_status()}
        self.asked.append((command, fields))
        return self.answers[command]

    def _next_status(self) -> list[dict[str, Any]]:
        more = len(self.statuses) > 1 or self.ends
        return self.statuses.pop(0) if more else self.statuses[0]


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> type[Scripted]:
    monkeypatch.setattr(control, "Client", Scripted)
    monkeypatch.setattr(control, "LOOK_SECONDS", 0.0)
    Scripted.asked, Scripted.ends = [], False
    return Scripted


def test_pausing_says_how_to_go_on(node: type[Scripted]) -> None:
    node.answers = {"pause": {"job": "00aa", "state": "paused", "step": 12}}
    told = edged("pause", "digits")
    assert (told.status, told.out) == (0, "")
    assert told.err == "edged: 00aa paused at step 12; `edged resume digits` lets it go on\n"
    assert edged("pause", "digits", "--json").object == node.answers["pause"]
    assert node.asked[0] == ("pause", {"job": "digits"})


def test_a_job_that_does_not_stand_in_time_is_told(node: type[Scripted]) -> None:
    node.answers = {"pause": {"job": "00aa", "state": "running", "step": 12}}
    assert edged("pause", "digits").refuses(1, "still running", "edged status")


def test_resuming_tells_the_new_state(node: type[Scripted]) -> None:
    node.answers = {"resume": {"job": "00aa", "state": "queued", "step": 12}}
    assert edged("resume", "digits").err == "edged: 00aa queued\n"
    node.answers = {"resume": {"job": "00aa", "state": "paused", "step": 12}}
    assert edged("resume", "digits").refuses(1, "still paused")


def test_another_node_leaves_and_its_progress_is_told(node: type[Scripted]) -> None:
    node.answers = {"leave": {"node": HERE["node"], "name": "pi"}}
    node.statuses = [[], [HERE], [HERE], [IDLE], [{**IDLE, "state": "left"}]]
    told = edged("leave", "pi")
    assert told.status == 0
    assert told.err.splitlines() == [
        "edged: pi: still runs layers 3–5",
        "edged: pi: runs no layers any more, says goodbye",
        "edged: pi: has left",
    ]
    assert node.asked == [("leave", {"node": "pi"})]


def test_where_nothing_is_to_do_leaving_is_done(node: type[Scripted]) -> None:
    node.answers = {"leave": {"node": HERE["node"], "name": "pi"}}
    node.statuses = [[{**IDLE, "state": "left"}]]
    told = edged("leave", "pi")
    assert (told.status, told.out, told.err) == (0, "", "edged: pi: has left\n")
    assert edged("leave", "pi", "--json").object == node.answers["leave"]


def test_a_node_that_does_not_leave_in_time_is_told(node: type[Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "LEAVE_SECONDS", 0.01)
    node.answers = {"leave": {"node": HERE["node"], "name": "pi"}}
    node.statuses = [[HERE]]
    assert edged("leave", "pi").refuses(1, "pi has not left", "edged status")
    assert edged("leave", "pi", "--json").out == ""


@pytest.mark.parametrize("named", [[], ["desk"]])
def test_the_own_node_has_left_when_it_answers_no_more(node: type[Scripted], named: list[str]) -> None:
    node.answers = {"leave": {"node": OWN, "name": "desk"}}
    desk = {**HERE, "node": OWN, "name": "desk"}
    idle = {**desk, "layers": None}
    node.statuses, node.ends = [[desk], [desk], [idle], [{**idle, "state": "left"}]], True
    told = edged("leave", *named)
    assert told.status == 0
    assert told.err.splitlines() == [
        "edged: desk: still runs layers 3–5",
        "edged: desk: runs no layers any more, says goodbye",
        "edged: desk: has left",
    ]
    assert node.asked == [("leave", {"node": name} if (name := "".join(named)) else {})]


def test_while_another_node_leaves_the_own_one_must_stay(node: type[Scripted]) -> None:
    node.answers = {"leave": {"node": HERE["node"], "name": "pi"}}
    node.statuses, node.ends = [[HERE], [HERE]], True
    assert edged("leave", "pi").refuses(3, "it went away")


def test_expelling_waits_until_the_node_is_gone(node: type[Scripted], monkeypatch: pytest.MonkeyPatch) -> None:
    node.answers = {"expel": {"node": HERE["node"], "name": "pi"}}
    node.statuses = [[IDLE], []]
    assert edged("expel", "pi").err.splitlines()[-1] == "edged: pi: gone"
    node.statuses = [[{**IDLE, "state": "dead", "expelled": True}]]
    assert edged("expel", "pi").err.splitlines() == ["edged: pi: is shut out for good"]
    assert edged("expel", "pi", "--json").object == node.answers["expel"]
    monkeypatch.setattr(control, "EXPEL_SECONDS", 0.01)
    node.statuses = [[{**IDLE, "layers": [3, 3]}]]
    told = edged("expel", "pi")
    assert told.refuses(1, "pi is still there")
    assert told.err.splitlines()[0] == "edged: pi: still runs layer 3"
