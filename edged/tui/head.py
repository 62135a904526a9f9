"""The upper lines of the view: the cluster, what is wrong, the job, how far it is, and what it would survive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edged.tui import cells, safety, words
from edged.tui.lines import Line, Tone, apart, bar, line, wrapped
from edged.tui.nodes import fate
from edged.tui.pipeline import LEADS

GLYPHS = {
    "running": ("▶", Tone.GOOD),
    "preparing": ("◐", Tone.WARN),
    "waiting": ("!", Tone.WARN),
    "paused": ("‖", Tone.WARN),
    "queued": ("·", Tone.QUIET),
    "finished": ("✓", Tone.GOOD),
    "failed": ("✗", Tone.BAD),
    "stopped": ("■", Tone.QUIET),
}
"""The mark of a job, beside the word for its state."""

OVER = {"finished", "failed", "stopped"}
ALONE_LINES = 6
"""Most lines that say why this node sees nobody: about two sentences."""

NAMED_ALIKE = 2
"""Of others that are not met for the same reason so many are named, the rest is counted."""

REASON_LINES = 4
PLAN_LINES = 2
LEAST_BAR = 6
NARROW = 60
TALL = 30
"""From this height on there is room for the plan's reason and what was last decided."""

SILENT_SECONDS = 3.0
"""A node that tells nothing for longer is called silent: two reports may be late."""

Status = Mapping[str, Any]


def head(status: Status, width: int) -> list[Line]:
    """Cluster and leader; what is wrong; the job. While this node is alone: whom it does not see, how others join."""
    members = status.get("members", [])
    belonging = [member for member in members if fate(member) not in {"left", "expelled"}]
    alive = sum(member["state"] == "alive" for member in belonging)
    lines = [_cluster(status, alive, len(belonging), width), *_silence(status, width), *_job(status, width)]
    lines += _waiting(status, width)
    if status.get("tentative"):
        lines += wrapped(str(status["tentative"]), width, "  ", Tone.WARN)
    if alive > 1:
        return lines
    lines += unmet(status, width)[:ALONE_LINES]
    return [*lines, *wrapped(str(status.get("invitation") or ""), width)]


def progress(status: Status, width: int) -> list[Line]:
    """A bar with step, loss, speed and time left; what the job would survive."""
    job, view = status.get("job"), status.get("view", {})
    if not job or not job.get("steps"):
        return []
    step, steps = job.get("step", 0), job["steps"]
    told = _figures(job, view)
    while len(told) > 1 and sum(len(text) + 2 for _, text in told) + LEAST_BAR > width:
        told.remove(max(told))
    shown = "".join(f"  {text}" for _, text in told)[1:]
    lines = [line(bar(step / steps, max(width - len(shown), 1)), shown)]
    if protection := safety.headline(status):
        lines += wrapped(protection, width, "  ", Tone.PLAIN if safety.is_safe(status) else Tone.WARN)
    return lines


def reasons(status: Status, width: int, height: int) -> list[Line]:
    """The last evaluation, why the plan is as it is, and what was last decided on it; on tall screens."""
    plan, job = status.get("plan"), status.get("job")
    if height < TALL or not plan or not job or job["state"] in OVER:
        return []
    lines = _evaluation(status.get("view", {}), width)
    if plan.get("reason"):
        told = f"plan {plan['term']}.{plan['version']}: {plan['reason']}"
        lines += wrapped(told, width, "  ", Tone.QUIET)[:PLAN_LINES]
    decision = plan.get("decision")
    if decision:
        ago = words.duration(decision["age_seconds"])
        lines += wrapped(f"{ago} ago: {decision['text']}", width, "  ", Tone.QUIET)[:PLAN_LINES]
    return lines


def unmet(status: Status, width: int) -> list[Line]:
    """Whom this node does not see, and why, the most telling first; wrapped, as each sentence ends with what to do."""
    alike: dict[str, list[Mapping[str, str]]] = {}
    for number, each in enumerate(status.get("unmet", ())):
        sentence = each["text"].replace(each["address"], "") if each["address"] else str(number)
        alike.setdefault(sentence, []).append(each)
    lines: list[Line] = []
    for first, *others in alike.values():
        lines += wrapped(f"not met: {first['text']}{_so_are(others)}", width, "  ", Tone.WARN)
    return lines


def _so_are(others: Sequence[Mapping[str, str]]) -> str:
    """Names those of whom the same sentence would be told again: the first ones by address, the rest by number."""
    told = [each["address"] for each in others[:NAMED_ALIKE]]
    if len(others) > NAMED_ALIKE:
        told.append(f"{len(others) - NAMED_ALIKE} more")
    if not told:
        return ""
    *most, last = told
    return f" (so it is with {', '.join(most)}{' and ' if most else ''}{last}, too)"


def _cluster(status: Status, alive: int, members: int, width: int) -> Line:
    names = {member["node"]: member["name"] for member in status.get("members", ())}
    leader = status.get("leader")
    name = cells.shorten(str(names.get(leader, leader)), max(width // 4, 8))
    term = f", term {status.get('term', 0)}" if width >= NARROW else ""
    leads = line(f"{name} leads (", (LEADS, Tone.WARN), f"{term})")
    count = (f"{alive} of {members} nodes alive", Tone.GOOD if alive == members else Tone.BAD)
    if not leader:
        leads = line(("no leader yet", Tone.BAD))
    told = line(count, (" · ", Tone.QUIET), leads)
    called = line(("edged", Tone.STRONG), (" · ", Tone.QUIET), str(status.get("cluster", "")))
    here = line(called, (f" · on {status.get('name', '')}", Tone.QUIET))
    return apart(here, told, width) or apart(called, told, width) or told


def _silence(status: Status, width: int) -> list[Line]:
    """That the picture is old."""
    silent = status.get("silent_seconds") or 0.0
    if silent < SILENT_SECONDS:
        return []
    return wrapped(f"! this node has told nothing for {words.duration(silent)}: what follows is old", width, "  ",
                   Tone.BAD)  # fmt: skip


def _job(status: Status, width: int) -> list[Line]:
    job = status.get("job")
    if not job:
        return [line("no job: ", ("edged train JOB.py", Tone.STRONG))]
    state = job["state"]
    mark, tone = GLYPHS.get(state, ("·", Tone.PLAIN))
    what = line((mark, tone), " job ", (str(job["name"]), Tone.STRONG), ": ", (state, tone))
    if status.get("view", {}).get("asynchronous"):
        what = line(what, (" · asynchronous", Tone.QUIET))
    if state == "preparing":
        what = line(what, (f" · {_preparation(job)}", Tone.QUIET))
    if not job.get("reason") or state not in OVER:
        return [what]
    whole = line(what, f" ({job['reason']})")
    return [whole] if whole.width <= width else [what, *wrapped(f"({job['reason']})", width, " ")[:REASON_LINES]]


def _preparation(job: Mapping[str, Any]) -> str:
    step = job.get("step", 0)
    return f"goes on from step {step} when its layers are in place" if step else "layers and samples are handed out"


def _waiting(status: Status, width: int) -> list[Line]:
    """Why nothing goes on, wrapped: what follows from it stands at the end of the sentence."""
    why = status.get("view", {}).get("waiting")
    if not why:
        return []
    job = status.get("job")
    is_paused = bool(job and job["state"] == "paused")
    what = "no leader: " if not status.get("leader") else "" if is_paused else "waiting: "
    return wrapped(f"{what}{why}", width, "  ", Tone.WARN)


def _figures(job: Mapping[str, Any], view: Mapping[str, Any]) -> list[tuple[int, str]]:
    """What stands beside the bar, in order; each with its rank: of those that do not fit the highest goes first."""
    step, steps = job.get("step", 0), job["steps"]
    told = [(0, f"{100 * step // steps}%"), (3, f"step {step}/{steps}")]  # nothing is called complete before it is
    if view.get("loss"):
        told.append((2, f"loss {words.loss(view['loss'][-1][1], 4)}"))
    if job["state"] == "running":
        told.append((4, f"{words.count(view.get('samples_per_second') or 0)} samples/s"))
        told.append((1, f"{words.duration(view.get('seconds_left'))} left"))
    return told


def _evaluation(view: Mapping[str, Any], width: int) -> list[Line]:
    told = view.get("evaluation")
    if not told:
        return []
    metrics = "".join(f", {name} {value:.4g}" for name, value in told["metrics"].items())
    return wrapped(f"after epoch {told['epoch'] + 1}: evaluation loss {told['loss']:.4g}{metrics}", width, "  ")
