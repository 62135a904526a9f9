"""Commands about this device's node: ``join``, ``config show``."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import typer

from edged.cli.completion import one_of
from edged.cli.keys import join_line, own_address
from edged.cli.options import HomeOption, JsonOption, can_draw, hide_key, home, print_json
from edged.config import Setting, Settings, resolve, settings
from edged.telemetry.logs import LOG_NAME

ORPHAN_SECONDS = 5.0
"""How long a node may take to leave gracefully when the program that started it has gone."""

config_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="The options of this home.")


def join(
    home_flag: HomeOption = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="What people call this device.")] = None,
    cluster: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the cluster to join.")] = None,
    key: Annotated[
        str | None, typer.Option(metavar="TOKEN", help="The cluster key's token (see `edged key show`).")
    ] = None,
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file that holds the token.")] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to listen; default: all interfaces, any port.")
    ] = None,
    seed: Annotated[list[str] | None, typer.Option(metavar="HOST:PORT", help="A node to join; repeatable.")] = None,
    discovery: Annotated[
        bool | None, typer.Option("--discovery/--no-discovery", help="Look for nodes by mDNS.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory that training may use, such as 2GB.")
    ] = None,
    threads: Annotated[
        str | None, typer.Option(metavar="N", help="Compute threads; 0: OMP_NUM_THREADS, else all cores.")
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="auto|cpu|cuda|mps",
            help="Where to compute; default: auto.",
            autocompletion=one_of("auto", "cpu", "cuda", "mps"),
        ),
    ] = None,
    slowdown: Annotated[str | None, typer.Option(metavar="X", help="Emulate a device X times slower.")] = None,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="N", help="Nodes besides the leader that keep a copy of each layer; default: 1."),
    ] = None,
    minority: Annotated[
        str | None,
        typer.Option(
            metavar="fork|wait",
            help="What nodes do that reach no majority: go on as a fork (default), or wait.",
            autocompletion=one_of("fork", "wait"),
        ),
    ] = None,
    tui: Annotated[bool | None, typer.Option("--tui/--no-tui", help="The live view (only on a terminal).")] = None,
    log_format: Annotated[
        str | None,
        typer.Option(
            metavar="text|json", help="How log lines look; default: text.", autocompletion=one_of("text", "json")
        ),
    ] = None,
    journal: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Room for the journal on the disk; default: 16MiB.")
    ] = None,
    metrics_port: Annotated[
        str | None,
        typer.Option(metavar="[HOST:]PORT", help="Serve /metrics, /healthz and /readyz; on 127.0.0.1 without HOST."),
    ] = None,
    unattended: Annotated[
        bool | None,
        typer.Option(
            "--unattended/--attended", help="For services: no live view, no key in the log; wait for a network."
        ),
    ] = None,
    leave_at_eof: Annotated[
        bool, typer.Option("--leave-at-eof", hidden=True, help="Leave when standard input ends.")
    ] = False,
) -> None:
    """Run this device's node in the foreground; Ctrl-C leaves.

    Each option is also a variable EDGED_<OPTION> and, but for the key, a line of HOME/config.toml (see `edged config
    show`).
    """
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
        "replicas": replicas,
        "minority": minority,
        "tui": tui,
        "log-format": log_format,
        "journal": journal,
        "metrics-port": metrics_port,
        "unattended": unattended,
    }
    chosen = settings(home(home_flag), flags, os.environ)
    if key:
        hide_key(key)
    os.environ.pop("EDGED_KEY", None)  # the feeder, which runs the user's code, is not to inherit it
    if leave_at_eof:
        Thread(target=_leave_at_eof, name="starter", daemon=True).start()
    from edged import daemon

    if not (chosen.tui and can_draw()):
        daemon.run(replace(chosen, tui=False))
    from edged.tui.live import beside_node

    with beside_node(chosen.home, _invitation(chosen), keys=not leave_at_eof) as give_back:

        def bid_farewell() -> None:
            give_back()
            print(f"edged: this node has left; its log is {chosen.home / LOG_NAME}", file=sys.stderr, flush=True)

        daemon.run(chosen, bid_farewell)


def _leave_at_eof() -> None:
    """Leave when standard input ends.

    It is a pipe whose other end only the program holds that started this node, so it ends with that program, however
    that ends. Before the node can leave gracefully, the signal ends it at once; nobody waits for its layers for long.
    """
    with suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)


def _invitation(chosen: Settings) -> Callable[[Mapping[str, Any]], str]:
    """What a node that is alone tells the person in front of it. Only the first start shows the key by itself."""
    from edged.transport.security import read_cluster_key

    is_new = not chosen.key and read_cluster_key(chosen.home) is None

    def line(status: Mapping[str, Any]) -> str:
        if not is_new:
            return "alone; `edged key join-command` prints the line to type on the next device"
        key = read_cluster_key(chosen.home) or ""
        return "join from another device with:  " + join_line(chosen.cluster, key, own_address(status))

    return line


@config_app.command("show")
def show(home_flag: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every option, its value, and where it came from."""
    folder = home(home_flag)
    found = resolve(folder, {}, os.environ)
    if as_json:
        rows = []
        for setting in found:
            value = "(hidden)" if setting.option.secret and setting.value else setting.value
            rows.append({"option": setting.option.name, "value": _plain(value), "origin": setting.origin})
        print_json({"home": str(folder), "options": rows})
        return
    print(f"# home: {folder}")
    has_key_file = any(setting.value for setting in found if setting.option.name == "key-file")
    for setting in found:
        print(_key_line(folder, setting, has_key_file=has_key_file) if setting.option.secret else _toml_line(setting))


def _toml_line(setting: Setting) -> str:
    """An option as ``config.toml`` has it, and where the value came from; one without a value as a comment."""
    name, unset = setting.option.name, setting.option.unset
    if unset and setting.origin == "default":
        return f"# {name}: {unset}"
    return f"{name} = {json.dumps(_plain(setting.value), ensure_ascii=False)}  # {setting.origin}"


def _key_line(folder: Path, setting: Setting, *, has_key_file: bool) -> str:
    """Where the cluster key comes from: it is never shown, and ``config.toml`` does not take it."""
    from edged.transport.private import CLUSTER_KEY_NAME

    name = setting.option.name
    if setting.value:
        return f"# {name}: from the variable {setting.option.variable}"
    if has_key_file:
        return f"# {name}: from key-file"
    if (folder / CLUSTER_KEY_NAME).exists():
        return f"# {name}: in {folder / CLUSTER_KEY_NAME}; `edged key show` prints it"
    return f"# {name}: none yet, `edged join` makes one"


def _plain(value: object) -> object:
    if isinstance(value, tuple) and value and isinstance(value[0], tuple):
        return [_plain(item) for item in value]
    if isinstance(value, tuple) and value:
        host, port = value
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if isinstance(value, tuple):
        return []
    return str(value) if isinstance(value, Path) else value
