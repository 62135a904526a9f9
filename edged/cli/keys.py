"""``edged key``: the cluster's key, and the line to type on the next device."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.options import HomeOption, JsonOption, home, print_json
from edged.client import Client
from edged.config import settings
from edged.errors import ConfigError, JobFailedError, NoNodeError

ROTATE_SECONDS = 15.0
LOOK_SECONDS = 0.05

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The cluster's key: whoever has it can join.")


@app.command()
def new() -> None:
    """Print a new cluster key, nothing else; it changes no file."""
    from edged.transport.security import new_cluster_key

    print(new_cluster_key())


@app.command()
def show(home_flag: HomeOption = None) -> None:
    """Print the key of this home."""
    print(_key(home_flag))


@app.command()
def rotate(home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Give the cluster a new key; the old one opens no door."""
    folder = home(home_flag)
    old = _key(home_flag)
    absent = Client(folder).ask("rotate")["absent"]
    deadline = time.monotonic() + ROTATE_SECONDS
    while _key(home_flag) == old:
        if time.monotonic() >= deadline:
            raise JobFailedError(
                f"there is no new key after {ROTATE_SECONDS:.0f} s: nobody leads, or the leader cannot be reached; "
                "`edged status` tells"
            )
        time.sleep(LOOK_SECONDS)
    if as_json:
        print_json({"absent": absent})
        return
    print("edged: every member that is there has the new key; `edged key show` prints it", file=sys.stderr)
    if absent:
        print(f"edged: not there, join again with the new key: {', '.join(absent)}", file=sys.stderr)


@app.command("join-command")
def join_command(
    home_flag: HomeOption = None,
    seed: Annotated[
        str, typer.Option("--seed", metavar="HOST:PORT", help="The node to name; default: this one, if it runs.")
    ] = "",
) -> None:
    """Print the line to type on the next device."""
    key = _key(home_flag)
    address = seed
    if not address:
        try:
            address = own_address(Client(home(home_flag)).ask("status"))
        except NoNodeError:
            address = ""
    print(join_line(settings(home(home_flag), {}, os.environ).cluster, key, address))


def own_address(status: Mapping[str, Any]) -> str:
    """HOST:PORT of the node that gave this status; empty if it does not know."""
    own = (member["address"] for member in status["members"] if member["node"] == status["node"])
    return str(next(own, "")).removeprefix("tcp://")


def join_line(cluster: str, key: str, address: str) -> str:
    """The line to type on the next device."""
    parts = ["edged", "join"] + (["--cluster", shlex.quote(cluster)] if cluster != "edged" else []) + ["--key", key]
    return " ".join(parts + (["--seed", address] if address else []))


def _key(home_flag: Path | None) -> str:
    from edged.transport.security import read_cluster_key

    folder = home(home_flag)
    token = read_cluster_key(folder)
    if not token:
        raise ConfigError(f"there is no cluster key in {folder} yet: `edged join` makes one at its first start")
    return token
