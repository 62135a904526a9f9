"""Which addresses of this device other devices could reach."""

from __future__ import annotations

import ipaddress
import socket

import psutil

LOOPBACK = "127.0.0.1"
IGNORED = ("docker", "veth", "br-", "utun", "awdl", "llw", "lo", "virbr", "cni", "flannel", "ifb", "dummy")
"""Beginnings of the names of interfaces behind which there is no other device."""


def is_loopback(host: str) -> bool:
    """Whether a host is this device only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def reachable_addresses(listen_host: str) -> tuple[str, ...]:
    """What others may dial when the node listens on ``listen_host``, best first.

    A specific address is itself. For "all addresses": the IPv4 addresses of the interfaces that are up and lead
    somewhere, private ones first; loopback where there is none.
    """
    if listen_host not in ("0.0.0.0", "::", "*", ""):  # noqa: S104  # compared, not bound
        return (LOOPBACK if listen_host == "localhost" else listen_host,)
    states = psutil.net_if_stats()
    found = [
        ipaddress.ip_address(address.address)
        for name, addresses in psutil.net_if_addrs().items()
        if not name.startswith(IGNORED) and name in states and states[name].isup
        for address in addresses
        if address.family == socket.AF_INET
    ]
    usable = [address for address in found if not address.is_loopback]
    usable.sort(key=lambda address: (address.is_link_local, not address.is_private))
    return tuple(str(address) for address in usable) or (LOOPBACK,)
