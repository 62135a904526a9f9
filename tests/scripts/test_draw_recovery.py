"""The picture of a recovery, drawn from journals that real events and effects were written to."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree as ET

import draw_recovery
import pytest
from recovery_timeline import read_timeline

from edged.core.effects import BuildStages, Effect, MakePlan, SendHeld, SendMessage
from edged.core.events import (
    Event,
    ForwardDone,
    LinkLost,
    MessageReceived,
    ParcelArrived,
    PlanMade,
    PortProbed,
    SnapshotTaken,
    StagesBuilt,
    TimerFired,
    UpdateDone,
)
from edged.core.ids import NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import Halt, Message, Prepare, RecoveryReport, Start, StateParcel
from edged.core.plan import Hop, Plan, Route
from edged.core.situation import Situation
from edged.telemetry.journal import Journal
from tests.core.job_sample import JOB, A, B, C, spec

KILLED_AT = 100.0
NAMES = {"desk": A, "laptop": B, "shelf": C}
OLD, NEW = Stamp(JOB, 1, 1), Stamp(JOB, 1, 2)
REPORT = RecoveryReport(NEW, "died", (C,), 6, 1, 0.4, 800, "shelf died; its layer 3 came back from desk")
NO_EVENT = TimerFired()


def plan(stamp: Stamp, *hops: tuple[NodeId, int, int]) -> Plan:
    route = Route(tuple(Hop(node, first, last, 1) for node, first, last in hops), (0, 1, 2, 3))
    return Plan(stamp, "pipeline", "", 4, 4, (route,), 0.1)


BEFORE = plan(OLD, (A, 0, 1), (B, 2, 2), (C, 3, 3))
AFTER = plan(NEW, (A, 0, 1), (B, 2, 3))


class Life:
    """One node's journal; moments are seconds from the kill."""

    def __init__(self, home: Path) -> None:
        self.journal = Journal(home / "journal")

    def at(self, moment: float, event: Event, *effects: Effect) -> None:
        self.journal.record(event, effects, KILLED_AT + moment)

    def trains(self, moment: float, stamp: Stamp, version: int) -> None:
        self.at(moment, ForwardDone(stamp, 0, 0, Work(version, Phase.TRAIN, 0), 0.02, None, ()))
        self.at(moment + 0.03, UpdateDone(stamp, version + 1, 0.01, 0.1))


def to(node: NodeId, message: Message) -> SendMessage:
    return SendMessage(node, message)


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, Path]:
    """desk leads; shelf, which runs the last layer, is killed; laptop gets that from desk, which holds a replica."""
    homes = {name: tmp_path / name for name in NAMES}
    desk, laptop, shelf = (Life(home) for home in homes.values())
    desk.at(-9.0, PlanMade(BEFORE.stamp, BEFORE, ""))
    for life in (desk, laptop, shelf):
        life.trains(-0.2, OLD, 5)
    desk.at(0.02, LinkLost(C))
    laptop.at(0.03, PortProbed(C, refused=True))
    desk.at(0.04, PortProbed(C, refused=True), to(B, Halt(NEW)))
    laptop.at(0.05, MessageReceived(A, Halt(NEW)))
    desk.at(0.06, NO_EVENT, MakePlan(NEW, Situation(spec(), ())))
    prepare = Prepare(AFTER, spec(), 5, A, ())
    desk.at(0.08, PlanMade(AFTER.stamp, AFTER, ""), to(B, prepare))
    laptop.at(0.09, MessageReceived(A, prepare))
    desk.at(0.10, NO_EVENT, SendHeld(B, NEW, 3, 3, 5, replica=False))
    laptop.at(0.14, ParcelArrived(A, StateParcel(NEW, 3, 3, 5, (), b"", replica=False)), BuildStages(AFTER, spec(), 5))
    laptop.at(0.20, StagesBuilt(NEW, ""))
    start = Start(NEW, 5, 8, (), "")
    desk.at(0.22, NO_EVENT, to(B, start))
    laptop.at(0.23, MessageReceived(A, start))
    laptop.at(0.25, SnapshotTaken(NEW, 2, 3, 5, 0.01, 800, ""))
    desk.trains(0.30, NEW, 5)
    laptop.trains(0.35, NEW, 5)
    desk.at(0.42, NO_EVENT, to(B, REPORT))
    for life in (desk, laptop, shelf):
        life.journal.close()
    return homes


def drawn(folder: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> ET.Element:
    told = {"victim": "shelf", "killed_at": KILLED_AT, "ids": NAMES}
    (folder / "told.json").write_text(json.dumps(told), encoding="utf-8")
    output = folder / "out.svg"
    monkeypatch.setattr("sys.argv", ["draw_recovery.py", "--draw", str(folder), "--output", str(output), *more])
    draw_recovery.main()
    return ET.fromstring(output.read_text(encoding="utf-8"))


def words(picture: ET.Element) -> Sequence[str]:
    return [text.text or "" for text in picture.iter("{http://www.w3.org/2000/svg}text")]


def test_the_picture_names_every_phase_every_node_and_what_was_said_and_moved(
    homes: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = words(drawn(tmp_path, monkeypatch))
    for phase in ("RUN", "FENCE", "PLAN", "TRANSFER", "RESUME"):
        assert any(phase in text for text in told), phase
    assert {*NAMES, "shelf is killed, the others go on", "connection broke", "port refuses"} <= set(told)
    assert {"Halt", "Prepare", "Start", "layer 3", "layer 2 → 2–3"} <= set(told)
    assert f"“{REPORT.text}”" in told
    assert capsys.readouterr().out.startswith(REPORT.text)


def test_the_timeline_is_what_the_journals_tell(homes: dict[str, Path]) -> None:
    timeline = read_timeline(homes, NAMES, "shelf", KILLED_AT)
    stages = [("FENCE", 0.04), ("PLAN", 0.06), ("TRANSFER", 0.08), ("RESUME", 0.22), ("RUN", 0.42)]
    assert [(name, round(at, 3)) for name, at in timeline.stages] == stages
    assert (timeline.leader, timeline.nodes) == ("desk", ("desk", "laptop", "shelf"))
    assert timeline.layers["laptop"] == ("layer 2", "layers 2–3")
    state = next(arrow for arrow in timeline.arrows if arrow.kind == "state")
    assert (state.sender, state.receiver, state.layers) == ("desk", "laptop", "layer 3")
    assert round(state.end or 0.0, 3) == 0.14
    built = next(block for block in timeline.blocks if block.kind == "build")
    assert (built.node, round(built.begin, 3), round(built.end, 3)) == ("laptop", 0.14, 0.2)


def test_a_last_line_that_was_cut_short_is_left_out(homes: dict[str, Path]) -> None:
    with (homes["shelf"] / "journal" / "journal-0.jsonl").open("a", encoding="utf-8") as journal:
        journal.write('{"time":1,"now":100.0,"ev')
    assert read_timeline(homes, NAMES, "shelf", KILLED_AT).victim == "shelf"


def test_journals_that_tell_of_no_recovery_are_refused(homes: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match="no journal tells"):
        read_timeline(homes, NAMES, "shelf", KILLED_AT + 50)
