"""Commands that steer: ``pause``, ``resume``, ``leave``, ``expel``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from edged.cli.jobs import JobArgument
from edged.cli.options import HomeOption, JsonOption, home, print_json
from edged.client import Client
from edged.errors import JobFailedError

LEAVE_SECONDS = 75.0
"""A node that is asked to leave waits for its layers for a minute at most; then it goes as it is."""

EXPEL_SECONDS = 15.0
LOOK_SECONDS = 0.2
PRESENT = {"alive", "suspect"}

NodeArgument = Annotated[str, typer.Argument(metavar="NODE", help="A node's name or id (see `edged status`).")]


def pause(job: JobArgument, home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Let a job stand after the step it is in; its weights are kept."""
    found = Client(home(home_flag)).ask("pause", job=job)
    if found["state"] != "paused":
        raise JobFailedError(
            f"job {found['job']} is still {found['state']}: the step under way takes long, or nobody leads; "
            "`edged status` tells"
        )
    _tell(found, f"{found['job']} paused at step {found['step']}; `edged resume {job}` lets it go on", as_json=as_json)


def resume(job: JobArgument, home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Let a paused job go on."""
    found = Client(home(home_flag)).ask("resume", job=job)
    if found["state"] == "paused":
        raise JobFailedError(f"job {found['job']} is still paused: nobody leads; `edged status` tells")
    _tell(found, f"{found['job']} {found['state']}", as_json=as_json)


def leave(
    node: Annotated[
        str | None, typer.Argument(metavar="[NODE]", help="Another node, by name or id; default: this home's.")
    ] = None,
    home_flag: HomeOption = None,
) -> None:
    """Take a node out gracefully: its layers move first."""
    client = Client(home(home_flag))
    if node is None:
        client.ask("leave")
        return
    found = client.ask("leave", node=node)
    if "node" in found and not _gone(client, found["node"], LEAVE_SECONDS):
        raise JobFailedError(
            f"{found['name']} has not left within {LEAVE_SECONDS:.0f} s: its layers could not move; `edged status` "
            "tells what the job waits for"
        )


def expel(node: NodeArgument, home_flag: HomeOption = None) -> None:
    """Shut a node out for good."""
    client = Client(home(home_flag))
    found = client.ask("expel", node=node)
    if not _gone(client, found["node"], EXPEL_SECONDS):
        raise JobFailedError(
            f"{found['name']} is still there after {EXPEL_SECONDS:.0f} s: nobody leads, or the others cannot be "
            "reached; `edged status` tells"
        )


def _gone(client: Client, node: str, seconds: float) -> bool:
    """Wait until the member is gone, telling what changes about it; ``False`` if that takes too long."""
    deadline = time.monotonic() + seconds
    told = ""
    while time.monotonic() < deadline:
        member = _member(client.ask("status"), node)
        line = "gone" if member is None else _in_words(member)
        if line != told:
            name = member["name"] if member is not None else node
            print(f"edged: {name}: {line}", file=sys.stderr, flush=True)
            told = line
        if member is None or member["state"] not in PRESENT:
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _member(status: Mapping[str, Any], node: str) -> Mapping[str, Any] | None:
    return next((member for member in status["members"] if member["node"] == node), None)


def _in_words(member: Mapping[str, Any]) -> str:
    """How far a member is from being gone."""
    if member.get("expelled"):
        return "is shut out for good"
    if member["state"] not in PRESENT:
        return {"left": "has left", "dead": "is gone"}.get(member["state"], str(member["state"]))
    if member["layers"]:
        first, last = member["layers"]
        return f"still runs layer {first}" if first == last else f"still runs layers {first}–{last}"
    return "runs no layers any more, says goodbye"


def _tell(found: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(text, file=sys.stderr)
