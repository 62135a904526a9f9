"""A network of its own for a testbed: one namespace per device, wired to a bridge in another namespace.

::

    edged-PID-a [eth0 10.77.0.1] ──┐
    edged-PID-b [eth0 10.77.0.2] ──┼── edged-PID-switch [bridge]
    edged-PID-c [eth0 10.77.0.3] ──┘

Links are shaped with ``tc`` (tbf, and netem where the kernel has it), packets dropped with ``iptables``, all inside the
namespaces: the machine's own network is not touched, and deleting the namespaces deletes everything.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path

PREFIX = "edged"
LEAST_BURST_KBIT = 32
"""Two full Ethernet frames, which a shaped link must always let through."""

_OURS = re.compile(rf"^{PREFIX}-(\d+)-")


class RefusedError(Exception):
    """The machine does not let this be done; the text is the command and what it said."""


@cache
def no_network() -> str:
    """Why there can be no network of namespaces here; empty if there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and `ip` (iproute2), for network namespaces"
    if shutil.which("iptables") is None:
        return "needs `iptables`, to drop packets in network namespaces"
    try:
        with ExitStack() as stack:
            Network(stack)
    except RefusedError as refusal:
        return f"network namespaces cannot be made here: {refusal}"
    return ""


def run(*command: str) -> str:
    """Run a command and return what it prints. Raises ``RefusedError``."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def namespaces() -> list[str]:
    """Names of all namespaces that a testbed of any process has made and not removed."""
    if shutil.which("ip") is None:
        return []
    lines = run("ip", "netns", "list").splitlines()
    return [line.split()[0] for line in lines if _OURS.match(line)]


def links() -> list[str]:
    """Ends of wires that lie outside of all namespaces: none should, they go with their namespaces."""
    return sorted(link.name for link in Path("/sys/class/net").glob("port-*"))


def own() -> list[str]:
    """Names of the namespaces that this process has made and not removed."""
    return [name for name in namespaces() if name.startswith(f"{PREFIX}-{os.getpid()}-")]


def remove_orphans() -> list[str]:
    """Remove the namespaces of testbeds whose process is gone (killed before it could clean up); their names."""
    gone = []
    for name in namespaces():
        found = _OURS.match(name)
        if found and not os.path.exists(f"/proc/{found.group(1)}"):  # noqa: PTH110 - a process, not a file
            with suppress(RefusedError):
                run("ip", "netns", "delete", name)
                gone.append(name)
    return gone


class Network:
    """Namespaces named by this process; ``stack`` removes them."""

    def __init__(self, stack: ExitStack) -> None:
        """Make the switch. Raises ``RefusedError``."""
        self._stack = stack
        self._hosts: list[str] = []
        self._switch = self._namespace("switch")
        run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge", "stp_state", "0")
        run("ip", "-n", self._switch, "link", "set", "bridge", "up")

    def add(self, name: str) -> list[str]:
        """A host on the network; the words to put before a command that shall run there."""
        host = self._namespace(name)
        self._hosts.append(name)
        port = f"port-{len(self._hosts)}"
        run("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
        run("ip", "-n", self._switch, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", host, "address", "add", f"{self.address(name)}/24", "dev", "eth0")
        run("ip", "-n", host, "link", "set", "lo", "up")
        run("ip", "-n", host, "link", "set", "eth0", "up")
        return ["ip", "netns", "exec", host]

    def address(self, name: str) -> str:
        """A host's address."""
        return f"10.77.0.{self._hosts.index(name) + 1}"

    def limit(self, name: str, mbit: float, latency_ms: float = 50.0) -> None:
        """Let a host send and receive at most so many Mbit/s; what would wait longer than ``latency_ms`` is dropped.

        A millisecond's worth may go at once: with less, the kernel's timers allow a third of 1 Gbit/s (measured: 309
        Mbit/s with bursts of 32 kbit, 916 with 1 Mbit).
        """
        rate, burst = f"{int(mbit * 1000)}kbit", f"{max(LEAST_BURST_KBIT, int(mbit))}kbit"
        shape = ["rate", rate, "burst", burst, "latency", f"{latency_ms:g}ms"]
        self._inside(name, "tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", *shape)
        port = f"port-{self._hosts.index(name) + 1}"
        run("tc", "-n", self._switch, "qdisc", "replace", "dev", port, "root", "tbf", *shape)

    def delay(self, name: str, milliseconds: float) -> None:
        """Delay what a host sends. Raises ``RefusedError`` where the kernel has no netem."""
        self._inside(name, "tc", "qdisc", "replace", "dev", "eth0", "root", "netem", "delay", f"{milliseconds:g}ms")

    def unshape(self, name: str) -> None:
        """Take ``limit`` and ``delay`` back."""
        port = f"port-{self._hosts.index(name) + 1}"
        with suppress(RefusedError):
            self._inside(name, "tc", "qdisc", "delete", "dev", "eth0", "root")
        with suppress(RefusedError):
            run("tc", "-n", self._switch, "qdisc", "delete", "dev", port, "root")

    def lose(self, name: str, share: float) -> None:
        """Drop this share of what a host receives."""
        chance = ["-m", "statistic", "--mode", "random", "--probability", str(share)]
        self._inside(name, "iptables", "-A", "INPUT", "-i", "eth0", *chance, "-j", "DROP")

    def deafen(self, name: str, to: str | None = None) -> None:
        """Drop all that a host receives (``to``: from this other host only); what it sends still arrives."""
        origin = [] if to is None else ["-s", self.address(to)]
        self._inside(name, "iptables", "-A", "INPUT", "-i", "eth0", *origin, "-j", "DROP")

    def cut(self, *names: str) -> None:
        """Cut these hosts off from all others, both ways; among themselves they still talk."""
        for name in names:
            for other in self._hosts:
                if other not in names:
                    self.deafen(name, other)
                    self.deafen(other, name)

    def refuse(self, *names: str) -> None:
        """Cut these hosts off from all others as a firewall does that rejects: connections are reset, new ones refused.

        Each host's own packets are rejected on their way out: a reset from a host that is cut off would be dropped.
        """
        for name in self._hosts:
            for other in self._hosts:
                if (name in names) is not (other in names):
                    way_out = ["iptables", "-A", "OUTPUT", "-o", "eth0", "-d", self.address(other)]
                    self._inside(name, *way_out, "-p", "tcp", "-j", "REJECT", "--reject-with", "tcp-reset")
                    self._inside(name, *way_out, "-j", "DROP")

    def heal(self) -> None:
        """Take all cuts, losses and limits back."""
        for name in self._hosts:
            self._inside(name, "iptables", "-F")
            self.unshape(name)

    def _inside(self, name: str, *command: str) -> None:
        run("ip", "netns", "exec", self._name(name), *command)

    def _namespace(self, name: str) -> str:
        full = self._name(name)
        run("ip", "netns", "add", full)
        self._stack.callback(_delete, full)
        return full

    @staticmethod
    def _name(name: str) -> str:
        return f"{PREFIX}-{os.getpid()}-{name}"


def _delete(name: str) -> None:
    with suppress(RefusedError):
        run("ip", "netns", "delete", name)
