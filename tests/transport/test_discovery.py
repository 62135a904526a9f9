import asyncio

import pytest

from edged.transport import discovery, entrance, interfaces, network
from edged.transport.contacts import Reason
from edged.transport.discovery import Announcement, Discovery
from edged.transport.interfaces import is_loopback, reachable_addresses
from edged.transport.security import new_cluster_key
from tests.transport.nodes import build, exchange, met, running, until


async def multicast_works():
    heard, problems = [], []
    tell = (heard.append, lambda gone: None, lambda reason, text: problems.append(text))
    one = Discovery(Announcement("t", 1, "a" * 16, ("127.0.0.1",), 1), *tell)
    two = Discovery(Announcement("t", 1, "b" * 16, ("127.0.0.1",), 2), *tell)
    try:
        one.open()
        two.open()
        async with asyncio.timeout(5):
            while len({said.node for said in heard}) < 2 and not problems:  # noqa: ASYNC110  # heard in a callback
                await asyncio.sleep(0.01)
    except TimeoutError:
        return False
    finally:
        await one.close()
        await two.close()
    return not problems


@pytest.fixture
async def multicast():
    if not await multicast_works():
        pytest.skip("this machine does not let multicast through on loopback")


@pytest.mark.usefixtures("multicast")
async def test_nodes_on_loopback_find_each_other_without_an_address():
    async with running(build(discovery=True), build(discovery=True)) as (left, right):
        await met(left, right)
        await met(right, left)
        await exchange(left, right)


@pytest.mark.usefixtures("multicast")
async def test_after_an_exchange_of_the_key_newcomers_find_the_node_by_the_new_one():
    new, notices = new_cluster_key(), []
    async with running(build(discovery=True, on_notice=notices.append)) as (node,):
        node.exchange_key(new)
        async with running(build(discovery=True, key=new)) as (late,):
            await met(node, late)
            await exchange(node, late)


def is_open(announced: Discovery) -> bool:
    return announced._zeroconf is not None and not announced._zeroconf.zeroconf.done


@pytest.fixture
def made(monkeypatch) -> list[Discovery]:
    """Every discovery that an entrance makes."""
    made = []

    def make(*arguments):
        made.append(Discovery(*arguments))
        return made[-1]

    monkeypatch.setattr(entrance, "Discovery", make)
    return made


@pytest.mark.usefixtures("multicast")
@pytest.mark.parametrize("moments", [1, 3])
async def test_a_node_that_closes_while_it_announces_anew_leaves_nothing_open(made, moments):
    async with running(build(discovery=True)) as (node,):
        await until(lambda: is_open(made[0]) and made[0]._browser is not None and not made[0]._tasks)
        node._entrance.announce_anew()
        for _ in range(moments):
            await asyncio.sleep(0)
    assert len(made) == 1
    assert not is_open(made[0])


@pytest.mark.usefixtures("multicast")
async def test_who_announces_anew_twice_at_once_does_so_once_with_what_is_true_then(made):
    async with running(build(discovery=True)) as (node,):
        await until(lambda: is_open(made[0]))
        node._entrance.announce_anew()
        await asyncio.sleep(0)
        node._whereabouts.look({"127.0.0.1": 1, "127.0.0.2": 1}, 0.0)
        node._entrance.announce_anew()
        await until(lambda: not node._entrance._announcing.locked() and len(made) > 1 and is_open(made[-1]))
    assert len(made) == 2
    assert made[-1]._own.addresses == ("127.0.0.1", "127.0.0.2")
    assert not any(map(is_open, made))


@pytest.mark.usefixtures("multicast")
async def test_an_address_that_is_told_but_gone_does_not_end_discovery_on_the_others(made, monkeypatch):
    """The system refuses to listen for mDNS at an address that is not there, and with it the whole list."""
    here, gone, notices = "127.0.0.1", "192.0.2.7", []
    async with running(build(discovery=True, on_notice=notices.append)) as (node,):
        for seen in ({here: 1, gone: 2}, {here: 1}, {here: 3}):
            monkeypatch.setattr(network, "present_addresses", lambda _, seen=seen: seen)
            assert node.addresses() == (here, gone)
        await until(lambda: not node._entrance._announcing.locked() and len(made) > 1)
        assert made[-1]._own.addresses == (here,)
        async with running(build(discovery=True)) as (late,):
            await met(late, node)
    assert "discovery" not in {notice.kind for notice in notices}


@pytest.mark.usefixtures("multicast")
async def test_another_cluster_and_another_version_are_noticed_and_left_alone():
    notices = []
    key = new_cluster_key()
    async with running(
        build(discovery=True, key=key, on_notice=notices.append),
        build(discovery=True),
        build(discovery=True, key=key, protocol=9),
    ) as (node, _, other):
        await until(lambda: {notice.kind for notice in notices} >= {"cluster", "version"})
        text = next(notice.text for notice in notices if notice.kind == "version")
        assert "protocol 9, this node 1" in text
        assert not node._peers
        assert not other._peers
        assert {unmet.reason for unmet in node.contacts.unmet(alone=True)} == {Reason.CLUSTER, Reason.VERSION}


@pytest.mark.usefixtures("multicast")
async def test_who_withdraws_its_announcement_is_no_longer_called_another_cluster():
    async with running(build(discovery=True)) as (node,):
        async with running(build(discovery=True, key=new_cluster_key())):
            await until(lambda: node.contacts.unmet(alone=True))
        await until(lambda: not node.contacts.unmet(alone=True))


@pytest.mark.usefixtures("multicast")
async def test_a_node_hears_itself_where_multicast_works_and_is_then_told_that_nobody_is_there(monkeypatch):
    monkeypatch.setattr(entrance, "ECHO_SECONDS", 10.0)
    monkeypatch.setattr(entrance, "LONELY_SECONDS", 10.0)
    notices = []
    async with running(build(discovery=True, on_notice=notices.append)) as (node,):
        await until(lambda: notices)
        assert node._entrance._echoes
    assert [notice.kind for notice in notices] == ["nobody"]
    assert "multicast works on this device" in notices[0].text


async def test_a_node_that_does_not_hear_itself_is_told_that_multicast_is_blocked_until_it_does(monkeypatch):
    monkeypatch.setattr(entrance, "ECHO_SECONDS", 0.0)  # nothing can have come back yet
    monkeypatch.setattr(entrance, "LONELY_SECONDS", 0.0)
    async with running(build(discovery=True)) as (node,):
        await until(lambda: node.contacts.unmet(alone=True))
        (unmet,) = node.contacts.unmet(alone=True)
        assert unmet.reason is Reason.MULTICAST
        assert "--seed" in unmet.text
        assert not node.contacts.unmet(alone=False)
        node._entrance._heard(node._entrance._discovery._own)
        assert not node.contacts.unmet(alone=True)


async def test_a_name_that_another_device_announces_is_that_of_a_twin_also_when_it_is_heard(monkeypatch):
    async def taken(*_, **__):
        raise discovery.NonUniqueNameException

    monkeypatch.setattr(discovery.AsyncZeroconf, "async_register_service", taken)
    notices = []
    async with running(build(discovery=True, on_notice=notices.append)) as (node,):
        await until(lambda: notices)
        node._entrance._heard(node._entrance._discovery._own)
        (unmet,) = node.contacts.unmet(alone=True)
    assert (unmet.reason, notices[0].kind) == (Reason.TWIN, "discovery")
    assert "delete identity.json" in unmet.text


async def test_where_mdns_is_refused_that_is_the_reason(monkeypatch):
    def refuse(**_):
        raise OSError(19, "No such device")

    monkeypatch.setattr(discovery, "AsyncZeroconf", refuse)
    notices = []
    async with running(build(discovery=True, on_notice=notices.append)) as (node,):
        await until(lambda: notices)
        (unmet,) = node.contacts.unmet(alone=True)
    assert (notices[0].kind, unmet.reason) == ("discovery", Reason.MULTICAST)
    assert "No such device" in unmet.text


def test_a_specific_address_is_itself():
    assert reachable_addresses("192.0.2.7") == ("192.0.2.7",)
    assert reachable_addresses("localhost") == ("127.0.0.1",)


def test_virtual_interfaces_are_ignored_and_private_addresses_come_first(monkeypatch):
    class Address:
        def __init__(self, address):
            self.family, self.address = 2, address

    class State:
        def __init__(self, isup):
            self.isup = isup

    table = {
        "lo": "127.0.0.1", "docker0": "172.17.0.1", "veth12": "172.17.0.9", "br-5": "172.18.0.1", "utun3": "10.9.0.1",
        "awdl0": "169.254.1.1", "eth1": "8.8.4.4", "eth0": "192.168.1.5", "wlan0": "169.254.7.7", "eth9": "10.0.0.1",
    }  # fmt: skip
    monkeypatch.setattr(
        interfaces.psutil, "net_if_addrs", lambda: {name: [Address(host)] for name, host in table.items()}
    )
    monkeypatch.setattr(interfaces.psutil, "net_if_stats", lambda: {name: State(name != "eth9") for name in table})
    assert reachable_addresses("0.0.0.0") == ("192.168.1.5", "8.8.4.4", "169.254.7.7")
    monkeypatch.setattr(interfaces.psutil, "net_if_stats", dict)
    assert reachable_addresses("0.0.0.0") == ("127.0.0.1",)


def test_loopback_is_known_by_name_and_number():
    assert [is_loopback(host) for host in ("127.0.0.9", "::1", "localhost", "10.0.0.1", "pi")] == [True] * 3 + [
        False
    ] * 2
