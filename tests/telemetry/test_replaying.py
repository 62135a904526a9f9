"""A journal, told to a fresh core, is decided alike; whatever was changed in it is found."""

import json
import math
import re
import typing
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from hypothesis import Phase as Generate
from hypothesis import given, settings

from edged.core.beginning import Beginning
from edged.core.effects import Log, SendMessage
from edged.core.events import Event, KeyRotateAsked, MessageReceived, ParcelArrived, ParcelRefused, TimerFired
from edged.core.ids import PROTOCOL_VERSION, JobId, NodeId, Stamp
from edged.core.job import Phase, Work
from edged.core.messages import Activation, NewKey, StateParcel, StepReport, TensorSpec
from edged.core.node import Node
from edged.errors import ConfigError
from edged.replication.policy import interval
from edged.telemetry.journal import Journal, as_line, document
from edged.telemetry.reading import DocumentReader
from edged.telemetry.replaying import replay
from tests.core.job_sample import member
from tests.simulation import recovery_cluster
from tests.simulation.recovery_run import live_through
from tests.transport.values import of_type

STAMP = Stamp(JobId("a" * 12), 2, 1)
WORK = Work(4, Phase.TRAIN, 3)
SPEC = TensorSpec("x", "float32", (2, 3), (3, 1), 24)


def beginning(**changes) -> Beginning:
    values = {
        "release": "1",
        "protocol": PROTOCOL_VERSION,
        "seed": 7,
        "replicas": 1,
        "forks": True,
        "record": member("a" * 16),
        "saved": None,
        "known": (),
        "listed": (),
    }
    return Beginning(**{**values, **changes})


class Journaled:
    """A node whose life is written down as the pump does it."""

    def __init__(self, folder: Path, made: Beginning, chosen=interval, watch=None) -> None:
        self.folder = folder
        self.journal = Journal(folder)
        self.journal.begin(made, 0.0)
        self.node = made.node(chosen, watch)

    def handle(self, event, now):
        effects = self.node.handle(event, now)
        self.journal.record(event, effects, now)
        return effects

    def __getattr__(self, name):
        return getattr(self.node, name)


def live(folder: Path, seconds: float = 30.0, made: Beginning | None = None, events=()) -> None:
    """A lonely node's life: it is woken when it wants to be, and hears ``events`` at the end."""
    node, now = Journaled(folder, made or beginning()), 0.0
    node.handle(TimerFired(), now)
    while (deadline := node.deadline()) is not None and deadline < seconds:
        now = max(now, deadline) + 0.001
        node.handle(TimerFired(), now)
    for event in events:
        node.handle(event, now)
    node.journal.close()


def lines_of(folder: Path) -> list[str]:
    return (folder / "journal-0.jsonl").read_text().splitlines()


def change(folder: Path, number: int, edit) -> None:
    """Edit the record of one line."""
    lines = lines_of(folder)
    record = json.loads(lines[number])
    edit(record)
    lines[number] = json.dumps(record)
    (folder / "journal-0.jsonl").write_text("\n".join(lines) + "\n")


@contextmanager
def journals_of_all(folder: Path):
    """Every node of a simulated cluster keeps a journal, each process one of its own.

    Odd seeds only: in a run of another one a constant of the core is another.
    """
    lives = []

    def journaled(record, options, rng, saved, known, watch, listed):
        made = beginning(
            seed=rng.getrandbits(53),
            replicas=options.replicas,
            forks=options.election.forks,
            record=record,
            saved=saved,
            known=tuple(known),
            listed=tuple(listed),
        )
        life = Journaled(folder / f"{len(lives)}", made, options.interval, watch)
        lives.append((life, options.interval))
        return life

    with patch.object(recovery_cluster, "Node", journaled):
        yield lives


@pytest.mark.parametrize("seed", [5, 15])
def test_every_node_of_a_cluster_with_faults_decides_alike_again(tmp_path: Path, seed: int) -> None:
    with journals_of_all(tmp_path) as lives:
        live_through(seed)
    kinds: set[str] = set()
    for life, chosen in lives:
        life.journal.close()
        found = replay(life.folder, chosen, "1")
        assert found.difference is None, found.difference
        assert found.remarks == ()
        kinds |= {json.loads(line)["event"]["type"] for line in lines_of(life.folder)}
    assert len(lives) > 2
    assert kinds >= {"MessageReceived", "ParcelArrived", "PlanMade", "UpdateDone", "SnapshotTaken", "LinkLost"}


def test_another_seed_or_option_decides_otherwise(tmp_path: Path) -> None:
    live(tmp_path / "j", events=[MessageReceived(NodeId("b" * 16), StepReport(STAMP, 1, 0, math.nan, 1.0, 0.1))])
    assert replay(tmp_path / "j", interval, "1").difference is None
    change(tmp_path / "j", 0, lambda record: record["event"].update(seed=8))
    found = replay(tmp_path / "j", interval, "1")
    assert found.difference is not None
    assert found.difference.recorded != found.difference.replayed


def test_a_changed_decision_is_found_where_it_is(tmp_path: Path) -> None:
    live(tmp_path / "j")
    number = next(n for n, line in enumerate(lines_of(tmp_path / "j")) if n > 0 and '"Log"' in line)
    change(tmp_path / "j", number, lambda record: record["effects"].append(document(Log("info", "x", "doctored"))))
    found = replay(tmp_path / "j", interval, "1")
    assert found.difference is not None
    assert (found.difference.line, found.events) == (number + 1, number)
    assert len(found.difference.recorded) == len(found.difference.replayed) + 1


def test_an_event_that_is_taken_out_is_missed(tmp_path: Path) -> None:
    live(tmp_path / "j")
    lines = lines_of(tmp_path / "j")
    del lines[1]
    (tmp_path / "j" / "journal-0.jsonl").write_text("\n".join(lines) + "\n")
    assert replay(tmp_path / "j", interval, "1").difference is not None


def test_a_timer_that_decided_nothing_is_replayed_too(tmp_path: Path) -> None:
    live(tmp_path)
    assert sum(len(json.loads(line).get("timers", ())) for line in lines_of(tmp_path)) > 50
    assert replay(tmp_path, interval, "1").difference is None
    change(tmp_path, 2, lambda record: record.update(timers=[10.0, *record["timers"]]))
    found = replay(tmp_path, interval, "1").difference
    assert found is not None
    assert (found.line, found.event, found.recorded) == (3, {"type": "TimerFired"}, [])


def test_many_timers_in_a_row_do_not_pile_up(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    for number in range(250):
        journal.record(TimerFired(), [], float(number))
    journal.record(TimerFired(), [Log("info", "x", "y")], 250.0)
    journal.close()
    records = [json.loads(line) for line in lines_of(tmp_path)]
    told = [moment for record in records for moment in [*record.get("timers", []), record["now"]]]
    assert told == [float(number) for number in range(251)]
    assert len(records) == 3


def test_two_lives_in_one_file_and_a_torn_line_between_them(tmp_path: Path) -> None:
    live(tmp_path)
    path = tmp_path / "journal-0.jsonl"
    path.write_text(path.read_text() + '{"time": 17, "now": 3')  # killed in the midst of a line
    live(tmp_path, made=beginning(release="0.9"))
    path.write_text(path.read_text() + '{"time": 17')
    found = replay(tmp_path, interval, "1")
    assert found.difference is None
    assert found.lives == 2
    torn, other, last = found.remarks
    assert "torn off" in torn
    assert "edged 0.9 wrote it, this is 1" in other
    assert "torn off" in last
    assert replay(path, interval, "1") == found


def test_what_was_overwritten_is_left_out(tmp_path: Path) -> None:
    live(tmp_path / "old")
    live(tmp_path / "j")
    path = tmp_path / "j" / "journal-0.jsonl"
    end = lines_of(tmp_path / "old")[1:]
    path.write_text("\n".join([*end, *lines_of(tmp_path / "j")]) + "\n")
    found = replay(path, interval, "1")
    assert (found.left_out, found.lives, found.difference) == (len(end), 1, None)
    path.write_text("\n".join(end) + "\n")
    with pytest.raises(ConfigError, match="does not go back to the start of its node"):
        replay(path, interval, "1")


def test_the_files_of_a_folder_are_read_in_the_order_of_their_time(tmp_path: Path) -> None:
    live(tmp_path)
    lines = lines_of(tmp_path)
    half = len(lines) // 2
    later = json.loads(lines[half])
    later["time"] += 60.0  # as if both had not been written within a millisecond
    (tmp_path / "journal-1.jsonl").write_text("\n".join(lines[:half]) + "\n")
    (tmp_path / "journal-0.jsonl").write_text("\n".join([json.dumps(later), *lines[half + 1 :]]) + "\n")
    found = replay(tmp_path, interval, "1")
    assert (found.difference, found.events) == (None, len(lines) - 1)


def test_an_event_that_broke_the_node_breaks_it_again(tmp_path: Path) -> None:
    def broken(node: Node, event, now: float):
        raise ZeroDivisionError("by chance")

    live(tmp_path)
    journal = Journal(tmp_path)
    journal.record(TimerFired(), (), 100.0, broke="ZeroDivisionError: by chance")
    journal.close()
    found = replay(tmp_path, interval, "1")
    assert found.difference is not None
    assert found.difference.recorded == [{"type": "Broke", "text": "ZeroDivisionError: by chance"}]
    original, count = Node.handle, len(lines_of(tmp_path)) - 1

    def breaks_at_last(node, event, now):
        return broken(node, event, now) if now == 100.0 else original(node, event, now)

    with patch.object(Node, "handle", breaks_at_last):
        found = replay(tmp_path, interval, "1")
    assert (found.difference, found.events) == (None, count)
    assert "the event broke the node, now as then: ZeroDivisionError" in found.remarks[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("hello\n", "is no journal of edged: its first line is no JSON"),
        ('{"step": 1}\n', "is no journal of edged: its first line is no event"),
        ("[]\n", "is no journal of edged"),
        ("", "does not go back to the start"),
        ("\udcff", "it is not text"),
        ("[" * 100_000, "is no journal of edged"),
    ],
)
def test_what_is_no_journal_is_refused(tmp_path: Path, content: str, words: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(ConfigError, match=words):
        replay(path, interval, "1")


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no journal: it is in HOME/journal"):
        replay(tmp_path, interval, "1")


def test_another_protocols_journal_is_refused_with_both_numbers(tmp_path: Path) -> None:
    live(tmp_path, made=beginning(protocol=PROTOCOL_VERSION + 1, release="9.9"))
    with pytest.raises(ConfigError, match=rf"edged 9.9.*protocol {PROTOCOL_VERSION + 1}.*protocol {PROTOCOL_VERSION}:"):
        replay(tmp_path, interval, "1")


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda record: record.update(event={"type": "Nonsense"}), "no event is called 'Nonsense'"),
        (lambda record: record.update(event={"type": "LoopWasLate"}), "seconds"),
        (lambda record: record.update(event={"type": "LoopWasLate", "seconds": "long"}), "expected float"),
        (lambda record: record.update(event={"type": "LoopWasLate", "seconds": 1.0, "x": 1}), "has no x"),
        (lambda record: record.update(event={"type": "LeaderChanged", "leader": [], "term": 1}), "expected str"),
        (lambda record: record.update(event=None), "no event is called None"),
        (lambda record: record.update(now="later"), "moments are no numbers"),
        (lambda record: record.update(effects={}), "effects no list"),
        (lambda record: record.update(timers=5), "moments are no numbers"),
        (lambda record: record.pop("now"), "is no event with its effects"),
    ],
)
def test_a_damaged_record_is_named(tmp_path: Path, edit, words: str) -> None:
    live(tmp_path)
    change(tmp_path, 2, edit)
    with pytest.raises(ConfigError, match=f"line 3 is damaged.*{words}"):
        replay(tmp_path, interval, "1")


def test_a_torn_line_in_the_midst_of_a_life_is_damage(tmp_path: Path) -> None:
    live(tmp_path)
    lines = lines_of(tmp_path)
    lines[2] = lines[2][:30]
    (tmp_path / "journal-0.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(ConfigError, match="line 3 is damaged"):
        replay(tmp_path, interval, "1")


def test_what_is_read_is_written_as_before() -> None:
    events = [
        beginning(known=(member("b" * 16),)),
        KeyRotateAsked(b"a key of many characters"),
        MessageReceived(NodeId("b" * 16), NewKey(1, 2, b"abc")),
        ParcelArrived(NodeId("b" * 16), StateParcel(STAMP, 0, 1, 5, (SPEC,), b"x" * 500, replica=True)),
        ParcelArrived(NodeId("b" * 16), Activation(STAMP, 0, 1, WORK, (), ())),
        ParcelRefused(NodeId("b" * 16), Activation(STAMP, 0, 1, WORK, (SPEC,), (("n", 3),))),
    ]
    for event in events:
        written = json.loads(json.dumps(document(event)))
        read = DocumentReader().event(written)
        assert type(read) is type(event)
        assert document(read) == document(event)


def without_sizes(line: str) -> str:
    """Of tensors in flight nothing is read back."""
    return re.sub(r'"size_bytes":\d+', '"size_bytes":0', line)


@pytest.mark.parametrize("kind", [Beginning, *typing.get_args(Event)], ids=lambda kind: kind.__name__)
def test_any_event_is_read_as_it_was_written(kind: type) -> None:
    reader = DocumentReader()

    @settings(max_examples=5, derandomize=True, database=None, deadline=None, phases=[Generate.generate])
    @given(of_type(kind))
    def check(event) -> None:
        written = as_line(document(event))
        read = reader.event(json.loads(written))
        assert type(read) is kind
        assert without_sizes(as_line(document(read))) == without_sizes(written)

    check()


def test_a_keys_digest_tells_keys_apart_and_nothing_else() -> None:
    one, same, other = (document(KeyRotateAsked(key))["key"] for key in (b"key one!", b"key one!", b"key two!"))
    assert one == same != other
    assert one.startswith("<8 bytes ")
    assert "key" not in one


def test_the_beginning_is_an_event_without_effects_for_older_readers(tmp_path: Path) -> None:
    live(tmp_path)
    first, *_ = (json.loads(line) for line in lines_of(tmp_path))
    assert first["event"]["type"] == "Beginning"
    assert first["effects"] == []
    assert isinstance(first["now"], float)
    assert all(effect["type"] != SendMessage.__name__ for effect in first["effects"])


def test_what_follows_events_that_a_full_disk_has_lost_is_left_out_and_said(tmp_path):
    heard = [MessageReceived(NodeId("b" * 16), StepReport(STAMP, step, 0, 1.0, 1.0, 0.1)) for step in range(20)]
    live(tmp_path / "j", events=heard)
    lines = lines_of(tmp_path / "j")
    half = len(lines) // 2
    gap = json.dumps({"time": 1.0, "now": 5.0, "event": {"type": "RecordsLost", "records": 7}, "effects": []})
    text = "\n".join([*lines[:half], lines[half][:20], gap, *lines[half + 4 :]])
    (tmp_path / "j" / "journal-0.jsonl").write_text(text + "\n")
    found = replay(tmp_path / "j", interval, "1")
    assert found.difference is None
    assert (found.events, found.left_out) == (half - 1, len(lines) - half - 4)
    assert any("7 events are missing, as the disk was full" in remark for remark in found.remarks)
    assert any("is torn off" in remark for remark in found.remarks)
