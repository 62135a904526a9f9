"""A start that waits for the network."""

from __future__ import annotations

import asyncio
import itertools
import socket
from types import SimpleNamespace

import pytest

from edged.transport import interfaces
from edged.transport.interfaces import await_network, present_addresses

LOOPBACK = {"lo": "127.0.0.1"}
HOME = {"lo": "127.0.0.1", "eth0": "192.168.1.20"}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Interface -> its address; changing it is plugging the cable in."""
    table = dict(LOOPBACK)

    def addresses() -> dict:
        return {name: [SimpleNamespace(family=socket.AF_INET, address=host)] for name, host in table.items()}

    monkeypatch.setattr(interfaces.psutil, "net_if_addrs", addresses)
    monkeypatch.setattr(
        interfaces.psutil, "net_if_stats", lambda: {name: SimpleNamespace(isup=True, speed=0) for name in table}
    )
    numbers = itertools.count(1)
    numbered: dict[str, int] = {}
    monkeypatch.setattr(
        interfaces.socket,
        "if_nameindex",
        lambda: [(numbered.setdefault(name, next(numbers)), name) for name in table],
    )
    monkeypatch.setattr(interfaces, "LOOK_SECONDS", 0.01)
    return table


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.20"])
async def test_it_waits_until_the_address_is_there(table: dict[str, str], host: str) -> None:
    waiting = asyncio.ensure_future(await_network(host, 30.0, lambda: False))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    table |= HOME
    assert await waiting is True


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "desk.local", "::1"])
async def test_it_waits_for_nothing_that_is_there_or_that_it_cannot_tell(table: dict[str, str], host: str) -> None:
    assert table == LOOPBACK
    assert await await_network(host, 0.0, lambda: False) is True


async def test_it_does_not_wait_for_ever(table: dict[str, str]) -> None:
    assert await await_network("0.0.0.0", 0.05, lambda: False) is False
    assert await await_network("10.0.0.9", 0.05, lambda: False) is False
    assert await await_network("0.0.0.0", 1000.0, lambda: True) is False
    assert table == LOOPBACK


@pytest.mark.parametrize("host", ["0.0.0.0", "", "192.168.1.20"])
def test_what_is_present_is_named_with_the_number_of_its_interface(table: dict[str, str], host: str) -> None:
    assert present_addresses(host) == {}
    table |= HOME
    (number,) = present_addresses(host).values()
    assert present_addresses(host) == {"192.168.1.20": number}
    assert number > 0


@pytest.mark.parametrize("host", ["127.0.0.1", "desk.local", "::1"])
def test_a_host_whose_interface_cannot_be_told_is_present(table: dict[str, str], host: str) -> None:
    assert table == LOOPBACK
    assert present_addresses(host) == {host: 0}
