"""The cluster, as the node that runs in this home sees it: from its status object alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.doctor.amounts import seconds_in_words, size
from edged.doctor.finding import Finding, Level

SLOW_SECONDS = 0.05
FULL_SHARE = 0.5
"""More than this share of a link's nominal speed is seldom had, above all on Wi-Fi."""

NOTES = frozenset({"cluster", "nobody"})
"""Reasons that are nobody's fault."""

PROBLEMS = frozenset({"expelled", "twin", "key", "version", "refused"})
REMEDIES = {
    "expelled": "a new home (`edged join --home DIR`) with the key of `edged key join-command`",
    "twin": "rm identity.json in the home that is the copy, then `edged join` there",
    "key": "edged join --key ..., as `edged key join-command` prints it on the other device",
    "version": "pip install --upgrade edged, on the device with the older one",
    "refused": "edged join --cluster NAME, as the sentence says",
    "unreachable": "start `edged join` there, open its three ports, or name another --seed HOST:PORT",
    "multicast": "edged join --seed HOST:PORT, or let UDP port 5353 through",
    "cluster": "edged key join-command there, if the two belong together, and type here what it prints",
    "nobody": "edged key join-command prints the line to type on another device",
}


def judge_cluster(status: Mapping[str, Any] | None, link_speed: float) -> list[Finding]:
    """What the node says; ``None``: none runs. ``link_speed``: bytes per second that this device's link is made for."""
    if status is None:
        return [Finding("node", Level.NOTE, "no node runs in this home: `edged join` starts one")]
    peers = len(status["members"]) - 1
    told = f"{status['name']} runs in cluster {status['cluster']!r} and knows {peers} other{'s' * (peers != 1)}"
    return [
        Finding("node", Level.OK, told),
        _leader(status),
        *_members(status),
        *_links(status),
        *_job_links(status, link_speed),
        *(_unmet(each) for each in status.get("unmet", ())),
    ]


def _leader(status: Mapping[str, Any]) -> Finding:
    if status["leader"]:
        return Finding("leader", Level.OK, f"{_names(status).get(status['leader'], status['leader'])} leads")
    why = status.get("view", {}).get("waiting") or "nobody is elected yet"
    return Finding("leader", Level.WARNING, f"nobody leads: {why}", "start the nodes that are named, or wait for them")


def _members(status: Mapping[str, Any]) -> list[Finding]:
    others = [member for member in status["members"] if member["node"] != status["node"]]
    silent = [m for m in others if m["state"] == "suspect" or (m["state"] == "dead" and not m.get("expelled"))]
    if silent:
        what = ", ".join(f"{member['name']} is {member['state']} ({member['address']})" for member in silent)
        return [Finding("members", Level.WARNING, what, "edged doctor there; `edged join` if it does not run")]
    if not others:
        return []
    return [Finding("members", Level.OK, ", ".join(f"{member['name']} is {member['state']}" for member in others))]


def _links(status: Mapping[str, Any]) -> list[Finding]:
    names = _names(status)
    own: Mapping[str, Any] = next((member for member in status["members"] if member["node"] == status["node"]), {})
    trips = {peer: link["round_trip_seconds"] for peer, link in own.get("links", {}).items()}
    if not trips:
        return []
    shown = [
        f"{names.get(peer, peer)} answers in {seconds_in_words(trip) if trip else 'an unknown time'}, sends it "
        f"{size(own['links'][peer]['bytes_per_second'])}/s now"
        for peer, trip in sorted(trips.items(), key=lambda item: names.get(item[0], item[0]))
    ]
    if max(trips.values()) > SLOW_SECONDS:
        near = (
            "a cable, or the Wi-Fi nearer to its station (turn its power saving off: `iw dev wlan0 set power_save off`)"
        )
        return [Finding("links", Level.WARNING, "; ".join(shown), near)]
    return [Finding("links", Level.OK, "; ".join(shown))]


def _job_links(status: Mapping[str, Any], link_speed: float) -> list[Finding]:
    """Whether this device's own link can carry what the running job sends and receives over it."""
    names, own = _names(status), status["node"]
    mine = [each for each in status.get("traffic") or () if own in (each["sender"], each["receiver"])]
    rates = [each["bytes_per_second"] for each in mine]
    if not mine or None in rates:
        return []
    shown = "; ".join(
        f"{names.get(each['sender'], each['sender'])} to {names.get(each['receiver'], each['receiver'])} "
        f"{size(each['bytes_per_step'])} a step, {size(each['bytes_per_second'])}/s"
        for each in mine
    )
    busiest = max(
        sum(each["bytes_per_second"] for each in mine if each[side] == own) for side in ("sender", "receiver")
    )
    if link_speed and busiest > FULL_SHARE * link_speed:
        what = f"{shown}; the link is made for {size(link_speed)}/s"
        return [Finding("job-links", Level.WARNING, what, "a faster link, or fewer nodes: `edged leave` on this one")]
    return [Finding("job-links", Level.OK, shown)]


def _unmet(each: Mapping[str, Any]) -> Finding:
    reason = each["reason"]
    level = Level.NOTE if reason in NOTES else Level.PROBLEM if reason in PROBLEMS else Level.WARNING
    return Finding(f"unmet-{reason}", level, each["text"], REMEDIES[reason])


def _names(status: Mapping[str, Any]) -> dict[str, str]:
    return {member["node"]: member["name"] for member in status["members"]}
