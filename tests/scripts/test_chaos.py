"""What ``chaos.py`` prints and with which status it ends; the scenarios themselves are played by tests/system."""

from __future__ import annotations

import json

import chaos
import pytest
from chaos_trial import Outcome, Scenario

from edged.errors import JobError

PLAYED: list[tuple[str, int]] = []


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster: with seed 13 the weights are wrong, with seed 14 the job breaks, else they are equal."""

    def play(_self: chaos.Stage, scenario: Scenario, seed: int, outcome: Outcome) -> None:
        PLAYED.append((scenario.name, seed))
        if seed == 14:
            raise JobError("the job ended")
        outcome.passed, outcome.verdict = seed != 13, "WRONG WEIGHTS 00" if seed == 13 else "equal"

    PLAYED.clear()
    monkeypatch.setattr(chaos.Stage, "play", play)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit status; 0 where it just returns."""
    monkeypatch.setattr("sys.argv", ["chaos.py", *arguments])
    try:
        chaos.main()
    except SystemExit as end:
        return int(end.code) if isinstance(end.code, bool) else end.code or 0
    return 0


def test_help_and_list(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    told = capsys.readouterr().out
    assert all(option in told for option in ("--list", "--scenario", "--short", "--seed", "--repeat", "--json"))
    assert run(monkeypatch, "--list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("kill-leader ") and "(short set)" in line for line in lines)
    assert any(line.startswith("soak ") for line in lines)
    assert PLAYED == []


def test_a_scenario_is_played_with_a_seed_and_told_in_a_table_or_in_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--scenario", "undisturbed", "--scenario", "join", "--seed", "7", "--repeat", "2") == 0
    assert PLAYED == [("undisturbed", 7), ("join", 7), ("undisturbed", 8), ("join", 8)]
    table = capsys.readouterr().out.splitlines()
    assert "\n".join(table[:2]) == chaos.HEAD
    assert [line.split(" | ")[0] for line in table[2:]] == ["| undisturbed", "| join"] * 2
    assert run(monkeypatch, "--scenario", "undisturbed", "--json") == 0
    played = json.loads(capsys.readouterr().out)
    assert played["left"] == []
    (outcome,) = played["outcomes"]
    assert (outcome["scenario"], outcome["seed"], outcome["verdict"]) == ("undisturbed", 1, "equal")


@pytest.mark.parametrize(("seed", "words"), [(13, "WRONG WEIGHTS 00"), (14, "the job ended")])
def test_one_verdict_that_fails_ends_it_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], seed: int, words: str
) -> None:
    assert run(monkeypatch, "--scenario", "undisturbed", "--seed", str(seed - 1), "--repeat", "2") == 1
    assert f"FAILED: {words}" in capsys.readouterr().out
    assert len(PLAYED) == 2


def test_what_is_left_behind_ends_it_with_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(chaos.Stage, "end", lambda _self: ["a process: 1"])
    assert run(monkeypatch, "--scenario", "undisturbed") == 1
    assert "left behind: a process: 1" in capsys.readouterr().out


def test_the_short_set_and_an_unknown_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, "--short") == 0
    assert {"kill-leader", "hang-worker", "kill-all-but-one", "join"} <= {name for name, _ in PLAYED}
    assert "no-such" in str(run(monkeypatch, "--scenario", "no-such"))
