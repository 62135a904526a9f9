"""A node that is armed dies at the point that was named, at its n-th time, and nowhere else."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from chaos_points import Trigger, flipped, record, wrap

from edged.core.effects import SendMessage
from edged.core.events import Event, MessageReceived, TimerFired
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import Halt, Inventory, Start
from edged.core.parcels import TensorSpec
from edged.replication.snapshots import HeldState


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What would have been killed, and how."""
    signals: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda pid, number: signals.append((pid, number)))
    return signals


def armed(folder: Path, **wanted: Any) -> Trigger:
    document = {"point": "after-update", "count": 1, "above": [0, 0], "at": 1.0, **wanted}
    (folder / "armed").write_text(json.dumps(document), encoding="utf-8")
    return Trigger(folder / "armed", folder / "died")


def test_the_third_time_is_the_third(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    trigger = armed(tmp_path, count=3)
    for point in ("after-update", "half-plan", "after-update"):
        trigger.reach(point)
    assert not killed
    trigger.reach("after-update", version=7)
    assert killed == [(os.getpid(), signal.SIGKILL)]
    assert json.loads((tmp_path / "died").read_text(encoding="utf-8")) == {"point": "after-update", "version": 7}
    assert not (tmp_path / "armed").exists()


def test_what_is_armed_anew_counts_anew(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    trigger = armed(tmp_path, count=2)
    trigger.reach("after-update")
    armed(tmp_path, count=2, at=2.0)
    trigger.reach("after-update")
    assert not killed
    trigger.reach("after-update")
    assert killed


def test_an_older_plan_is_not_the_one(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    trigger = armed(tmp_path, above=[1, 4])
    trigger.reach("after-update", stamp=[1, 4])
    assert not killed
    trigger.reach("after-update", stamp=[2, 1])
    assert killed


def test_without_a_file_nothing_happens(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    Trigger(tmp_path / "armed", tmp_path / "died").reach("after-update")
    assert not killed


def test_a_wrapped_function_is_told_what_it_was(tmp_path: Path) -> None:
    class Owner:
        def double(self, number: int) -> int:
            return 2 * number

    def wrapper(trigger: Trigger, right: Any, self: Owner, number: int) -> tuple[bool, int]:
        return trigger.wanted() == {}, right(self, number + 1)

    wrap(Owner, "double", wrapper, Trigger(tmp_path / "armed", tmp_path / "died"))
    assert Owner().double(3) == (True, 8)


def test_one_bit_of_one_weight_is_flipped() -> None:
    specs = tuple(TensorSpec(name, "float32", (2,), (1,), 8) for name in ("buffer/mean", "parameter/w"))
    held = HeldState(JobId("0" * 12), 0, 0, 1, specs, (memoryview(bytes(8)), memoryview(bytes(8))), b"{}")
    wrong = flipped(held)
    assert [view.tobytes() for view in wrong.buffers] == [bytes(8), bytes([0, 0, 2, 0, 0, 0, 0, 0])]
    assert held.buffers[1].tobytes() == bytes(8)


def decided(trigger: Trigger, event: Event, *effects: SendMessage) -> None:
    """What a node's pump writes down after an event."""
    record(trigger, lambda *_: None, None, event, effects, 1.0)  # type: ignore[arg-type]


def test_the_leader_kills_another_in_a_phase_of_a_newer_plan_and_lives(
    tmp_path: Path, killed: list[tuple[int, int]]
) -> None:
    trigger = armed(tmp_path, point="fence", above=[1, 4], victim=77)
    job, one = JobId("0" * 12), NodeId("a" * 16)
    older, newer = Stamp(job, 1, 4), Stamp(job, 1, 5)
    decided(trigger, TimerFired(), SendMessage(one, Halt(older)), SendMessage(one, Start(newer, 3, 8, (), "")))
    assert not killed
    decided(trigger, TimerFired(), SendMessage(one, Halt(newer)))
    decided(trigger, TimerFired(), SendMessage(one, Halt(newer)))
    assert killed == [(77, signal.SIGKILL)]


def test_an_inventory_that_was_taken_in_is_a_point(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    trigger = armed(tmp_path, point="inventory")
    told = Inventory(Stamp(JobId("0" * 12), 1, 5), (), program=True, data=False)
    decided(trigger, MessageReceived(NodeId("a" * 16), told))
    assert killed == [(os.getpid(), signal.SIGKILL)]
