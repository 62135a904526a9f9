"""The ports that a home's node listens on, kept so that those who know its addresses find it after a restart."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TypeVar

from edged.errors import UNREADABLE, ConfigError
from edged.transport.private import read_private, write_private

Bound = TypeVar("Bound")

FILE_NAME = "ports.json"


class Ports(NamedTuple):
    """One for each listening socket; 0: any."""

    door: int = 0
    control: int = 0
    bulk: int = 0


def choices(home: Path | None, port: int) -> tuple[tuple[int, ...], ...]:
    """What each of the three sockets should try, in this order, where the node is told to listen on ``port``.

    That and the next two; where it is told any (0), those of before, then any.
    """
    if port:
        return ((port,), (port + 1,), (port + 2,))
    before = Ports() if home is None else read_ports(home)
    return tuple((last, 0) if last else (0,) for last in before)


def first_free(ports: Sequence[int], bind: Callable[[int], Bound]) -> Bound:
    """Bind the first of these ports that can be had. Raises ``ConfigError`` as ``bind`` does for the last one."""
    for port in ports[:-1]:
        with suppress(ConfigError):
            return bind(port)
    return bind(ports[-1])


def read_ports(home: Path) -> Ports:
    """What the node listened on when it last ran; any where there is no such file or it is damaged."""
    try:
        data = read_private(home / FILE_NAME)
        ports = Ports(**json.loads(data)) if data is not None else Ports()
    except (ConfigError, *UNREADABLE):
        return Ports()
    return ports if all(type(port) is int and 0 < port < 1 << 16 for port in ports) else Ports()


def write_ports(home: Path, ports: Ports) -> None:
    """Remember them. Raises ``ConfigError`` if the home cannot be written."""
    write_private(home / FILE_NAME, json.dumps(ports._asdict()).encode() + b"\n")
