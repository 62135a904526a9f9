"""Commands that steer: ``pause``, ``resume``, ``leave``, ``expel``."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from edged.cli import completion
from edged.cli.jobs import JobArgument
from edged.cli.options import HomeOption, JsonOption, home, print_json
from edged.client import Client
from edged.core.plan import layers_in_words
from edged.errors import JobFailedError, NoNodeError

LEAVE_SECONDS = 75.0
"""A node goes in any case when nothing has moved for a minute; while its layers move this may be too short."""

EXPEL_SECONDS = 15.0
LOOK_SECONDS = 0.2
PRESENT = {"alive", "suspect"}

NodeArgument = Annotated[
    str,
    typer.Argument(metavar="NODE", help="A node's name or id (see `edged status`).", autocompletion=completion.nodes),
]


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
        str | None,
        typer.Argument(
            metavar="[NODE]",
            help="Another node, by name or id; default: this home's.",
            autocompletion=completion.nodes,
        ),
    ] = None,
    home_flag: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take a node out gracefully: its layers move first."""
    client = Client(home(home_flag))
    here = client.ask("status")["node"]
    found = client.ask("leave") if node is None else client.ask("leave", node=node)
    if not _gone(client, found, LEAVE_SECONDS, own=found["node"] == here):
        raise JobFailedError(
            f"{found['name']} has not left within {LEAVE_SECONDS:.0f} s: its layers still move, or cannot; "
            "`edged status` tells what the job waits for"
        )
    if as_json:
        print_json(found)


def expel(node: NodeArgument, home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Shut a node out for good."""
    client = Client(home(home_flag))
    found = client.ask("expel", node=node)
    if not _gone(client, found, EXPEL_SECONDS):
        raise JobFailedError(
            f"{found['name']} is still there after {EXPEL_SECONDS:.0f} s: nobody leads, or the others cannot be "
            "reached; `edged status` tells"
        )
    if as_json:
        print_json(found)


def _gone(client: Client, wanted: Mapping[str, Any], seconds: float, *, own: bool = False) -> bool:
    """Wait until a node is gone, telling what changes about it; ``False`` if that takes too long.

    The ``own`` node of this home is gone when it answers no more.
    """
    deadline = time.monotonic() + seconds
    told = ""
    while time.monotonic() < deadline:
        line, gone = _look(client, wanted["node"], own=own)
        if line != told:
            print(f"edged: {wanted['name']}: {line}", file=sys.stderr, flush=True)
            told = line
        if gone:
            return True
        time.sleep(LOOK_SECONDS)
    return False


def _look(client: Client, node: str, *, own: bool) -> tuple[str, bool]:
    """How far a node is from being gone, in words; and whether it is."""
    try:
        members = client.ask("status")["members"]
    except NoNodeError:
        if own:
            return "has left", True
        raise
    member = next((each for each in members if each["node"] == node), None)
    if member is None:
        return "gone", True
    if member.get("expelled"):
        return "is shut out for good", member["state"] not in PRESENT
    if member["state"] not in PRESENT and not own:
        return {"left": "has left", "dead": "is gone"}.get(member["state"], str(member["state"])), True
    if member["layers"]:
        first, last = member["layers"]
        return f"still runs {layers_in_words(first, last)}", False
    return "runs no layers any more, says goodbye", False


def _tell(found: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
    else:
        print(f"edged: {text}", file=sys.stderr)
