"""The history of jobs, as the JSON objects of ``edged train --json``: any device can follow any job from its start."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edged.core.ids import JobId, NodeId
from edged.core.job import JobSpec
from edged.core.messages import EvalReport, FinishedReport, StepReport
from edged.core.plan import Plan

KEPT_JOBS = 50
KEPT_OBJECTS = 100_000
"""Beyond this a job's oldest steps are forgotten, half of them at a time; its start and its plans stay."""

Follower = Callable[[Mapping[str, Any]], None]


class Story:
    """What happened to one job so far."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.objects: list[Mapping[str, Any]] = []
        self.ended = False
        self._followers: list[Follower] = []
        self._seen: set[object] = set()

    def follow(self, follower: Follower) -> Callable[[], None]:
        """Call ``follower`` with every further object; the returned function ends that."""
        self._followers.append(follower)
        return lambda: self._followers.remove(follower)

    def add(self, key: object, document: Mapping[str, Any]) -> None:
        """Add an object unless one with the same ``key`` was added: messages are repeated. Nothing follows an end."""
        if self.ended or key in self._seen:
            return
        self._seen.add(key)
        self.ended = document["event"] in {"finished", "failed"}
        self.objects.append(document)
        if len(self.objects) > KEPT_OBJECTS:
            self._thin()
        for follower in tuple(self._followers):
            follower(document)

    def newest(self, event: str) -> Mapping[str, Any] | None:
        """The newest object of this kind."""
        return next((item for item in reversed(self.objects) if item["event"] == event), None)

    def _thin(self) -> None:
        half = len(self.objects) // 2
        self.objects = [item for item in self.objects[:half] if item["event"] != "step"] + self.objects[half:]


class History:
    """The stories of the latest jobs."""

    def __init__(self) -> None:
        """No jobs yet."""
        self._stories: dict[JobId, Story] = {}

    def story(self, job: JobId) -> Story:
        """The story of a job, begun if this is the first that is heard of it."""
        if job not in self._stories:
            self._stories[job] = Story()
            while len(self._stories) > KEPT_JOBS:
                del self._stories[next(iter(self._stories))]
        return self._stories[job]

    def started(self, spec: JobSpec) -> None:
        """The job is known."""
        self.story(spec.job).add(
            "started",
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
        story = self.story(plan.stamp.job)
        before = len(story.objects)
        story.add(("plan", plan.stamp), {"event": "plan", **plan_document(plan, names)})
        return len(story.objects) != before

    def step(self, report: StepReport) -> None:
        """A step was done."""
        self.story(report.stamp.job).add(
            ("step", report.stamp, report.step),
            {
                "event": "step",
                "step": report.step,
                "epoch": report.epoch,
                "loss": report.loss,
                "samples_per_second": report.samples_per_second,
                "learning_rate": report.learning_rate,
            },
        )

    def evaluated(self, report: EvalReport) -> None:
        """An epoch was evaluated."""
        self.story(report.stamp.job).add(
            ("eval", report.stamp, report.step),
            {"event": "eval", "epoch": report.epoch, "loss": report.loss, "metrics": dict(report.metrics)},
        )

    def finished(self, report: FinishedReport) -> None:
        """The result is written."""
        self.story(report.stamp.job).add(
            "end",
            {
                "event": "finished",
                "steps": report.steps,
                "loss": report.loss,
                "seconds": report.seconds,
                "output": report.output,
                "state_sha256": report.state_sha256,
            },
        )

    def failed(self, job: JobId, reason: str, detail: str = "") -> None:
        """The job ended without a result. ``detail``: the traceback of the user's code, where that was the reason."""
        document = {"event": "failed", "reason": reason}
        self.story(job).add("end", {**document, "detail": detail} if detail else document)


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
