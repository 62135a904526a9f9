"""A network of its own for each test run: one namespace per node, wired to a bridge in another namespace.

::

    edged-PID-a [eth0 10.77.0.1] ──┐
    edged-PID-b [eth0 10.77.0.2] ──┼── edged-PID-switch [bridge]
    edged-PID-c [eth0 10.77.0.3] ──┘

Nothing of it is seen outside, and deleting the namespaces deletes all.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack


def missing() -> str:
    """Why there can be no network here; empty if there can."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return "needs root and `ip` (iproute2), for network namespaces"
    try:
        with ExitStack() as stack:
            Network(stack)
    except AssertionError as refusal:
        return f"network namespaces cannot be made here: {refusal}"
    return ""


def run(*command: str) -> None:
    """Run a command; what it complains about is the failure's text."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr.strip()}"


class Network:
    """Namespaces named by this process; ``stack`` removes them."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._hosts: list[str] = []
        self._switch = self._namespace("switch")
        run("ip", "-n", self._switch, "link", "set", "lo", "up")
        run("ip", "-n", self._switch, "link", "add", "bridge", "type", "bridge", "stp_state", "0")
        run("ip", "-n", self._switch, "link", "set", "bridge", "up")

    def add(self, name: str) -> list[str]:
        """A host on the network; the words to put before a command that shall run there."""
        host = self._namespace(name)
        self._hosts.append(name)
        self._wire(name)
        run("ip", "-n", host, "link", "set", "lo", "up")
        return ["ip", "netns", "exec", host]

    def remake(self, name: str) -> None:
        """Delete a host's interface and make it anew, with the same address."""
        run("ip", "-n", self._name(name), "link", "delete", "eth0")
        self._wire(name)

    def at_switch(self) -> list[str]:
        """The words to put before a command that shall run where all traffic passes."""
        return ["ip", "netns", "exec", self._switch]

    def plug(self, name: str, state: str) -> None:
        """Set a host's link ``up`` or ``down``."""
        run("ip", "-n", self._name(name), "link", "set", "eth0", state)

    def readdress(self, name: str, *addresses: str) -> None:
        """Let a host have these addresses and no others."""
        run("ip", "-n", self._name(name), "address", "flush", "dev", "eth0")
        for address in addresses:
            run("ip", "-n", self._name(name), "address", "add", f"{address}/24", "dev", "eth0")

    def add_tunnel(self, name: str, address: str) -> None:
        """Give a host an interface that stays up whatever becomes of its link, as that of a VPN does."""
        run("ip", "-n", self._name(name), "link", "add", "vpn0", "type", "veth", "peer", "name", "end0")
        run("ip", "-n", self._name(name), "address", "add", f"{address}/24", "dev", "vpn0")
        for end in ("vpn0", "end0"):
            run("ip", "-n", self._name(name), "link", "set", end, "up")

    def lose(self, share: float) -> None:
        """Drop this share of what every host receives."""
        for name in self._hosts:
            rule = ["-A", "INPUT", "-i", "eth0", "-m", "statistic", "--mode", "random", "--probability", str(share)]
            run("ip", "netns", "exec", self._name(name), "iptables", *rule, "-j", "DROP")

    def block_multicast(self, name: str) -> None:
        """Drop what comes to a host on the port of mDNS, as a strict firewall does."""
        rule = ["-A", "INPUT", "-p", "udp", "--dport", "5353", "-j", "DROP"]
        run("ip", "netns", "exec", self._name(name), "iptables", *rule)

    def lose_nothing(self) -> None:
        """Take the rules of ``lose`` back."""
        for name in self._hosts:
            run("ip", "netns", "exec", self._name(name), "iptables", "-F", "INPUT")

    def _wire(self, name: str) -> None:
        host, port = self._name(name), f"port-{name}"
        run("ip", "-n", self._switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", host)
        run("ip", "-n", self._switch, "link", "set", port, "master", "bridge", "up")
        run("ip", "-n", host, "address", "add", f"10.77.0.{self._hosts.index(name) + 1}/24", "dev", "eth0")
        run("ip", "-n", host, "link", "set", "eth0", "up")

    def _namespace(self, name: str) -> str:
        run("ip", "netns", "add", self._name(name))
        self._stack.callback(run, "ip", "netns", "delete", self._name(name))
        return self._name(name)

    @staticmethod
    def _name(name: str) -> str:
        return f"edged-{os.getpid()}-{name}"
