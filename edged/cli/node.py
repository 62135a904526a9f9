"""Commands about this device's node: ``join``, ``leave``, ``config show``."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from edged.cli.options import HomeOption, JsonOption, home, print_json
from edged.client import Client
from edged.config import resolve, settings

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The options of this home.")


def join(
    home_flag: HomeOption = None,
    name: Annotated[str | None, typer.Option(help="What people call this device.")] = None,
    cluster: Annotated[str | None, typer.Option(help="Name of the cluster to join.")] = None,
    key: Annotated[str | None, typer.Option(help="The cluster key's token (see `edged key show`).")] = None,
    key_file: Annotated[Path | None, typer.Option(help="A file that holds the token.")] = None,
    listen: Annotated[str | None, typer.Option(help="HOST:PORT; default: all interfaces, any port.")] = None,
    seed: Annotated[list[str] | None, typer.Option(help="HOST:PORT of a node to join; repeatable.")] = None,
    discovery: Annotated[
        bool | None, typer.Option("--discovery/--no-discovery", help="Look for nodes by mDNS.")
    ] = None,
    memory: Annotated[str | None, typer.Option(help="Memory that training may use, such as 2GB.")] = None,
    threads: Annotated[str | None, typer.Option(help="Compute threads; 0: all cores.")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or mps.")] = None,
    slowdown: Annotated[str | None, typer.Option(help="Emulate a device so many times slower.")] = None,
    tui: Annotated[bool | None, typer.Option("--tui/--no-tui", help="The live view (only on a terminal).")] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.")] = None,
) -> None:
    """Run this device's node in the foreground; Ctrl-C leaves."""
    flags = {
        "name": name,
        "cluster": cluster,
        "key": key,
        "key-file": key_file,
        "listen": listen,
        "seed": seed or None,
        "discovery": discovery,
        "memory": memory,
        "threads": threads,
        "device": device,
        "slowdown": slowdown,
        "tui": tui,
        "log-format": log_format,
    }
    chosen = settings(home(home_flag), flags, os.environ)
    from edged import daemon

    if chosen.tui and sys.stdout.isatty():
        from edged.tui.live import beside_node

        with beside_node(chosen.home):
            status = daemon.run(chosen)
    else:
        status = daemon.run(replace(chosen, tui=False))
    raise typer.Exit(status)


def leave(home_flag: HomeOption = None) -> None:
    """Take this device's node out; the others are told."""
    Client(home(home_flag)).ask("leave")


@config_app.command("show")
def show(home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every option, its value, and where it came from."""
    folder = home(home_flag)
    rows = []
    for setting in resolve(folder, {}, os.environ):
        value = "(hidden)" if setting.option.secret and setting.value else setting.value
        rows.append({"option": setting.option.name, "value": _plain(value), "origin": setting.origin})
    if as_json:
        print_json({"home": str(folder), "options": rows})
        return
    print(f"home = {folder}")
    for row in rows:
        print(f"{row['option']} = {row['value']}  ({row['origin']})")


def _plain(value: object) -> object:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return [_plain(item) for item in value]
    if isinstance(value, tuple):
        return f"{value[0]}:{value[1]}" if value else []
    return str(value) if isinstance(value, Path) else value
