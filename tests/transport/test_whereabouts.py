"""What is told of a device's addresses while its interfaces come and go, under a virtual clock."""

from __future__ import annotations

import pytest

from edged.transport.road import MOST_ADDRESSES
from edged.transport.whereabouts import GONE_SECONDS, Whereabouts

WIFI, VPN, CABLE = "192.168.1.20", "10.8.0.2", "192.168.1.30"


class Device:
    """Each interface has one address; ``look`` lets a second pass."""

    def __init__(self, *addresses: str) -> None:
        self.now, self.numbers = 100.0, 0
        self.seen: dict[str, int] = {}
        self.plug(*addresses)
        self.whereabouts = Whereabouts(tuple(self.seen))
        assert self.look() is False

    def plug(self, *addresses: str) -> None:
        """The best is plugged in last."""
        for address in reversed(addresses):
            self.numbers += 1
            self.seen = {address: self.numbers, **self.seen}

    def unplug(self, address: str) -> int:
        return self.seen.pop(address)

    def look(self, seconds: float = 1.0) -> bool:
        self.now += seconds
        return self.whereabouts.look(self.seen, self.now)

    @property
    def told(self) -> tuple[str, ...]:
        return self.whereabouts.addresses


def test_a_new_address_is_told_at_once_and_once() -> None:
    device = Device(WIFI)
    device.plug(CABLE)
    assert [device.look(), device.look()] == [True, False]
    assert device.told == (CABLE, WIFI)


def test_an_outage_shorter_than_half_a_minute_changes_nothing_that_is_told() -> None:
    device = Device(WIFI, VPN)
    number = device.unplug(WIFI)
    for _ in range(int(GONE_SECONDS) - 1):
        assert device.look() is False
        assert device.told == (WIFI, VPN)
        assert device.whereabouts.present == (VPN,)
    device.seen = {WIFI: number, **device.seen}
    assert device.look() is True, "who listens for mDNS has to begin anew there"
    assert device.whereabouts.present == (WIFI, VPN)
    assert device.look() is False
    assert device.told == (WIFI, VPN)


def test_an_address_that_stays_away_is_told_no_more() -> None:
    device = Device(WIFI, VPN)
    device.unplug(WIFI)
    assert device.look() is False
    assert device.look(GONE_SECONDS) is True
    assert device.told == (VPN,)
    assert device.look() is False


def test_each_outage_has_its_own_half_minute() -> None:
    device = Device(WIFI, VPN)
    for _ in range(3):
        device.unplug(WIFI)
        assert [device.look(), device.look(GONE_SECONDS - 1)] == [False, False]
        device.plug(WIFI)
        assert device.look() is True
    assert device.told == (WIFI, VPN)


def test_an_interface_that_is_made_anew_between_two_looks_is_noticed_by_its_number() -> None:
    device = Device(WIFI, VPN)
    device.unplug(WIFI)
    device.plug(WIFI)
    assert [device.look(), device.look()] == [True, False]
    assert device.told == (WIFI, VPN)


def test_a_device_without_any_network_keeps_what_it_had_and_is_announced_when_one_is_back() -> None:
    device = Device(WIFI)
    number = device.unplug(WIFI)
    assert [device.look(), device.look(10 * GONE_SECONDS)] == [False, False]
    assert device.told == device.whereabouts.present == (WIFI,)
    device.seen = {WIFI: number}
    assert [device.look(), device.look()] == [True, False]
    assert device.told == (WIFI,)


@pytest.mark.parametrize(("away", "told"), [(1.0, (CABLE, WIFI)), (GONE_SECONDS, (CABLE,))])
def test_the_new_address_comes_first_where_the_old_one_was_lost(away: float, told: tuple[str, ...]) -> None:
    device = Device(WIFI)
    device.unplug(WIFI)
    device.look()
    device.plug(CABLE)
    assert device.look(away) is True
    assert device.told == told


def test_loopback_is_no_address_that_is_missed() -> None:
    device = Device("127.0.0.1")
    device.unplug("127.0.0.1")
    assert device.look() is False
    device.plug(WIFI)
    assert device.look() is True
    assert device.told == (WIFI,)


def test_where_there_is_no_room_those_that_are_there_go_first_and_then_those_that_were_there_last() -> None:
    many = tuple(f"10.0.{number}.1" for number in range(MOST_ADDRESSES))
    device = Device(*many)
    device.unplug(many[0])
    device.look()
    device.unplug(many[1])
    device.look()
    assert device.told == many
    device.plug(CABLE)
    assert device.look() is True
    assert device.told == (CABLE, *many[2:], many[1])
    device.plug(WIFI)
    assert device.look() is True
    assert device.told == (WIFI, CABLE, *many[2:])
