"""Keys: new, show, the line to type on the next device."""

from __future__ import annotations

from pathlib import Path

import pytest

from edged.cli import keys
from edged.cli.keys import join_line
from edged.transport.security import new_cluster_key, parse_token, read_cluster_key, write_cluster_key
from tests.cli.shell import edged


def test_a_new_key_is_printed_and_nothing_else() -> None:
    outcome = edged("key", "new")
    assert (outcome.status, outcome.err) == (0, "")
    assert parse_token(outcome.out.strip())
    assert outcome.out != edged("key", "new").out


def test_a_home_without_a_key_says_where_one_comes_from(tmp_path: Path) -> None:
    assert edged("key", "show", home=tmp_path).refuses(2, "no cluster key", "edged join")
    assert edged("key", "join-command", home=tmp_path).refuses(2, "no cluster key")


def test_the_key_of_a_home_is_shown(tmp_path: Path) -> None:
    token = edged("key", "new").out.strip()
    write_cluster_key(tmp_path, token)
    assert edged("key", "show", home=tmp_path).out == token + "\n"


def test_the_line_for_the_next_device_names_this_node(nodes: list, desk: Path, monkeypatch) -> None:
    address = nodes[0].address.removeprefix("tcp://")
    key = read_cluster_key(desk)
    assert edged("key", "join-command", home=desk).out == f"edged join --key {key} --seed {address}\n"
    monkeypatch.setenv("EDGED_CLUSTER", "demo")
    assert edged("key", "join-command", home=desk).out == f"edged join --cluster demo --key {key} --seed {address}\n"


def test_the_line_may_name_another_seed_and_needs_no_node(tmp_path: Path) -> None:
    token = edged("key", "new").out.strip()
    write_cluster_key(tmp_path, token)
    assert edged("key", "join-command", home=tmp_path).out == f"edged join --key {token}\n"
    given = edged("key", "join-command", "--seed", "10.0.0.1:7077", home=tmp_path).out
    assert given == f"edged join --key {token} --seed 10.0.0.1:7077\n"


def test_a_cluster_name_with_a_space_is_quoted() -> None:
    assert join_line("my lab", "k", "") == "edged join --cluster 'my lab' --key k"


class Scripted:
    """A node whose cluster gets a new key, which its home may have no room for."""

    new = ""
    lacking: tuple[str, ...] = ()

    def __init__(self, home: Path) -> None:
        self.home = home

    def ask(self, command: str) -> dict[str, list[str]]:
        assert command == "rotate"
        if self.new:
            write_cluster_key(self.home, self.new)
        return {"taken": ["attic", "desk"], "lacking": [*self.lacking], "absent": ["pi", "shelf"]}


def test_an_exchanged_key_is_told_without_being_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "Client", Scripted)
    monkeypatch.setattr(Scripted, "new", new_cluster_key())
    write_cluster_key(tmp_path, new_cluster_key())
    told = edged("key", "rotate", home=tmp_path)
    assert (told.status, told.out) == (0, "")
    assert told.err.splitlines() == [
        "edged: every member that is there has the new key; `edged key show` prints it",
        "edged: not there, join again with the new key: pi, shelf",
    ]
    assert Scripted.new not in told.err
    monkeypatch.setattr(Scripted, "new", new_cluster_key())
    told = edged("key", "rotate", "--json", home=tmp_path)
    answer = {"taken": ["attic", "desk"], "lacking": [], "absent": ["pi", "shelf"]}
    assert (told.object, told.err) == (answer, "")


def test_who_is_there_without_the_new_key_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "Client", Scripted)
    monkeypatch.setattr(Scripted, "lacking", ("jetson",))
    monkeypatch.setattr(Scripted, "new", new_cluster_key())
    write_cluster_key(tmp_path, new_cluster_key())
    told = edged("key", "rotate", home=tmp_path)
    assert told.status == 1
    who, lacking, _ = told.err.splitlines()
    assert who == "edged: of those that are there only attic, desk have the new key; `edged key show` prints it"
    assert lacking.startswith("edged: without it, no answer: jetson. ")
    assert "edged join --key" in lacking
    assert "every member" not in who + lacking


def test_a_key_that_was_not_written_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "Client", Scripted)
    assert edged("key", "rotate", home=tmp_path).refuses(2, "no cluster key")
    write_cluster_key(tmp_path, new_cluster_key())
    assert edged("key", "rotate", home=tmp_path).refuses(1, "could not be written", "log")
