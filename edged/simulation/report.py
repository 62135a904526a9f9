"""A run's figures as plain values: one object for machines, rows of a table for people."""

from __future__ import annotations

from typing import Any

from edged.simulation.cluster import SimulatedCluster
from edged.simulation.outcome import Spread, detection, recoveries, successions, throughput

_AWAY = {"kill": "killed", "unplug": "unplugged", "stop": "stopped"}


def figures(run: SimulatedCluster, seed: int) -> dict[str, Any]:
    """Everything, in seconds of the virtual clock; equal for equal files and seeds."""
    log, cluster = run.log, run.cluster
    names = {device.node: device.name for device in cluster.devices}
    found = detection(log, run.living())
    batch = 0 if cluster.job is None else cluster.job.micro_batches * cluster.job.micro_batch_size
    made = throughput(log, batch, run.seconds)
    return {
        "nodes": len(cluster.devices),
        "seconds": run.seconds,
        "seed": seed,
        "faults": dict(log.faults),
        "detection": {
            _AWAY[kind]: {
                "count": sum(harm.kind == kind for harm in log.harms),
                "first": both["first"].as_object(),
                "all": both["all"].as_object(),
            }
            for kind, both in found.items()
        },
        "called_dead_wrongly": len({node for _, node in log.called_dead_wrongly}),
        "election": {
            "first_seconds": log.elected[0][0] if log.elected else None,
            "elections": len(log.elected),
            "leader": names.get(log.leader) if log.leader is not None else None,
            "after_a_loss": successions(log).as_object(),
        },
        "recovery": {cause: pauses.as_object() for cause, pauses in recoveries(log).items()},
        "events": [{"at": at, "cause": report.cause, "text": report.text} for at, report in log.recoveries],
        "throughput": {
            "steps": made.steps,
            "steps_again": made.steps_again,
            "samples_per_second": made.samples_per_second,
            "steady_samples_per_second": made.steady,
            "longest_pause_seconds": made.longest_pause,
        },
        "traffic": {
            "messages": run.simulation.messages_sent,
            "messages_per_node_and_second": run.simulation.messages_sent / len(cluster.devices) / run.seconds,
            "parcel_bytes": run.freight.sent_bytes,
        },
        "job": run.job_state(),
    }


def rows(run: SimulatedCluster) -> list[tuple[str, str, str, str]]:
    """What, how often, median and worst, in words."""
    log = run.log
    found: list[tuple[str, Spread]] = []
    for kind, both in detection(log, run.living()).items():
        found.append((f"{_AWAY[kind]}: until the first noticed", both["first"]))
        found.append((f"{_AWAY[kind]}: until everybody knew", both["all"]))
    if log.elected:
        found.append(("start: until a leader led", Spread(1, log.elected[0][0], log.elected[0][0])))
    if any(harm.led for harm in log.harms):
        found.append(("leader lost: until another led", successions(log)))
    for cause, pauses in recoveries(log).items():
        found.append((f"{cause}: pause of the job", pauses))
    return [(what, str(each.count), _seconds(each.median), _seconds(each.worst)) for what, each in found]


def sentences(run: SimulatedCluster) -> list[str]:
    """How the job went, what it took, and what must not happen."""
    log, job = run.log, run.cluster.job
    said = []
    if job is not None:
        made = throughput(log, job.micro_batches * job.micro_batch_size, run.seconds)
        again = f", and {made.steps_again} computed again" if made.steps_again else ""
        said.append(f"job: {run.job_state() or 'nobody has heard of it'}; {made.steps} steps{again}")
        if made.steady is not None and made.samples_per_second is not None:
            said.append(
                f"throughput: {made.samples_per_second:.1f} samples/s in all, {made.steady:.1f} while undisturbed; "
                f"the longest pause {made.longest_pause:.1f} s"
            )
    count, seconds = len(run.cluster.devices), run.seconds
    each = run.simulation.messages_sent / count / seconds
    said.append(f"traffic: {each:.1f} messages a second and node, {run.freight.sent_bytes / 1e6:.0f} MB of parcels")
    wrongly = len({node for _, node in log.called_dead_wrongly})
    said.append(f"called dead though they were there: {wrongly or 'nobody'}")
    return said


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f} s"
