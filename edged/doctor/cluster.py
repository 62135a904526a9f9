"""The cluster, as the node that runs in this home sees it: from its status object alone."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor.amounts import seconds_in_words, size
from edged.doctor.finding import Finding, Level

SLOW_SECONDS = 0.05
NOTHING: Mapping[str, Any] = MappingProxyType({})
FULL_SHARE = 0.5
"""More than this share of what a link can carry is too much: more is seldom had of what an interface is made for, above
all on Wi-Fi, and where so much was measured, what crosses it begins to wait."""

UNMEASURED: Mapping[str, str] = MappingProxyType(
    {
        "silent": "took no parcel in time",
        "late": "there was no time to measure what the link carries",
    }
)
"""What a node says of the peers whose links it could not sound."""

NEAR = "a cable, or the Wi-Fi nearer to its station (turn its power saving off: `iw dev wlan0 set power_save off`)"
PORTS = "let its three ports through the firewall there, as `edged doctor` says there"
AGAIN = "edged doctor, once more: those that were not measured come first"

NOTES = frozenset({"cluster", "nobody"})
"""Reasons that are nobody's fault."""

PROBLEMS = frozenset({"expelled", "twin", "key", "version", "refused"})
REMEDIES = {
    "expelled": "a new home (`edged join --home DIR`) with the key of `edged key join-command`",
    "twin": "rm identity.json in the home that is the copy, then `edged join` there",
    "key": "edged join --key ..., as `edged key join-command` prints it on the other device",
    "version": "pip install --upgrade . in a newer checkout, on the device with the older one",
    "refused": "edged join --cluster NAME, as the sentence says",
    "unreachable": "start `edged join` there, open its three ports, or name another --seed HOST:PORT",
    "multicast": "edged join --seed HOST:PORT, or let UDP port 5353 through",
    "cluster": "edged key join-command there, if the two belong together, and type here what it prints",
    "nobody": "edged key join-command prints the line to type on another device",
}


def judge_cluster(
    status: Mapping[str, Any] | None, link_speed: float, ended: str = "", sounding: Mapping[str, Any] = NOTHING
) -> list[Finding]:
    """What the node says; ``None``: none runs, and the last one ``ended`` as this says, if it is known.

    ``link_speed``: bytes per second that this device's link is made for. ``sounding``: what came of sounding its links.
    """
    speaks = f"this edged speaks protocol {PROTOCOL_VERSION}"
    if status is None:
        none = f"no node runs in this home: `edged join` starts one; {speaks}"
        if ended:
            return [Finding("node", Level.WARNING, f"{none}; {ended}", "mend what ended it, then: edged join")]
        return [Finding("node", Level.NOTE, none)]
    peers = len(status["members"]) - 1
    told = f"{status['name']} runs in cluster {status['cluster']!r} and knows {peers} other{'s' * (peers != 1)}"
    return [
        Finding("node", Level.OK, f"{told}; {speaks}"),
        _leader(status),
        *_members(status),
        *_links(status, sounding),
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


def _links(status: Mapping[str, Any], sounding: Mapping[str, Any]) -> list[Finding]:
    """How late and how broad the way to each peer is, and which of them could not be measured."""
    names, links = _names(status), _sent(status).get(status["node"], {})
    known = {peer for peer, link in links.items() if link["bandwidth_bytes_per_second"]}
    unmeasured = {peer: "late" for peer in sounding.get("late", ()) if peer not in known}
    unmeasured |= dict.fromkeys(sounding.get("silent", ()), "silent")
    peers = sorted({*links, *unmeasured}, key=lambda peer: names.get(peer, peer))
    if not peers:
        return []
    what = "; ".join(
        f"{names.get(peer, peer)} {_measured(links.get(peer, NOTHING), unmeasured.get(peer, ''))}" for peer in peers
    )
    if max((link["round_trip_seconds"] for link in links.values()), default=0.0) > SLOW_SECONDS:
        return [Finding("links", Level.WARNING, what, NEAR)]
    if "silent" in unmeasured.values():
        return [Finding("links", Level.WARNING, what, PORTS)]
    return [Finding("links", Level.NOTE, what, AGAIN) if unmeasured else Finding("links", Level.OK, what)]


def _measured(link: Mapping[str, Any], unmeasured: str) -> str:
    trip, most = link.get("round_trip_seconds"), link.get("bandwidth_bytes_per_second")
    answers = f"answers in {seconds_in_words(trip)}" if trip else "has not answered yet"
    carries = f"carries {size(most)}/s (measured)" if most else "too little has gone to tell what the link carries"
    carries = UNMEASURED.get(unmeasured, carries)
    return f"{answers}, {carries}, {size(link.get('bytes_per_second', 0.0))}/s now"


def _job_links(status: Mapping[str, Any], link_speed: float) -> list[Finding]:
    """Whether each link can carry what the running job sends over it: by what was measured there.

    Where nothing was, a link of this device's own is taken for what the interface is made for.
    """
    names, links = _names(status), _sent(status)
    shown: list[str] = []
    full: list[str] = []
    for each in status.get("traffic") or ():
        sender, receiver, rate = each["sender"], each["receiver"], each["bytes_per_second"]
        if rate is None:
            return []
        most = links.get(sender, {}).get(receiver, {}).get("bandwidth_bytes_per_second")
        nominal = link_speed if status["node"] in {sender, receiver} else 0.0
        able = f" of {size(most)}/s (measured)" if most else f" of {size(nominal)}/s (nominal)" if nominal else ""
        what = f"{names.get(sender, sender)} to {names.get(receiver, receiver)} {size(each['bytes_per_step'])} a step"
        shown.append(f"{what}, {size(rate)}/s{able}")
        if able and rate > FULL_SHARE * (most or nominal):
            full.append(shown[-1])
    if full:
        remedy = "a faster link between the two, or fewer nodes: `edged leave` on one of them"
        return [Finding("job-links", Level.WARNING, "; ".join(full), remedy)]
    return [Finding("job-links", Level.OK, "; ".join(shown))] if shown else []


def _unmet(each: Mapping[str, Any]) -> Finding:
    reason = each["reason"]
    level = Level.NOTE if reason in NOTES else Level.PROBLEM if reason in PROBLEMS else Level.WARNING
    return Finding(f"unmet-{reason}", level, each["text"], REMEDIES[reason])


def _names(status: Mapping[str, Any]) -> dict[str, str]:
    return {member["node"]: member["name"] for member in status["members"]}


def _sent(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What each member knows of its ways to others, by its peers."""
    return {member["node"]: member.get("links", {}) for member in status["members"]}
