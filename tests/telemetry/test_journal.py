"""The journal: bounded, without tensors, readable."""

import json
from pathlib import Path

import pytest

from edged.core.effects import Log, RunForward, SendMessage
from edged.core.events import ForwardDone, LinkLost, MessageReceived, ParcelArrived, TimerFired
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import Activation, Gossip, StateParcel, StopRequest, TensorSpec
from edged.telemetry.journal import Journal, document

STAMP = Stamp(JobId("a1"), 2, 1)
WORK = Work(4, Phase.TRAIN, 3)
SPEC = TensorSpec("x", "float32", (2, 3), (3, 1), 24)


def read(folder: Path) -> list[dict]:
    lines = [line for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]
    return [json.loads(line) for line in lines]


def test_an_event_is_written_with_its_effects(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.record(LinkLost(NodeId("b")), [Log("info", "membership", "b is gone")], 12.5)
    journal.close()
    (record,) = read(tmp_path / "journal")
    assert record["now"] == 12.5
    assert record["event"] == {"type": "LinkLost", "node": "b"}
    assert record["effects"] == [{"type": "Log", "level": "info", "topic": "membership", "text": "b is gone"}]


def test_tensors_and_bytes_never_enter() -> None:
    parcel = document(ParcelArrived(NodeId("b"), Activation(STAMP, 0, 1, WORK, (SPEC, SPEC), (("n", 2),))))
    assert parcel["parcel"]["size_bytes"] == 48
    state = document(StateParcel(STAMP, 0, 1, 0, tensors=(SPEC,), replica=False, extra=b"x" * 100))
    assert state["extra"] == "<100 bytes 09ecb6eb>"
    assert document(StateParcel(STAMP, 0, 1, 0, (), b"x" * 1000, replica=False))["extra"] == "<1000 bytes>"


def test_what_has_no_form_is_refused() -> None:
    with pytest.raises(TypeError, match="dataclass"):
        document(object())


def test_routine_is_written_but_not_kept_for_people(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record(MessageReceived(NodeId("b"), Gossip(())), [], 1.0)
    journal.record(
        ForwardDone(STAMP, 0, 0, WORK, 0.1, None, ()), [RunForward(STAMP, 0, 0, Work(4, Phase.TRAIN, 4), 0.5)], 2.0
    )
    journal.record(MessageReceived(NodeId("b"), StopRequest(STAMP.job, "enough")), [], 3.0)
    journal.close()
    assert len(read(tmp_path)) == 3
    assert [json.loads(line)["now"] for line in journal.ring] == [3.0]


def test_a_routine_event_with_an_uncommon_effect_is_kept() -> None:
    journal = Journal(None)
    journal.record(TimerFired(), [SendMessage(NodeId("b"), StopRequest(STAMP.job, "enough"))], 1.0)
    assert len(journal.ring) == 1


def test_a_timer_that_changed_nothing_leaves_no_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.record(TimerFired(), [], 1.0)
    journal.close()
    assert read(tmp_path) == []


def test_two_files_of_bounded_size_alternate(tmp_path: Path) -> None:
    journal = Journal(tmp_path, file_bytes=2000)
    for number in range(200):
        journal.record(LinkLost(NodeId(str(number))), [], float(number))
    journal.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert all(path.stat().st_size < 2200 for path in tmp_path.iterdir())
    assert max(record["now"] for record in read(tmp_path)) == 199.0


def test_the_bound_counts_bytes_also_where_words_are_not_ascii(tmp_path: Path) -> None:
    for start in range(3):  # a restart goes on in the file that it finds
        journal = Journal(tmp_path, file_bytes=2000)
        for number in range(20):
            journal.record(LinkLost(NodeId("Gerät – äöü" * 5)), [], float(20 * start + number))
        journal.close()
    assert all(path.stat().st_size < 2300 for path in tmp_path.iterdir())


def test_the_ring_is_bounded_and_followers_hear_until_they_stop() -> None:
    journal = Journal(None, ring_lines=3)
    heard: list[str] = []
    stop = journal.follow(heard.append)
    for number in range(5):
        journal.record(LinkLost(NodeId(str(number))), [], float(number))
    stop()
    journal.record(LinkLost(NodeId("5")), [], 5.0)
    assert len(heard) == 5
    assert [json.loads(line)["event"]["node"] for line in journal.ring] == ["3", "4", "5"]


def test_a_full_disk_ends_neither_the_node_nor_its_journal(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no /dev/full on this platform")
    (tmp_path / "journal-0.jsonl").symlink_to(full)
    journal = Journal(tmp_path)
    journal.record(LinkLost(NodeId("1")), [], 1.0)
    journal.flush()
    (tmp_path / "journal-0.jsonl").unlink()
    journal.record(LinkLost(NodeId("2")), [], 2.0)
    journal.close()
    assert len(journal.ring) == 2
