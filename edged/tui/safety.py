"""Where replicas lie, how old they are, and what the job would survive, as lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edged.core.plan import layer_numbers
from edged.tui import cells, words

SILENT = (
    ("wait", "any one node may be killed; if one only falls silent, the job waits for it"),
    ("fork", "any one node may be killed; if one only falls silent, a fork goes on"),
)
"""Where those that are left would be no majority, by what follows: the worst first."""


def is_safe(status: Mapping[str, Any]) -> bool:
    """Whether nothing is lacking, and any one node may die without the job's having to wait for it.

    What relies on nodes that do not answer just now is not safe.
    """
    protection = status.get("protection") or {}
    if protection.get("lacks"):
        return False
    if not protection.get("protected"):
        return False
    return all(
        each["survives"] and not each.get("relies_on") and each.get("if_silent") != "wait"
        for each in protection["if_died"]
    )


def headline(status: Mapping[str, Any]) -> str:
    """One line for the live view; empty without a job that goes on."""
    protection = status.get("protection")
    if not protection:
        return ""
    if protection.get("lacks"):
        return str(protection["lacks"]["text"])
    waited_for = [each for each in protection["if_died"] if not each["survives"]]
    names = {member["node"]: member["name"] for member in status.get("members", ())}
    if not protection["protected"]:
        return "unprotected until a version is committed"
    steps = protection["age_steps"]
    age = f"{steps} {'step' if steps == 1 else 'steps'}, {words.duration(protection['age_seconds'])} old"
    kept = "replicas" if any(cover["replicas"] for cover in protection["layers"]) else "snapshot"
    kept = f"{kept}: version {protection['version']}, {age}"
    doubtful = sorted({node for each in protection["if_died"] for node in each.get("relies_on", ())})
    if not waited_for and doubtful:
        answers = "does not answer just now" if len(doubtful) == 1 else "do not answer just now"
        return f"{kept}; {', '.join(names.get(node, node) for node in doubtful)} {answers}"
    if not waited_for:
        silences = {each.get("if_silent") for each in protection["if_died"]}
        return f"{kept}; {next((text for silence, text in SILENT if silence in silences), 'any one node may die')}"
    return f"{kept}; the job would wait for {', '.join(names.get(each['node'], each['node']) for each in waited_for)}"


def outlook(status: Mapping[str, Any], width: int) -> list[str]:
    """What ``edged status`` prints: a line for each range of layers, for the samples, and for each node."""
    protection = status.get("protection")
    if not protection:
        return []
    sentences = [
        *(cover["text"] for cover in protection["layers"]),
        protection["samples"]["text"],
        *([protection["lacks"]["text"]] if protection.get("lacks") else []),
        *(each["text"] for each in protection["if_died"]),
    ]
    lines = [line for each in sentences for line in cells.wrap(words.clean(each), width - 2, "  ")]
    return ["", "what the job would survive", *(f"  {line}" for line in lines)]


def replicas(member: Mapping[str, Any]) -> str:
    """The layers that a member holds replicas of: ``0–2, 7–11``; empty if none. The headline tells their version."""
    return ", ".join(layer_numbers(*each["layers"]) for each in member.get("replicas") or ())
