"""edged doctor: what it prints, its status, that it changes nothing, and that it is quick."""

from __future__ import annotations

import re
import shlex
import socket
from pathlib import Path

import pytest

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor.catalogue import WHY
from edged.doctor.wheel import SLOW_SECONDS, TorchChild
from edged.transport.security import new_cluster_key
from tests.cli.shell import Outcome, edged, edged_process

KEYS = {"id", "level", "what", "why", "remedy"}
OVERHEAD_SECONDS = 20.0
"""What an examination may take besides importing torch: listening, and a busy machine."""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has much else to do gets its time to import torch, and for a handshake."""
    monkeypatch.setattr(TorchChild.facts, "__defaults__", (240.0,))
    monkeypatch.setattr("edged.transport.trial.HANDSHAKE_SECONDS", 60.0)


def by_id(outcome: Outcome) -> dict[str, dict]:
    return {found["id"]: found for found in outcome.object["findings"]}


def test_an_examination_is_one_object_with_known_ids_and_leaves_nothing_behind(tmp_path: Path) -> None:
    home = tmp_path / "home"
    outcome = edged("doctor", "--json", home=home)
    report = outcome.object
    assert set(report) == {"edged", "home", "level", "seconds", "findings"}
    assert all(set(found) == KEYS and found["id"] in WHY for found in report["findings"])
    assert outcome.status == (1 if report["level"] == "problem" else 0)
    found = by_id(outcome)
    assert found["torch"]["level"] == "ok"
    assert found["home"]["level"] == found["node"]["level"] == "note"
    assert not home.exists()
    torch_seconds = float(found["torch"]["what"].split()[-2])
    assert torch_seconds > SLOW_SECONDS or report["seconds"] < torch_seconds + OVERHEAD_SECONDS


def test_people_get_a_paragraph_each_with_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("EDGED_NOISE", "1")
    (tmp_path / "cluster.key").write_text("nothing of the kind")
    (tmp_path / "cluster.key").chmod(0o644)
    outcome = edged("doctor", home=tmp_path)
    assert outcome.status == 1
    text = outcome.out
    assert text.startswith("this device\n")
    assert "\nnetwork\n" in text
    assert "\ncluster\n" in text
    assert "  problem  home-permissions: " in text
    assert "do:  chmod 600" in text
    assert "  warning  config-variable: no option is set by EDGED_NOISE" in text
    assert "problem" in text.splitlines()[-1]
    assert "nothing of the kind" not in text
    assert "\x1b" not in text
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert all(" " not in line.split(": ", 1)[-1].strip() for line in wide), wide  # only words that cannot be broken
    assert (tmp_path / "cluster.key").stat().st_mode & 0o777 == 0o644


def test_a_config_that_cannot_be_read_is_a_problem_and_no_end(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("colour = 3\n")
    outcome = edged("doctor", "--json", home=tmp_path)
    assert outcome.status == 1
    assert "unknown key 'colour'" in by_id(outcome)["config"]["what"]
    assert "torch" in by_id(outcome)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        outcome = edged("doctor", "--json", "--listen", f"127.0.0.1:{port}", home=tmp_path)
    assert outcome.status == 1
    assert by_id(outcome)["ports"]["level"] == "problem"
    assert f"port {port}" in by_id(outcome)["ports"]["what"]


def test_a_running_node_is_asked_about_its_cluster(desk: Path, trained: Outcome) -> None:
    found = by_id(edged("doctor", "--json", home=desk))
    told = "desk runs in cluster 'demo' and knows 1 other; this edged speaks protocol"
    assert found["node"]["what"] == f"{told} {PROTOCOL_VERSION}"
    assert "leads" in found["leader"]["what"]
    assert re.match("laptop is (alive|suspect)", found["members"]["what"])
    assert re.fullmatch(
        r"laptop answers in \S+ \w+, (carries \S+ \w+/s \(measured\)|too little has gone to tell .*), \S+ \w+/s now",
        found["links"]["what"],
    )
    assert found["key"]["level"] == found["home-permissions"]["level"] == "ok"
    assert not [name for name in found if name.startswith("unmet")]


def test_the_line_to_join_with_can_be_tried_beforehand(desk: Path, tmp_path: Path) -> None:
    def members() -> set[str]:
        return {record["node"] for record in edged("status", "--json", home=desk).object["members"]}

    home, before = tmp_path / "new", members()
    given = shlex.split(edged("key", "join-command", home=desk).out)[2:]
    seed = given[given.index("--seed") + 1]
    right = edged("doctor", "--json", *given, home=home)
    assert seed in by_id(right)["others"]["what"]
    assert by_id(right)["others"]["level"] == "ok"
    other = edged("doctor", "--json", "--seed", seed, "--key", new_cluster_key(), home=home)
    assert other.status == 1
    assert by_id(other)["others-key"]["level"] == "problem"
    assert seed in by_id(other)["others-key"]["what"]
    assert not home.exists()
    assert members() == before


def test_the_command_works_in_a_process_of_its_own(tmp_path: Path) -> None:
    outcome = edged_process("doctor", "--json", home=tmp_path)
    assert outcome.status == (1 if outcome.object["level"] == "problem" else 0)
