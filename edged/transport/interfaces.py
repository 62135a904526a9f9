"""Which addresses of this device other devices could reach."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass

import psutil

LOOPBACK = "127.0.0.1"
IGNORED = ("docker", "veth", "br-", "utun", "awdl", "llw", "lo", "virbr", "cni", "flannel", "ifb", "dummy")
"""Beginnings of the names of interfaces behind which there is no other device."""

MEGABIT = 10**6

EVERYWHERE = ("0.0.0.0", "::", "*", "")  # noqa: S104 -- compared, not bound

LOOK_SECONDS = 0.5


def is_loopback(host: str) -> bool:
    """Whether a host is this device only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface, its IPv4 addresses, and why it is not used (empty: it is).

    ``bits_per_second``: what its link is made for, 0 where the system does not say. ``number``: the system's; one that
    is deleted and made anew has another.
    """

    name: str
    addresses: tuple[str, ...]
    skipped: str
    bits_per_second: int
    number: int = 0


def survey() -> tuple[Interface, ...]:
    """Every interface of this device, by name."""
    states = psutil.net_if_stats()
    numbered = {name: number for number, name in socket.if_nameindex()}
    found = []
    for name, addresses in sorted(psutil.net_if_addrs().items()):
        numbers = tuple(each.address for each in addresses if each.family == socket.AF_INET)
        state = states.get(name)
        speed = getattr(state, "speed", 0) * MEGABIT
        skipped = _why_skipped(name, numbers, up=state is not None and state.isup)
        found.append(Interface(name, numbers, skipped, speed, numbered.get(name, 0)))
    return tuple(found)


def _why_skipped(name: str, numbers: tuple[str, ...], *, up: bool) -> str:
    if name.startswith("lo") or (numbers and all(map(is_loopback, numbers))):
        return "this device only"
    if name.startswith(IGNORED):
        return "bridge or tunnel; no other device is behind it"
    if not up:
        return "down"
    return "" if numbers else "no IPv4 address"


def reachable_addresses(listen_host: str) -> tuple[str, ...]:
    """What others may dial when the node listens on ``listen_host``, best first.

    A specific address is itself. For "all addresses": the IPv4 addresses of the interfaces that are up and lead
    somewhere, private ones first; loopback where there is none.
    """
    if listen_host not in EVERYWHERE:
        return (LOOPBACK if listen_host == "localhost" else listen_host,)
    return tuple(_usable()) or (LOOPBACK,)


def present_addresses(listen_host: str) -> dict[str, int]:
    """Which of them the device has now, in that order, each with the number of its interface; empty without a network.

    A host whose interface cannot be told counts as present, at number 0.
    """
    if listen_host in EVERYWHERE:
        return _usable()
    (host,) = reachable_addresses(listen_host)
    if not _is_number(host):
        return {host: 0}
    numbers = [found.number for found in survey() if host in found.addresses]
    return {host: numbers[0]} if numbers else {}


def _usable() -> dict[str, int]:
    """The addresses of interfaces that are up and lead somewhere, and at which interface, private ones first."""
    used = [(ipaddress.ip_address(each), found) for found in survey() if not found.skipped for each in found.addresses]
    usable = [(address, found) for address, found in used if not address.is_loopback]
    usable.sort(key=lambda each: (each[0].is_link_local, not each[0].is_private))
    return {str(address): found.number for address, found in usable}


def _is_number(host: str) -> bool:
    """Whether a host is an IPv4 address that an interface has or has not; all of 127 is this device's."""
    try:
        return not ipaddress.IPv4Address(host).is_loopback
    except ValueError:
        return False


async def await_network(listen_host: str, patience_seconds: float, has_enough: Callable[[], bool]) -> bool:
    """Wait until this device has the address that a node shall listen on, or any; whether it has one in time.

    ``has_enough``: whether nobody wants to wait any more.
    """
    deadline = asyncio.get_running_loop().time() + patience_seconds
    while not _has(listen_host):
        if has_enough() or asyncio.get_running_loop().time() >= deadline:
            return False
        await asyncio.sleep(LOOK_SECONDS)
    return True


def _has(listen_host: str) -> bool:
    """Whether there is such an address now; of what is no IPv4 address that is not asked."""
    return bool(present_addresses(listen_host))
