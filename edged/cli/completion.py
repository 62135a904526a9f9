"""What the shell offers after TAB: names of nodes and jobs, asked of this home's node if it answers at once.

Where nothing is offered the shell offers files. A name that a shell would take apart is offered as the id that it
stands for.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from edged.cli.options import home
from edged.client import Client
from edged.errors import UserError

ANSWER_SECONDS = 0.5
"""Who has pressed TAB waits no longer."""

PLAIN = re.compile(r"[\w.-]+")

ENDED = {"finished", "failed", "stopped"}

JOBS: dict[str, Callable[[str], bool]] = {
    "pause": lambda state: state not in ENDED | {"paused"},
    "resume": lambda state: state == "paused",
    "stop": lambda state: state not in ENDED,
    "export": lambda state: state in {"running", "finished"},
}
"""Command -> in which states a job is worth offering to it; to any other command in all states."""

NODES: dict[str, Callable[[dict[str, Any]], bool]] = {
    "leave": lambda member: member["state"] in {"alive", "suspect"},
    "expel": lambda member: not member["expelled"],
}

Offer = list[tuple[str, str]]


def _whatever(_found: object) -> bool:
    return True


def nodes(ctx: typer.Context, incomplete: str) -> Offer:
    """Members by name, each with its state."""
    fits = NODES.get(str(ctx.info_name), _whatever)
    members = [member for member in _ask(ctx, "status").get("members", []) if fits(member)]
    return _offer(((each["name"], each["node"], each["state"]) for each in members), incomplete)


def jobs(ctx: typer.Context, incomplete: str) -> Offer:
    """Jobs by name, the newest first, each with how far it is; a name stands for the newest job that has it."""
    fits = JOBS.get(str(ctx.info_name), _whatever)
    listed = _ask(ctx, "jobs").get("jobs", [])
    newest = {each["name"]: each["job"] for each in listed}
    return _offer(
        (
            (each["name"] if newest[each["name"]] == each["job"] else "", each["job"], _progress(each))
            for each in reversed(listed)
            if fits(each["state"])
        ),
        incomplete,
    )


def one_of(*choices: str) -> Callable[[], list[str]]:
    """What an option takes."""
    return lambda: list(choices)


def strategies() -> list[str]:
    """Names of planners."""
    from edged.strategies import PLANNERS

    return sorted(PLANNERS)


def _progress(job: dict[str, Any]) -> str:
    return f"{job['name']}, {job['state']}, step {job['step']} of {job['steps']}"


def _offer(found: Iterable[tuple[str, str, str]], incomplete: str) -> Offer:
    """``found``: name, id, text. Ids are offered where a name does not do, and to whom has begun to type one."""
    rows = list(found)
    named = [(name if PLAIN.fullmatch(name) else node, text) for name, node, text in rows]
    typed = list(_typed(rows, incomplete)) if incomplete else []
    return [(value, text) for value, text in dict.fromkeys([*named, *typed]) if value.startswith(incomplete)]


def _typed(rows: Iterable[tuple[str, str, str]], incomplete: str) -> Iterator[tuple[str, str]]:
    yield from ((node, text) for _, node, text in rows if node.startswith(incomplete))


def _ask(ctx: typer.Context, command: str) -> dict[str, Any]:
    flag = ctx.params.get("home_flag")
    try:
        return Client(home(Path(flag) if flag else None), ANSWER_SECONDS).ask(command)
    except (UserError, OSError):
        return {}
