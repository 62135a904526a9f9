"""The status object: what ``edged status --json`` prints and the live view draws, made from the observer's picture."""

from __future__ import annotations

from typing import Any

from edged.core.ids import NodeId
from edged.core.joblist import ENDED
from edged.core.messages import JobRecord, MemberRecord, MemberState, NodeReport
from edged.core.plan import Plan
from edged.core.traffic import bytes_per_step
from edged.roles.history import plan_document
from edged.roles.observer import Observer, why_it_stands
from edged.roles.outlook import WORKING, newest_step, protection_document, replicas_of


def status_document(observer: Observer, cluster: str) -> dict[str, Any]:
    """The whole object, in the form that the user interface promises."""
    job = observer.current()
    plan = observer.plans.get(job.job) if job is not None else None
    own = observer.members[observer.own_id]
    return {
        "cluster": cluster,
        "node": observer.own_id,
        "name": own.name,
        "term": observer.term,
        "leader": observer.leader,
        "lineage": observer.lineage,
        "tentative": observer.tentative,
        "members": [_member(observer, record, job, plan) for _, record in sorted(observer.members.items())],
        "job": job_document(observer, job) if job is not None else None,
        "plan": {**plan_document(plan, observer.names()), "decision": observer.decision(plan.stamp.job)}
        if plan is not None
        else None,
        "protection": protection_document(observer, job),
        "traffic": _traffic(observer, job, plan),
        "unmet": [
            {"reason": unmet.reason.value, "address": unmet.address, "text": unmet.text}
            for unmet in observer.contacts.unmet(alone=observer.alone())
        ],
        "view": _view(observer, job),
    }


def job_document(observer: Observer, record: JobRecord) -> dict[str, Any]:
    """One job as ``edged jobs`` lists it, with the newest step's figures."""
    step = observer.history.story(record.job).newest("step") or {}
    return {
        "job": record.job,
        "name": record.name,
        "source": record.source,
        "state": record.state.name.lower(),
        "step": newest_step(observer, record),
        "steps": record.steps,
        "reason": record.reason,
        "epoch": step.get("epoch"),
        "loss": step.get("loss"),
        "samples_per_second": step.get("samples_per_second"),
        "learning_rate": step.get("learning_rate"),
    }


def address(record: MemberRecord) -> str:
    """Where others knock to join this member: host and door, as ZeroMQ writes it."""
    host = record.addresses[0] if record.addresses else "?"
    return f"tcp://{f'[{host}]' if ':' in host else host}:{record.door_port}"


def _member(observer: Observer, record: MemberRecord, job: JobRecord | None, plan: Plan | None) -> dict[str, Any]:
    active = plan is not None and job is not None and job.state in WORKING
    hops = plan.hops_of(record.node) if plan is not None and active else ()
    report = observer.reports.get(record.node)
    alive = record.state in {MemberState.ALIVE, MemberState.SUSPECT}
    return {
        "node": record.node,
        "name": record.name,
        "address": address(record),
        "state": record.state.name.lower(),
        "expelled": record.expelled,
        "roles": _roles(observer, record.node, job, bool(hops)) if alive else [],
        "slowness": _slowness(observer, record, report),
        "memory_bytes": record.memory_bytes,
        "device": record.device,
        "layers": [min(hop.first_layer for _, _, hop in hops), max(hop.last_layer for _, _, hop in hops)]
        if hops
        else None,
        "weight_version": report.weight_version if report is not None and hops else None,
        "replicas": replicas_of(observer, record.node, job),
        "links": _links(report),
        "busy": report.busy if report is not None else 0.0,
        "micro_batch_seconds": report.micro_batch_seconds if report is not None else 0.0,
        "resident_bytes": report.resident_bytes if report is not None else 0,
    }


def _slowness(observer: Observer, record: MemberRecord, report: NodeReport | None) -> float:
    """Relative to the fixed reference: as measured at work for the newest job, else as calibrated."""
    spec = observer.specs.get(report.job) if report is not None else None
    if report is None or spec is None or report.slowness <= 0.0:
        return record.slowness
    return report.slowness * (spec.source_slowness or 1.0)


def _roles(observer: Observer, node: NodeId, job: JobRecord | None, works: bool) -> list[str]:  # noqa: FBT001 - a fact
    active = job is not None and job.state not in ENDED
    roles = {
        "leader": node == observer.leader,
        "source": active and job is not None and job.source == node,
        "worker": works,
    }
    return [role for role, worn in roles.items() if worn]


def _links(report: NodeReport | None) -> dict[str, dict[str, float | None]]:
    if report is None:
        return {}
    return {
        link.peer: {
            "round_trip_seconds": link.round_trip_seconds,
            "bytes_per_second": link.sent_bytes_per_second,
            "latency_seconds": link.startup_seconds if link.bytes_per_second else None,
            "bandwidth_bytes_per_second": link.bytes_per_second or None,
        }
        for link in report.links
    }


def _view(observer: Observer, job: JobRecord | None) -> dict[str, Any]:
    losses = observer.losses.get(job.job) if job is not None else None
    story = observer.history.story(job.job) if job is not None else None
    step = (story.newest("step") if story is not None else None) or {}
    spec = observer.specs.get(job.job) if job is not None else None
    speed = step.get("samples_per_second")
    return {
        "loss": [[number, loss] for number, loss in losses.points()] if losses is not None else [],
        "samples_per_second": speed,
        "asynchronous": spec is not None and spec.asynchronous,
        "evaluation": story.newest("eval") if story is not None else None,
        "seconds_left": _seconds_left(observer, job, step.get("step", 0), speed),
        "events": [{"time": moment, "text": text} for moment, text in observer.events],
        "links": {node: _links(report) for node, report in observer.reports.items()},
        "waiting": _waiting(observer, job),
    }


def _seconds_left(observer: Observer, job: JobRecord | None, step: int, speed: float | None) -> float | None:
    spec = observer.specs.get(job.job) if job is not None else None
    if spec is None or not speed:
        return None
    return max(0, spec.steps - step) * spec.batch_size / speed


def _traffic(observer: Observer, job: JobRecord | None, plan: Plan | None) -> list[dict[str, Any]]:
    """What the running job sends over each link: in a step, and in a second at the pace of the newest step."""
    spec = observer.specs.get(job.job) if job is not None else None
    if spec is None or job is None or plan is None or job.state not in WORKING:
        return []
    speed = (observer.history.story(job.job).newest("step") or {}).get("samples_per_second")
    return [
        {
            "sender": sender,
            "receiver": receiver,
            "bytes_per_step": amount,
            "bytes_per_second": amount * speed / spec.batch_size if speed else None,
        }
        for (sender, receiver), amount in sorted(bytes_per_step(spec, plan).items())
    ]


def _waiting(observer: Observer, job: JobRecord | None) -> str:
    if observer.leader is None:
        return observer.election_says or "nobody is elected yet"
    if job is None:
        return ""
    return why_it_stands(job) or observer.waiting.get(job.job, "")
