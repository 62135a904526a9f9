"""The pipeline as boxes in order with arrows; as many in a row as the width allows.

::

    ╭ pi-4 ★ ───────╮    ╭ macbook ──────╮
    │ layers 0–4    │    │ layers 5–11   │
    │ ██████░░  72% │ ─▶ │ ███████░  91% │
    │ 14 ms/micro   │    │ 12 ms/micro   │
    │ 310 MB v 120  │    │ 290 MB v 120  │
    ╰───────────────╯    ╰───────────────╯
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edged.core.plan import layers_in_words
from edged.tui import words

ARROW = " ─▶ "
WIDEST, NARROWEST = 26, 17
LINES = 6
"""Height of one row of boxes."""


def boxes(status: Mapping[str, Any], width: int) -> list[str]:
    """Lines of the first route of the plan (or, without a plan, of all members that are there), ``width`` wide."""
    stages = _stages(status)
    if not stages:
        return ["no node yet"]
    fitting = max(1, min(len(stages), (width + len(ARROW)) // (NARROWEST + len(ARROW))))
    rows = -(-len(stages) // fitting)
    per_row = -(-len(stages) // rows)
    box_width = min(WIDEST, (width - (per_row - 1) * len(ARROW) - (len(ARROW) if rows > 1 else 0)) // per_row)
    planned = _planned(status)
    lines: list[str] = []
    for start in range(0, len(stages), per_row):
        row = [_box(stage, box_width) for stage in stages[start : start + per_row]]
        goes_on = planned and start + per_row < len(stages)
        lines += _beside(row, arrows=planned, goes_on=goes_on)
    return lines


def _stages(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    members = {member["node"]: member for member in status.get("members", ())}
    leader = status.get("leader")
    if _planned(status):
        hops = list(status["plan"]["routes"][0]["hops"])
    else:
        hops = [{"node": node} for node, member in members.items() if member["state"] in {"alive", "suspect"}]
    return [{**members.get(hop["node"], {}), **hop, "leads": hop["node"] == leader} for hop in hops]


def _planned(status: Mapping[str, Any]) -> bool:
    """Whether the plan is of a job that is not over."""
    plan, job = status.get("plan"), status.get("job")
    return bool(plan and plan["routes"] and job and job["state"] in {"preparing", "running"})


def _box(stage: Mapping[str, Any], width: int) -> list[str]:
    inner = width - 4
    name = words.shorten(str(stage.get("name") or stage["node"]), inner - 3)
    title = f" {name}{' ★' if stage['leads'] else ''} "
    busy = float(stage.get("busy") or 0.0)
    holds = "first_layer" in stage
    what = layers_in_words(stage["first_layer"], stage["last_layer"]) if holds else "waiting for work"
    pace = stage.get("micro_batch_seconds") or 0.0
    slowness = stage.get("slowness") or 0.0
    held = words.size(stage.get("resident_bytes") or 0)
    speed = f"slowness {slowness:.3g}" if slowness else "measuring"
    rows = [
        what,
        f"{words.bar(busy, max(inner - 5, 1))} {busy * 100:3.0f}%",
        f"{words.duration(pace)}/micro" if holds and pace else speed,
        f"{held} v {stage.get('weight_version') or 0}" if holds else f"{held} held",
    ]
    state = stage.get("state", "alive")
    if state != "alive":
        rows[0] = f"! {state}"
    body = [f"│ {words.shorten(row, inner):<{inner}} │" for row in rows]
    return [f"╭{title:─<{width - 2}}╮", *body, f"╰{'─' * (width - 2)}╯"]


def _beside(row: Sequence[Sequence[str]], *, arrows: bool, goes_on: bool) -> list[str]:
    lines = []
    for index in range(LINES):
        joint = ARROW if arrows and index == LINES // 2 else " " * len(ARROW)
        line = joint.join(box[index] for box in row)
        lines.append(line + (ARROW.rstrip() if goes_on and index == LINES // 2 else ""))
    return lines
