"""What the program that started this one is told of it: systemd's notification protocol, sd_notify(3).

A datagram of lines ``NAME=value`` to the socket that ``NOTIFY_SOCKET`` names: ``READY=1``, ``STATUS=one line``,
``WATCHDOG=1``, ``STOPPING=1``, ``EXTEND_TIMEOUT_USEC=microseconds``. A name that begins with ``@`` is one of the
kernel's own, which is no file.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, MutableMapping
from typing import Self

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")

LONGEST = 500
"""Characters of one value."""


class Supervisor:
    """Who wants to hear how this process is; nobody, unless the environment names somebody."""

    def __init__(self, address: str = "", watchdog_seconds: float = 0.0) -> None:
        """``address``: of a datagram socket. ``watchdog_seconds``: who is silent for longer is killed; 0.0: nobody."""
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self.watchdog_seconds = watchdog_seconds if address else 0.0

    @classmethod
    def from_environment(cls, environment: MutableMapping[str, str], process: int) -> Self:
        """Take it out of the environment of ``process``, whose children are not to speak in its name."""
        address, microseconds, watched = (environment.pop(name, "") for name in VARIABLES)
        if not address.startswith(("/", "@")):
            return cls()
        is_watched = microseconds.isdecimal() and watched in {"", str(process)}
        return cls(address, int(microseconds) / 1e6 if is_watched else 0.0)

    def __bool__(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def tell(self, facts: Mapping[str, str]) -> bool:
        """Say these names and values in one datagram, without waiting; whether it was taken."""
        lines = [f"{name}={' '.join(value.split())[:LONGEST]}" for name, value in facts.items()]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.setblocking(False)
                line.sendto("\n".join(lines).encode(), self._address)
        except OSError:
            return False
        return True
