"""A job at work, as a follower sees it: the lines of ``edged train --json`` with their moments, and what they tell."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from benchmarking import NotMeasuredError, say

from edged.cli.demo_nodes import finish, run_edged
from edged.client import Client
from edged.errors import UserError

START_SECONDS = 300.0
"""So long a job may take to its first step, on slow devices and links."""

STEP_SECONDS = 120.0
"""No step is expected to take longer."""

STOP_SECONDS = 60.0
WARM_SECONDS = 20.0
"""So long after its first step a plan has been kept or replaced by what was measured while it ran."""

SHARE_OF_OPTIMUM = 0.9
CONSECUTIVE = 3
"""Throughput is back once so many steps in a row reach that share of it."""


class NotSeenError(NotMeasuredError):
    """What was waited for has not happened in time, though the job goes on."""


Told = tuple[float, Mapping[str, Any]]
"""When a line was read (monotonic seconds), and the line."""

Found = TypeVar("Found")


# ----------------------------------------------------------------------------------------------- what the lines tell


def plans(told: Sequence[Told]) -> list[Mapping[str, Any]]:
    """All plans, the newest last."""
    return [line for _, line in told if line["event"] == "plan"]


def stages(plan: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """Who runs what: (node id, first layer, last layer) of every hop of a plan, in their order."""
    hops = [hop for route in plan["routes"] for hop in route["hops"]]
    return [(hop["node"], hop["first_layer"], hop["last_layer"]) for hop in hops]


def repartitions(told: Sequence[Told], since: float) -> list[float]:
    """Moments after ``since`` at which a plan was told that places layers otherwise than the one before it."""
    planned = [(now, stages(line)) for now, line in told if line["event"] == "plan"]
    return [now for (_, before), (now, after) in pairwise(planned) if before != after and now > since]


def in_plan(told: Sequence[Told]) -> list[float]:
    """Moments of the steps of the newest plan."""
    moments: list[float] = []
    for now, line in told:
        if line["event"] in {"plan", "recovery", "waiting"}:
            moments = []
        elif line["event"] == "step":
            moments.append(now)
    return moments


def steady(told: Sequence[Told], warm_seconds: float) -> list[float]:
    """Seconds of every step of the newest plan that began at least ``warm_seconds`` after its first one was done."""
    moments = in_plan(told)
    return [after - before for before, after in pairwise(moments) if before >= moments[0] + warm_seconds]


def back_after(told: Sequence[Told], since: float, step_seconds: float) -> float | None:
    """Seconds from ``since`` until the first of three steps in a row is done that are fast again, if there are any.

    Fast: at least 90 % of the throughput that steps of ``step_seconds`` give. A step counts if it begins after
    ``since``; a change of plan, which stands between two steps, makes the step behind it longer.
    """
    moments = [now for now, line in told if line["event"] == "step"]
    row: list[float] = []
    for before, after in pairwise(moments):
        fast = before >= since and (after - before) * SHARE_OF_OPTIMUM <= step_seconds
        row = [*row, after] if fast else []
        if len(row) == CONSECUTIVE:
            return row[0] - since
    return None


@dataclass(frozen=True)
class Steady:
    """Steps of one plan: their seconds, and that plan."""

    seconds: list[float]
    plan: Mapping[str, Any]
    predicted: float
    """What the leader has said last that a step of it takes, by what was measured at work."""

    @property
    def median(self) -> float:
        """Median seconds of a step."""
        return statistics.median(self.seconds)

    @property
    def mean(self) -> float:
        """Mean seconds of a step: what counts where steps are told in bunches."""
        return statistics.fmean(self.seconds)


# ------------------------------------------------------------------------------------------------- following one job


class JobRun:
    """``edged train --json`` on one device; as a context manager it stops the job at the end."""

    def __init__(self, home: Path, job: Path, changes: Mapping[str, object]) -> None:
        """Hand the job in at the node of ``home``. ``changes``: arguments of its function, as of ``--set``."""
        self._client = Client(home)
        self._home = home
        self._told: list[Told] = []
        self._news = threading.Condition()
        sets = [part for key, value in changes.items() for part in ("--set", f"{key}={value}")]
        self._process = run_edged(["train", str(job), "--home", str(home), "--json", *sets])
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> Self:
        """Follow it."""
        self._reader.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _at: TracebackType | None
    ) -> None:
        """Stop the job and wait until it has ended."""
        started = next((line for _, line in self.told() if line["event"] == "started"), None)
        if started is not None and self._process.poll() is None:
            with suppress(UserError):
                self._client.ask(
                    "stop", job=started["job"], reason="stopped by the benchmark, which has measured enough"
                )
            self._reader.join(STOP_SECONDS)
        finish(self._process)

    def told(self) -> list[Told]:
        """All lines so far."""
        with self._news:
            return list(self._told)

    def wait(self, found: Callable[[Sequence[Told]], Found | None], what: str, seconds: float) -> Found:
        """The first answer of ``found`` that is something, asked after every line.

        Raises ``NotSeenError`` after so many seconds, and ``NotMeasuredError`` if the job ends before.
        """
        deadline = time.monotonic() + seconds
        while True:
            with self._news:
                count = len(self._told)
            told = self.told()
            if (answer := found(told)) is not None:
                return answer
            last = told[-1][1] if told else {"event": "nothing"}
            if last["event"] in {"failed", "finished"} or not self._reader.is_alive():
                raise NotMeasuredError(f"the job ended before {what}: {last}")
            if time.monotonic() > deadline:
                raise NotSeenError(f"{what}: not within {seconds:.0f} s; last: {last}")
            with self._news:
                self._news.wait_for(lambda: len(self._told) > count, timeout=1.0)  # noqa: B023 - it is called here

    def steady(self, steps: int, warm_seconds: float) -> Steady:
        """The newest ``steps`` steps of a plan, once one has done so many after its first and ``warm_seconds``."""

        def enough(told: Sequence[Told]) -> Steady | None:
            seconds = steady(told, warm_seconds)
            if len(seconds) < steps or not plans(told):
                return None
            return Steady(seconds[-steps:], plans(told)[-1], newest_prediction(told))

        found = self.wait(enough, f"{steps} steady steps", START_SECONDS + 3 * (warm_seconds + steps * STEP_SECONDS))
        then = f"predicted {predicted(found.plan):.3f} s, at work {found.predicted:.3f} s"
        say(f"  {described(found.plan)}: {found.median:.3f} s a step, {then}")
        return found

    def spec(self) -> dict[str, Any]:
        """The job as its source handed it in, with the profile of its layers."""
        started = self.wait(_started, "the job to be known", START_SECONDS)
        path = self._home / "jobs" / started["job"] / "job.json"
        document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["spec"]
        return document

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._news:
                self._told.append((time.monotonic(), json.loads(line)))
                self._news.notify_all()


def steady_steps(home: Path, job: Path, changes: Mapping[str, object], *, steps: int, warm_seconds: float) -> Steady:
    """Run a job until so many of its steps have been measured, then stop it."""
    told = ", ".join(f"{key}={value}" for key, value in changes.items())
    say(f"{home.name}: {job.stem} {told}")
    with JobRun(home, job, changes) as run:
        return run.steady(steps, warm_seconds)


def predicted(plan: Mapping[str, Any]) -> float:
    """Seconds that a step was predicted to take."""
    return float(plan["predicted_step_seconds"])


def newest_prediction(told: Sequence[Told]) -> float:
    """The same by the newest decision on the newest plan, if there is one."""
    seconds = 0.0
    for _, line in told:
        if line["event"] == "plan":
            seconds = predicted(line)
        elif line["event"] == "decision" and not line["changes"] and line["predicted_step_seconds"] is not None:
            seconds = float(line["predicted_step_seconds"])
    return seconds


def described(plan: Mapping[str, Any]) -> str:
    """Who runs which layers, for people."""
    hops = [hop for route in plan["routes"] for hop in route["hops"]]
    road = ", ".join(f"{hop['name']} {hop['first_layer']}-{hop['last_layer']}" for hop in hops)
    return f"plan {plan['term']}.{plan['version']} ({plan['strategy']}): {road}"


def _started(told: Sequence[Told]) -> Mapping[str, Any] | None:
    return next((line for _, line in told if line["event"] == "started"), None)
