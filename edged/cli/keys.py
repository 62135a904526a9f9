"""``edged key``: the cluster's key, and the line to type on the next device."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.options import HomeOption, JsonOption, home, print_json
from edged.client import Client
from edged.config import settings
from edged.errors import ConfigError, JobFailedError, NoNodeError

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
    old = _key(home_flag)
    told = Client(home(home_flag)).ask("rotate")
    if _key(home_flag) == old:
        raise JobFailedError(
            f"the cluster has a new key, but it could not be written to {home(home_flag)}: the node's log tells why"
        )
    if as_json:
        print_json({each: told[each] for each in ("taken", "lacking", "absent")})
    else:
        for line in _who_has_it(told["taken"], told["lacking"], told["absent"]):
            print(f"edged: {line}", file=sys.stderr)
    if told["lacking"]:
        raise typer.Exit(JobFailedError.exit_status)


def _who_has_it(taken: Sequence[str], lacking: Sequence[str], absent: Sequence[str]) -> Iterator[str]:
    """Tell who has the new key, and what to do about those that have not."""
    who = f"of those that are there only {', '.join(taken)}" if lacking else "every member that is there"
    have = "have" if lacking and len(taken) > 1 else "has"
    yield f"{who} {have} the new key; `edged key show` prints it"
    if lacking:
        yield (
            f"without it, no answer: {', '.join(lacking)}. Who answers again gets it; who is started anew before that "
            "has to be given it: `edged join --key` there, `edged key join-command` prints the line"
        )
    if absent:
        yield f"not there, join again with the new key: {', '.join(absent)}"


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
