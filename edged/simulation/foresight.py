"""What every strategy would do with a job on a described cluster, and how fast that would be: plans, rehearsed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from edged.core.electorate import fitness
from edged.core.ids import NodeId, Stamp
from edged.core.job import JobSpec
from edged.core.plan import Hop, Plan, Route
from edged.core.situation import Situation
from edged.errors import JobFailedError
from edged.simulation.description import ClusterDescription
from edged.simulation.reports import link_speeds
from edged.simulation.workload import JOB
from edged.strategies import PLANNERS, Planner
from edged.strategies.figures import measured_slowness
from edged.strategies.rehearsal import Rehearsal, rehearse


@dataclass(frozen=True, slots=True)
class Prospect:
    """One strategy's plan and its rehearsal, or why it has none (``problem``)."""

    strategy: str
    plan: Plan | None
    problem: str
    rehearsal: Rehearsal | None

    @property
    def step_seconds(self) -> float:
        """Of every step but the first; infinite without a plan."""
        return float("inf") if self.rehearsal is None else self.rehearsal.step_seconds


@dataclass(frozen=True, slots=True)
class Foresight:
    """All strategies' prospects; ``alone``: what a step takes on the fastest device by itself."""

    situation: Situation
    prospects: tuple[Prospect, ...]
    fastest: str
    alone_seconds: float

    def names(self) -> dict[NodeId, str]:
        """What people call the devices."""
        return {member.node: member.name for member in self.situation.members}

    def chosen(self, strategy: str | None) -> Prospect:
        """The prospect of a strategy; of none: the fastest."""
        if strategy is None:
            return min(self.prospects, key=lambda prospect: prospect.step_seconds)
        return next(each for each in self.prospects if PLANNERS[each.strategy] is PLANNERS[strategy])

    def samples_per_second(self, prospect: Prospect) -> float:
        """How many samples a cluster would train on."""
        return self.situation.spec.batch_size / prospect.step_seconds

    def as_object(self) -> dict[str, Any]:
        """For JSON."""
        spec, best = self.situation.spec, self.chosen(None)
        return {
            "job": spec.name,
            "layers": len(spec.layers),
            "batch_size": spec.batch_size,
            "micro_batches": spec.micro_batches,
            "alone": {"name": self.fastest, "step_seconds": self.alone_seconds},
            "best": best.strategy if best.plan is not None else None,
            "strategies": [self._object(prospect) for prospect in self.prospects],
        }

    def _object(self, prospect: Prospect) -> dict[str, Any]:
        if prospect.plan is None or prospect.rehearsal is None:
            return {"strategy": prospect.strategy, "problem": prospect.problem}
        names = self.names()
        return {
            "strategy": prospect.strategy,
            "problem": "",
            "reason": prospect.plan.reason,
            "nodes": [names[node] for node in prospect.plan.nodes()],
            "step_seconds": prospect.step_seconds,
            "first_step_seconds": prospect.rehearsal.first_step_seconds,
            "samples_per_second": self.samples_per_second(prospect),
            "speed_up": self.alone_seconds / prospect.step_seconds,
            "routes": [
                {
                    "hops": [
                        {
                            "node": hop.node,
                            "name": names[hop.node],
                            "first_layer": hop.first_layer,
                            "last_layer": hop.last_layer,
                            "window": hop.window,
                        }
                        for hop in route.hops
                    ],
                    "micro_batches": list(route.micro_batches),
                }
                for route in prospect.plan.routes
            ],
        }


def known_strategies() -> tuple[str, ...]:
    """The names that may be asked for."""
    return tuple(PLANNERS)


def foresee(cluster: ClusterDescription, spec: JobSpec) -> Foresight:
    """Ask every planner, and rehearse what it answers. The source stands for the device that has measured the job."""
    situation = situation_of(cluster, spec)
    names: dict[Planner, str] = {}
    for name, planner in sorted(PLANNERS.items(), key=lambda entry: entry[0] == "auto"):  # which is one of the others
        names.setdefault(planner, name)
    prospects = tuple(_prospect(name, situation) for name in names.values())
    slowness = measured_slowness(situation)
    fastest = min(situation.members, key=lambda member: (slowness[member.node], member.node))
    layers, micro_batches = len(situation.spec.layers), situation.spec.micro_batches
    route = Route((Hop(fastest.node, 0, layers - 1, 1),), tuple(range(micro_batches)))
    alone = Plan(Stamp(JOB, 1, 0), "alone", "", layers, micro_batches, (route,), 0.0)
    return Foresight(situation, prospects, fastest.name, rehearse(alone, situation).step_seconds)


def situation_of(cluster: ClusterDescription, spec: JobSpec) -> Situation:
    """What a planner would be told in this cluster, once everything in it has been measured."""
    members = tuple(device.record() for device in cluster.devices if device.name not in cluster.absent)
    there = {member.node for member in members}
    given = replace(spec, job=JOB, source=cluster.source.node, source_slowness=cluster.source.slowness)
    return Situation(
        spec=given,
        members=members,
        links=tuple(link for link in link_speeds(cluster) if {link.sender, link.receiver} <= there),
        leader=min(members, key=fitness).node,
        replicas=cluster.replicas,
    )


def _prospect(strategy: str, situation: Situation) -> Prospect:
    try:
        plan = PLANNERS[strategy](situation, Stamp(JOB, 1, 1))
    except JobFailedError as impossible:
        return Prospect(strategy, None, str(impossible), None)
    return Prospect(strategy, plan, "", rehearse(plan, situation))
