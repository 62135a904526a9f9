"""What came of a simulated cluster: who noticed what when, who led, how jobs went on; and that in figures."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from edged.core.ids import NodeId, Stamp
from edged.core.messages import RecoveryReport


@dataclass(slots=True)
class Harm:
    """A device that went away at second ``at``: killed, unplugged or stopped. ``told``: when others called it dead."""

    kind: str
    node: NodeId
    at: float
    led: bool
    told: dict[NodeId, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """Some seconds in short."""

    count: int
    median: float | None
    worst: float | None

    def as_object(self) -> dict[str, Any]:
        """For JSON."""
        return {"count": self.count, "median_seconds": self.median, "worst_seconds": self.worst}


def spread(seconds: Iterable[float]) -> Spread:
    """Count, median and worst."""
    values = sorted(seconds)
    return Spread(len(values), median(values), values[-1]) if values else Spread(0, None, None)


class Log:
    """Everything worth knowing of one run, in seconds since its beginning."""

    def __init__(self) -> None:
        """Nothing has happened."""
        self.harms: list[Harm] = []
        self.faults: dict[str, int] = {}
        self.elected: list[tuple[float, NodeId]] = []
        self.leader: NodeId | None = None
        self.called_dead_wrongly: list[tuple[float, NodeId]] = []
        self.steps: list[tuple[float, int]] = []
        self.recoveries: list[tuple[float, RecoveryReport]] = []
        self.ended = ""
        self._came: dict[NodeId, float] = {}
        self._away: dict[NodeId, Harm] = {}
        self._reported: set[tuple[Stamp, int]] = set()

    def goes(self, kind: str, node: NodeId, at: float) -> None:
        """A device goes away."""
        harm = Harm(kind, node, at, node == self.leader)
        self.harms.append(harm)
        self._away[node] = harm

    def comes(self, node: NodeId, at: float) -> None:
        """A device is there (again)."""
        self._came[node] = at
        self._away.pop(node, None)

    def was_there(self, node: NodeId, at: float) -> bool:
        """Whether a device that has never gone away was there at that second."""
        return self._came.get(node, 0.0) <= at

    def is_called_dead(self, node: NodeId, by: NodeId, at: float) -> None:
        """Somebody takes this device for dead."""
        harm = self._away.get(node)
        if harm is not None:
            harm.told.setdefault(by, at)
        else:
            self.called_dead_wrongly.append((at, node))

    def leads(self, node: NodeId, at: float) -> None:
        """This device knows that it leads."""
        if node != self.leader or node in self._away:
            self.elected.append((at, node))
        self.leader = node

    def step_done(self, stamp: Stamp, step: int, at: float) -> None:
        """The source reports a step; only the first who hears it counts."""
        if (stamp, step) not in self._reported:
            self._reported.add((stamp, step))
            self.steps.append((at, step))

    def recovered(self, report: RecoveryReport, at: float) -> None:
        """The leader tells of a new plan."""
        if all(report != known for _, known in self.recoveries):
            self.recoveries.append((at, report))


def detection(log: Log, living: Sequence[NodeId]) -> dict[str, dict[str, Spread]]:
    """For each kind of going away: until the first noticed, and until all did who were there then and to the end.

    ``living``: who is there at the end, and never went away.
    """
    found: dict[str, dict[str, Spread]] = {}
    for kind in dict.fromkeys(harm.kind for harm in log.harms):
        harms = [harm for harm in log.harms if harm.kind == kind]
        first = [min(harm.told.values()) - harm.at for harm in harms if harm.told]
        witnesses = [[node for node in living if log.was_there(node, harm.at)] for harm in harms]
        all_ = [
            max(harm.told[node] for node in seeing) - harm.at
            for harm, seeing in zip(harms, witnesses, strict=True)
            if seeing and all(node in harm.told for node in seeing)
        ]
        found[kind] = {"first": spread(first), "all": spread(all_)}
    return found


def successions(log: Log) -> Spread:
    """From each loss of a leader until another one led."""
    seconds = []
    for harm in log.harms:
        later = [at for at, node in log.elected if at > harm.at and node != harm.node]
        if harm.led and later:
            seconds.append(later[0] - harm.at)
    return spread(seconds)


def recoveries(log: Log) -> dict[str, Spread]:
    """Pauses by cause."""
    causes = dict.fromkeys(report.cause for _, report in log.recoveries)
    return {
        cause: spread(report.pause_seconds for _, report in log.recoveries if report.cause == cause) for cause in causes
    }


@dataclass(frozen=True, slots=True)
class Throughput:
    """How a job went on. ``steps``: made and kept; ``steps_again``: computed more than once.

    ``samples_per_second``: over the whole run since the first step; ``steady``: by the median step; ``longest_pause``:
    between two reported steps.
    """

    steps: int
    steps_again: int
    samples_per_second: float | None
    steady: float | None
    longest_pause: float | None


def throughput(log: Log, batch_size: int, seconds: float) -> Throughput:
    """What a job's reports come to."""
    if not log.steps:
        return Throughput(0, 0, None, None, None)
    gaps = [after[0] - before[0] for before, after in zip(log.steps, log.steps[1:], strict=False)]
    reached = max(step for _, step in log.steps)
    lasted = seconds - log.steps[0][0]
    return Throughput(
        steps=reached,
        steps_again=len(log.steps) - len({step for _, step in log.steps}),
        samples_per_second=(reached - 1) * batch_size / lasted if lasted > 0.0 and reached > 1 else None,
        steady=batch_size / median(gaps) if gaps and median(gaps) > 0.0 else None,
        longest_pause=max(gaps, default=None),
    )
