"""Watches a testbed by the journals of its nodes (``edged events --follow``): what was heard, decided, done, and when.

All nodes run on one machine, so the monotonic times in their journals can be compared with each other and with ours.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from testbed import Device, TestbedError

from edged.errors import UserError

Stamp = tuple[int, int]
"""Term and version of a plan."""

RECONNECT_SECONDS = 0.1

HEARD = (
    "Halt", "Inventory", "Prepare", "Prepared", "Start", "PlanChosen", "RecoveryReport", "Committed", "Held",
    "FinishedReport", "End", "Drain", "Drained",
)  # fmt: skip
DONE = (
    "MakePlan",
    "TakeSnapshot",
    "SnapshotTaken",
    "SendHeld",
    "StoreHeld",
    "HeldStored",
    "TellMember",
    "TellLeader",
    "WeightsWritten",
)
KEPT = frozenset([*(f"heard {message}" for message in HEARD), *DONE, "sends Committed"])
"""Kinds of facts that are remembered: effects and events by their types, messages as ``heard`` (few as ``sends``)."""


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that a node's journal tells: on which node, when (monotonic seconds), what."""

    device: str
    now: float
    kind: str
    body: Mapping[str, Any]

    def job(self) -> str:
        """The job that it is about; empty if about none."""
        stamp = self.stamp_document()
        return str(stamp.get("job", self.body.get("job", "")))

    def stamp(self) -> Stamp:
        """Term and version of the plan that it is about; (0, 0) if about none."""
        stamp = self.stamp_document()
        return int(stamp.get("term", 0)), int(stamp.get("version", 0))

    def stamp_document(self) -> Mapping[str, Any]:
        """The stamp as the journal writes it."""
        found = self.body.get("stamp") or (self.body.get("plan") or {}).get("stamp") or {}
        return found if isinstance(found, Mapping) else {}


@dataclass(frozen=True, slots=True)
class Gap:
    """A change of plan: the last step before it and the first after it, by which plan, when each was first heard of."""

    stamp: Stamp
    before: int
    after: int
    left: float
    came: float

    @property
    def replayed(self) -> int:
        """Steps that were done again."""
        return max(0, self.before - self.after + 1)


class Watch:
    """Follows the journals of all devices, through their restarts."""

    def __init__(self) -> None:
        """Nothing is followed yet."""
        self.facts: list[Fact] = []
        self.steps: dict[str, dict[tuple[Stamp, int], float]] = {}
        self._heard: dict[str, float] = {}
        self._news = threading.Condition()
        self._closed = False

    def follow(self, device: Device) -> None:
        """Follow a device until ``close``."""
        threading.Thread(target=self._follow, args=(device,), daemon=True).start()

    def close(self) -> None:
        """Follow nobody any more."""
        self._closed = True

    def first(self, *kinds: str, since: float = 0.0, job: str = "", **fields: Any) -> Fact | None:
        """The first fact of one of these kinds after ``since``; ``device`` and fields of its body may be given."""
        with self._news:
            found = [f for f in self._recent(since) if f.kind in kinds and (not job or f.job() == job)]
        device = fields.pop("device", None)
        fitting = (
            f
            for f in found
            if (device is None or f.device == device) and all(f.body.get(key) == value for key, value in fields.items())
        )
        return min(fitting, key=lambda fact: fact.now, default=None)

    def wait(self, *kinds: str, seconds: float, since: float = 0.0, job: str = "", **fields: Any) -> Fact:
        """As ``first``, once there is one. Raises ``TestbedError`` after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            if found := self.first(*kinds, since=since, job=job, **fields):
                return found
            with self._news:
                if not self._news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise TestbedError(f"not within {seconds:.0f} s: {' or '.join(kinds)} {fields or ''}".rstrip())

    def all(self, kind: str, job: str) -> list[Fact]:
        """All facts of a kind about a job, in their order."""
        with self._news:
            found = [fact for fact in self.facts if fact.kind == kind and fact.job() == job]
        return sorted(found, key=lambda fact: fact.now)

    def newest_step(self, job: str) -> int:
        """The step that the newest plan has reached; 0 before the first."""
        with self._news:
            return max(self.steps.get(job, {}), default=((0, 0), 0))[1]

    def wait_step(self, job: str, number: int, seconds: float) -> None:
        """Return when the job has done this step. Raises ``TestbedError``."""
        deadline = time.monotonic() + seconds
        while self.newest_step(job) < number:
            with self._news:
                if not self._news.wait(deadline - time.monotonic()) and time.monotonic() >= deadline:
                    raise TestbedError(f"step {number} was not done within {seconds:.0f} s")

    def gaps(self, job: str) -> list[Gap]:
        """The changes of plan, as far as steps were done before and after them."""
        with self._news:
            done = sorted(self.steps.get(job, {}).items())
        times = [(stamp, step, now) for (stamp, step), now in done]
        return [Gap(b[0], a[1], b[1], a[2], b[2]) for a, b in pairwise(times) if a[0] != b[0]]

    def step_seconds(self, job: str) -> float:
        """The usual time from one step to the next of the same plan; 0.0 if there is none."""
        with self._news:
            done = sorted(self.steps.get(job, {}).items())
        between = [b[1] - a[1] for a, b in pairwise(done) if a[0][0] == b[0][0]]
        return statistics.median(between) if between else 0.0

    def _recent(self, since: float) -> Iterator[Fact]:
        """Facts after ``since``, the newest first; journals arrive a little out of order."""
        for fact in reversed(self.facts):
            if fact.now > since:
                yield fact
            elif fact.now < since - 30:
                return

    def _follow(self, device: Device) -> None:
        while not self._closed:
            with suppress(UserError, OSError):
                for line in device.client.stream("events", follow=True):
                    if self._closed:
                        return
                    self._take(device.name, line)
            time.sleep(RECONNECT_SECONDS)

    def _take(self, device: str, line: Mapping[str, Any]) -> None:
        now = float(line["now"])
        if now <= self._heard.get(device, 0.0):
            return
        self._heard[device] = now
        event, message = line["event"], line["event"].get("message")
        facts = []
        if event["type"] == "MessageReceived":
            if message["type"] == "StepReport":
                self._step(message, now)
                return
            facts.append(Fact(device, now, "heard " + message["type"], {**message, "sender": event["sender"]}))
        else:
            facts.append(Fact(device, now, event["type"], event))
        for effect in line["effects"]:
            sent = effect.get("message", {})
            facts.append(
                Fact(device, now, f"sends {sent['type']}", sent) if sent else Fact(device, now, effect["type"], effect)
            )
        with self._news:
            self.facts += [fact for fact in facts if fact.kind in KEPT]
            self._news.notify_all()

    def _step(self, report: Mapping[str, Any], now: float) -> None:
        stamp = report["stamp"]
        place = ((int(stamp["term"]), int(stamp["version"])), int(report["step"]))
        with self._news:
            steps = self.steps.setdefault(stamp["job"], {})
            steps[place] = min(now, steps.get(place, now))
            self._news.notify_all()
