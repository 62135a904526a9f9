"""Commands that look: ``status``, ``watch``, ``events``, ``replay``."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from edged.cli.options import HomeOption, JsonOption, can_draw, home, print_json
from edged.client import Client
from edged.errors import ConfigError

LOOK_SECONDS = 0.5


def status(home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Nodes, leader, plan, job."""
    found = Client(home(home_flag)).ask("status")
    if as_json:
        print_json({key: value for key, value in found.items() if key != "view"})
        return
    from edged.tui.view import summary

    print("\n".join(summary(found, shutil.get_terminal_size((100, 30)).columns)))


def watch(
    home_flag: HomeOption = None,
    once: Annotated[bool, typer.Option("--once", help="Draw once and leave, as without a terminal.")] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Write the picture to a file and leave.")
    ] = None,
    interval: Annotated[
        float, typer.Option(metavar="SECONDS", help="Time between two pictures.", min=0.1, max=60)
    ] = 0.5,
) -> None:
    """Show the whole pipeline live, from any device; q ends it."""
    from edged.tui import live, picture

    if svg is not None and not svg.expanduser().absolute().parent.is_dir():
        raise ConfigError(f"--svg {svg}: the folder {svg.expanduser().absolute().parent} does not exist; make it first")
    folder = home(home_flag)
    if svg is not None:
        picture.write_svg(Client(folder).ask("status"), svg.expanduser())
    elif once or not can_draw():
        picture.print_once(Client(folder).ask("status"))
    else:
        live.follow(folder, interval)


def events(
    home_flag: HomeOption = None,
    follow: Annotated[bool, typer.Option("--follow", help="Go on with what happens.")] = False,
    text: Annotated[bool, typer.Option("--text", help="The newest in words, as the live view has them.")] = False,
) -> None:
    """Print the journal as JSON lines."""
    client = Client(home(home_flag))
    if text:
        _tell(client, follow=follow)
        return
    for line in client.stream("events", follow=follow):
        print_json(line)


def _tell(client: Client, *, follow: bool) -> None:
    from edged.tui.words import clean

    told: list[Any] = []
    for status in client.stream("watch", interval=LOOK_SECONDS) if follow else [client.ask("status")]:
        found = status["view"]["events"]
        for event in untold(told, found):
            print(f"{event['time']}  {clean(event['text'])}", flush=True)
        told = found


def untold(told: list[Any], found: list[Any]) -> list[Any]:
    """What of ``found`` is new. A node forgets its oldest events, and may take its newest back for a better one."""
    for last in range(len(told), 0, -1):
        for first in range(last):
            if told[first:last] == found[: last - first]:
                return found[last - first :]
    return found


def replay(
    path: Annotated[Path, typer.Argument(metavar="FILE", help="A journal's file, or its folder: HOME/journal.")],
    as_json: JsonOption = False,
) -> None:
    """Tell a journal to a fresh core, which must decide the same."""
    path = path.expanduser()
    if not path.exists():
        raise ConfigError(f"{path} does not exist; a node's journal is in HOME/journal")
    from edged.cli.replaying import tell

    tell(path, as_json=as_json)
