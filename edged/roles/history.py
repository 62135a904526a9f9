"""The history of jobs, as the JSON objects of ``edged train --json``, from when this node heard of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.messages import Decided, EvalReport, FinishedReport, RecoveryReport, StepReport
from edged.core.plan import Plan

KEPT_JOBS = 50

KEPT_OBJECTS = 20_000
"""Beyond this the older half of a job's story is thinned out: of its steps and evaluations every second one stays."""

KEPT_OF_THE_PAST = 2_000
"""To so few objects the story of a job that is over is thinned out when another job begins."""

Follower = Callable[[Mapping[str, Any]], None]


class Story:
    """What happened to one job so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.objects: list[Mapping[str, Any]] = []
        self.ended = False
        self._followers: list[Follower] = []
        self._latest: dict[str, tuple[Any, ...]] = {}
        self._newest: dict[str, Mapping[str, Any]] = {}

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Call ``follower`` with every further object; the returned function ends that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def add(self, place: tuple[Any, ...], document: Mapping[str, Any]) -> bool:
        """Add an object, unless one of its kind with this ``place`` or a later one was added: messages are repeated.

        Nothing follows an end. Returns whether it was added.
        """
        kind = document["event"]
        if self.ended or place <= self._latest.get(kind, ()):
            return False
        self._latest[kind] = place
        self.ended = kind in {"finished", "failed"}
        self.objects.append(document)
        self._newest[kind] = document
        if len(self.objects) > KEPT_OBJECTS:
            self.thin(KEPT_OBJECTS)
        for follower in tuple(self._followers):
            follower(document)
        return True

    def newest(self, event: str) -> Mapping[str, Any] | None:
        """The newest object of this kind."""
        return self._newest.get(event)

    def thin(self, most: int) -> None:
        """Leave at most ``most`` objects: the first and the last, of the older ones ever fewer."""
        while len(self.objects) > most:
            half = max(2, len(self.objects) // 2)
            self.objects = [self.objects[0], *self.objects[1:half:2], *self.objects[half:]]


class History:
    """The stories of the latest jobs."""

    def __init__(self) -> None:
        """No jobs yet."""
        self._stories: dict[JobId, Story] = {}

    def story(self, job: JobId) -> Story:
        """The story of a job, begun if this is the first that is heard of it."""
        if job not in self._stories:
            for story in self._stories.values():
                if story.ended:
                    story.thin(KEPT_OF_THE_PAST)
            self._stories[job] = Story()
            while len(self._stories) > KEPT_JOBS:
                over = (known for known, story in self._stories.items() if story.ended)
                del self._stories[next(over, next(iter(self._stories)))]
        return self._stories[job]

    def started(self, spec: JobSpec) -> None:
        """The job is known."""
        self.story(spec.job).add(
            (1,),
            {
                "event": "started",
                "job": spec.job,
                "name": spec.name,
                "layers": len(spec.layers),
                "parameters": spec.parameters,
                "steps": spec.steps,
            },
        )

    def planned(self, plan: Plan, names: Mapping[NodeId, str]) -> bool:
        """A plan was chosen; returns whether that was news."""
        return self.story(plan.stamp.job).add((plan.stamp,), {"event": "plan", **plan_document(plan, names)})

    def step(self, report: StepReport) -> bool:
        """A step was done; returns whether that was news. What was rolled back is told again by the plan after it."""
        return self.story(report.stamp.job).add(
            (report.stamp, report.step),
            {
                "event": "step",
                "step": report.step,
                "epoch": report.epoch,
                "loss": report.loss,
                "samples_per_second": report.samples_per_second,
                "learning_rate": report.learning_rate,
            },
        )

    def recovered(self, report: RecoveryReport) -> bool:
        """A new plan goes on; returns whether that was news."""
        return self.story(report.stamp.job).add(
            (report.stamp,),
            {
                "event": "recovery",
                "cause": report.cause,
                "nodes": list(report.nodes),
                "rolled_back_to": report.rolled_back_to,
                "pause_seconds": report.pause_seconds,
                "moved_bytes": report.moved_bytes,
                "text": report.text,
            },
        )

    def decided(self, decided: Decided) -> bool:
        """The leader has thought about another plan; returns whether that was news."""
        return self.story(decided.stamp.job).add(
            (decided.asked, 0),
            {
                "event": "decision",
                "changes": decided.changes,
                "text": decided.text,
                "predicted_step_seconds": decided.step_seconds or None,
            },
        )

    def evaluated(self, report: EvalReport) -> bool:
        """An epoch was evaluated; returns whether that was news."""
        return self.story(report.stamp.job).add(
            (report.stamp, report.step),
            {"event": "eval", "epoch": report.epoch, "loss": report.loss, "metrics": dict(report.metrics)},
        )

    def finished(self, report: FinishedReport) -> None:
        """The result is written."""
        self.story(report.stamp.job).add(
            (1,),
            {
                "event": "finished",
                "steps": report.steps,
                "loss": report.loss,
                "seconds": report.seconds,
                "output": report.output,
                "state_sha256": report.state_sha256,
            },
        )

    def waiting(self, job: JobId, reason: str) -> bool:
        """The job waits for something; returns whether that was news: once more, if it went on in between."""
        story = self.story(job)
        document = {"event": "waiting", "reason": reason}
        if story.objects and story.objects[-1] == document:
            return False
        return story.add((time.monotonic(),), document)

    def failed(self, job: JobId, reason: str, detail: str = "") -> None:
        """The job ended without a result. ``detail``: the traceback of the user's code, where that was the reason."""
        document = {"event": "failed", "reason": reason}
        self.story(job).add((1,), {**document, "detail": detail} if detail else document)


def plan_document(plan: Plan, names: Mapping[NodeId, str]) -> dict[str, Any]:
    """A plan as a JSON object, with the nodes' names."""
    return {
        "term": plan.stamp.term,
        "version": plan.stamp.version,
        "strategy": plan.strategy,
        "reason": plan.reason,
        "predicted_step_seconds": plan.predicted_step_seconds,
        "routes": [
            {
                "hops": [
                    {
                        "node": hop.node,
                        "name": names.get(hop.node, hop.node),
                        "first_layer": hop.first_layer,
                        "last_layer": hop.last_layer,
                    }
                    for hop in route.hops
                ],
                "micro_batches": list(route.micro_batches),
            }
            for route in plan.routes
        ],
    }
