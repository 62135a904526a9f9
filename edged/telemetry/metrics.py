"""The metrics that a node shows, as one table, and the text in which Prometheus reads them (exposition format 0.0.4).

Pure: facts in, text out. The facts are the status object and what ``roles/meter.py`` adds to it. A metric without a
value (no job runs, nothing is measured yet) has no line. ``docs/metrics.md`` has the same table.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

MEMBER_STATES: Final = ("alive", "suspect", "left", "dead")
JOB_STATES: Final = ("queued", "preparing", "running", "paused", "waiting", "finished", "failed", "stopped")
CAUSES: Final = ("died", "expelled", "left", "joined", "slow", "leader", "paused", "link", "restarted")

Facts = Mapping[str, Any]
Sample = tuple[tuple[str, ...], float | None]
"""Values of the labels, and the number; ``None`` where there is none."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its name with its unit, what it says, its labels, and its samples in the facts."""

    name: str
    text: str
    labels: tuple[str, ...]
    samples: Callable[[Facts], Iterable[Sample]]

    @property
    def kind(self) -> str:
        """``counter`` for what only grows while the node runs, else ``gauge``."""
        return "counter" if self.name.endswith("_total") else "gauge"


def exposition(facts: Facts) -> str:
    """All metrics that have a value."""
    return "".join(f"{line}\n" for metric in METRICS for line in _lines(metric, facts))


def _lines(metric: Metric, facts: Facts) -> Iterator[str]:
    samples = [(values, number) for values, number in metric.samples(facts) if number is not None]
    if samples:
        yield f"# HELP {metric.name} {_escaped(metric.text)}"
        yield f"# TYPE {metric.name} {metric.kind}"
    for values, number in samples:
        pairs = ",".join(
            f'{label}="{_escaped(value, quotes=True)}"' for label, value in zip(metric.labels, values, strict=True)
        )
        yield f"{metric.name}{{{pairs}}} {_number(number)}" if pairs else f"{metric.name} {_number(number)}"


def _escaped(text: str, *, quotes: bool = False) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"') if quotes else text


def _number(number: float) -> str:
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "+Inf" if number > 0 else "-Inf"
    return repr(number + 0)  # a truth becomes a number


# ---------------------------------------------------------------------------------------- where samples are


def _one(text: str, name: str, value: Callable[[Facts], float | None]) -> Metric:
    """A metric of the node or its process, without labels."""
    return Metric(name, text, (), lambda facts: [((), value(facts))])


def _total(text: str, name: str, counted: str) -> Metric:
    """A counter of ``telemetry.counters``."""
    return _one(text, name, lambda facts: facts["totals"].get(counted, 0))


def _member(text: str, name: str, value: Callable[[Facts], float | None]) -> Metric:
    """A metric of every member that is there."""

    def samples(facts: Facts) -> Iterator[Sample]:
        for member in facts["status"]["members"]:
            if member["state"] in {"alive", "suspect"}:
                yield (member["node"], member["name"]), value(member)

    return Metric(name, text, ("node", "name"), samples)


def _stage(text: str, name: str, value: Callable[[int, int], float]) -> Metric:
    """A metric of every member that runs layers; ``value`` takes the first and the last."""
    return _member(text, name, lambda member: value(*member["layers"]) if member["layers"] else None)


def _job(text: str, name: str, value: Callable[[Facts], float | None]) -> Metric:
    """A metric of the job that runs (else the next one, else the latest)."""

    def samples(facts: Facts) -> Iterator[Sample]:
        job = facts["status"]["job"]
        if job is not None:
            yield (job["job"], job["name"]), value(facts)

    return Metric(name, text, ("id", "name"), samples)


def _of_job(text: str, name: str, key: str) -> Metric:
    return _job(text, name, lambda facts: facts["status"]["job"][key])


def _link(text: str, name: str, value: Callable[[Facts], float | None]) -> Metric:
    """A metric of this node's link to every peer."""

    def samples(facts: Facts) -> Iterator[Sample]:
        for link in facts["links"]:
            yield (link["node"], link["name"]), value(link)

    return Metric(name, text, ("peer", "peer_name"), samples)


def _protection(text: str, name: str, key: str) -> Metric:
    return _job(text, name, lambda facts: (facts["status"]["protection"] or {}).get(key))


def _would_wait(facts: Facts) -> float | None:
    protection = facts["status"]["protection"]
    return None if protection is None else sum(not verdict["survives"] for verdict in protection["if_died"])


def _build(facts: Facts) -> Iterator[Sample]:
    status = facts["status"]
    yield (facts["release"], str(facts["protocol"]), status["cluster"], status["node"], status["name"]), 1


def _leader(facts: Facts) -> Iterator[Sample]:
    names = {member["node"]: member["name"] for member in facts["status"]["members"]}
    leader = facts["status"]["leader"]
    if leader is not None:
        yield (leader, names.get(leader, leader)), 1


def _members(facts: Facts) -> Iterator[Sample]:
    states = [member["state"] for member in facts["status"]["members"]]
    yield from (((state,), states.count(state)) for state in MEMBER_STATES)


def _jobs(facts: Facts) -> Iterator[Sample]:
    yield from (((state,), facts["job_states"].count(state)) for state in JOB_STATES)


def _job_info(facts: Facts) -> Iterator[Sample]:
    job, plan = facts["status"]["job"], facts["status"]["plan"]
    if job is not None:
        strategy = plan["strategy"] if plan is not None else ""
        yield (job["job"], job["name"], job["state"], job["source"], strategy), 1


def _recoveries(facts: Facts) -> Iterator[Sample]:
    counted = facts["recoveries"]
    yield from (((cause,), counted.get(cause, 0)) for cause in dict.fromkeys([*CAUSES, *sorted(counted)]))


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "edged_build_info",
        "1; this node: the release of edged, its protocol, its cluster, its id and name",
        ("release", "protocol", "cluster", "node", "name"),
        _build,
    ),
    _one("1 if /readyz says that this node is ready", "edged_ready", lambda facts: not facts["not_ready"]),
    _one(
        "1 if this node leads",
        "edged_leads",
        lambda facts: facts["status"]["leader"] == facts["status"]["node"],
    ),
    Metric("edged_leader_info", "1; who leads, as this node knows it", ("node", "name"), _leader),
    _one("Number of the leadership; it grows with every election", "edged_term", lambda facts: facts["status"]["term"]),
    _one(
        "1 while this node belongs to a fork, whose results may have to be computed again",
        "edged_tentative",
        lambda facts: bool(facts["status"]["tentative"]),
    ),
    Metric("edged_members", "Members by state", ("state",), _members),
    _member(
        "How slow the member is, relative to a reference: measured at work, before that calibrated; 0 until measured",
        "edged_member_slowness_ratio",
        lambda member: member["slowness"],
    ),
    _member("Memory that training may use", "edged_member_memory_bytes", lambda member: member["memory_bytes"]),
    _member("Memory of the node's process", "edged_member_resident_bytes", lambda member: member["resident_bytes"]),
    _member(
        "Share of the last second in which the member computed, 0 to 1",
        "edged_member_utilisation_ratio",
        lambda member: member["busy"],
    ),
    _member(
        "Forward and backward of one micro-batch, median",
        "edged_member_micro_batch_seconds",
        lambda member: member["micro_batch_seconds"],
    ),
    _member("Steps that the member's weights have made", "edged_member_weight_version", lambda m: m["weight_version"]),
    _stage("Layers that the member runs", "edged_stage_layers", lambda first, last: last - first + 1),
    _stage("First layer that the member runs", "edged_stage_first_layer", lambda first, _: first),
    _stage("Last layer that the member runs", "edged_stage_last_layer", lambda _, last: last),
    Metric("edged_jobs", "Jobs on the list by state", ("state",), _jobs),
    Metric(
        "edged_job_info",
        "1; the job that runs (else the next, else the latest): its state, source and strategy",
        ("id", "name", "state", "source", "strategy"),
        _job_info,
    ),
    _of_job("Steps done; less than before after a roll-back", "edged_job_step", "step"),
    _of_job("Steps in all", "edged_job_steps", "steps"),
    _of_job("Epoch of the newest step, from 0", "edged_job_epoch", "epoch"),
    _of_job("Loss of the newest step", "edged_loss", "loss"),
    _of_job("Learning rate of the newest step", "edged_learning_rate", "learning_rate"),
    _of_job("Samples trained per second in the newest step", "edged_samples_per_second", "samples_per_second"),
    _job("Time of the newest step", "edged_step_seconds", lambda facts: facts["step_seconds"]),
    _job(
        "Time of a step as the planner predicted it",
        "edged_predicted_step_seconds",
        lambda facts: (facts["status"]["plan"] or {}).get("predicted_step_seconds"),
    ),
    _job("Time left at the present speed", "edged_job_left_seconds", lambda f: f["status"]["view"]["seconds_left"]),
    _one(
        "When this node heard of a step last, since 1970", "edged_last_step_timestamp_seconds", lambda f: f["step_at"]
    ),
    _protection("1 if the plan that runs has committed a version", "edged_protected", "protected"),
    _protection("Age of the newest committed version", "edged_replica_age_seconds", "age_seconds"),
    _protection("The same in steps: done again if a node died now", "edged_replica_age_steps", "age_steps"),
    _job("Members whose death the job would not survive without waiting", "edged_indispensable_members", _would_wait),
    _total("Steps done while this node ran, repeated ones too", "edged_steps_total", "steps"),
    _total("Steps that were done again after a roll-back", "edged_steps_repeated_total", "steps repeated"),
    _total("Samples of these steps", "edged_samples_total", "samples"),
    Metric("edged_recoveries_total", "Changes of plan by cause, the first plan excluded", ("cause",), _recoveries),
    _total("Time in which training stood for them", "edged_recovery_pause_seconds_total", "recovery seconds"),
    _total("Layers' state that moved for them", "edged_recovery_moved_bytes_total", "recovery bytes"),
    _link("Round trip of the latest pings", "edged_link_round_trip_seconds", lambda link: link["round_trip_seconds"]),
    _link("Bytes sent to the peer", "edged_link_sent_bytes_total", lambda link: link["sent_bytes"]),
    _link("Bytes received from the peer", "edged_link_received_bytes_total", lambda link: link["received_bytes"]),
    _link(
        "What the link to the peer carries, as measured by what was sent over it",
        "edged_link_bandwidth_bytes_per_second",
        lambda link: link["bytes_per_second"],
    ),
    _link("Bytes that wait to be sent to the peer", "edged_link_queued_bytes", lambda link: link["queued_bytes"]),
    _one(
        "Time in which this node's compute thread was busy",
        "edged_compute_busy_seconds_total",
        lambda facts: facts["busy_seconds"],
    ),
    _total("Events that the node's core has handled", "edged_events_total", "events"),
    _total("Control messages received", "edged_messages_received_total", "messages received"),
    _total("Parcels (tensors, layers, samples) received", "edged_parcels_received_total", "parcels received"),
    _total("Parcels sent", "edged_parcels_sent_total", "parcels sent"),
    _one("Processor time of the process", "process_cpu_seconds_total", lambda facts: facts["process"]["cpu_seconds"]),
    _one("Memory of the process", "process_resident_memory_bytes", lambda facts: facts["process"]["resident_bytes"]),
    _one("When the process began, since 1970", "process_start_time_seconds", lambda facts: facts["process"]["began"]),
)
"""Everything that ``/metrics`` may show, in its order."""
