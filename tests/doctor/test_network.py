"""Interfaces, multicast, ports and firewalls become findings; ports and multicast are tried for real on loopback."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from edged.doctor import network
from edged.doctor.finding import Level
from edged.doctor.network import NetworkFacts
from edged.transport import discovery
from edged.transport.echo import echoes
from edged.transport.interfaces import Interface

ETH = Interface("eth0", ("192.168.1.5",), "", 10**9)
DOCKER = Interface("docker0", ("172.17.0.1",), "a bridge", 10**10)
VETH = Interface("veth1", (), "a bridge", 10**10)
LO = Interface("lo", ("127.0.0.1",), "this device only", 0)
FACTS = NetworkFacts(
    interfaces=(DOCKER, ETH, LO, VETH),
    echoes={"192.168.1.5": ""},
    discovery=True,
    seeds=False,
    listen=("0.0.0.0", 0),
    taken=(),
    last_ports=(),
    firewall="",
)
DEAF = {"192.168.1.5": "what is sent from 192.168.1.5 does not come back"}


def found(facts: NetworkFacts) -> dict:
    return {each.id: each for each in network.judge_network(facts)}


def test_a_network_in_order_names_what_is_used_and_what_is_not() -> None:
    findings = found(FACTS)
    assert {each.level for each in findings.values()} == {Level.OK}
    assert findings["interfaces"].what == "eth0 192.168.1.5"
    assert findings["interfaces-skipped"].what == "docker0 172.17.0.1, veth1: a bridge"


def test_a_device_without_a_network_is_warned() -> None:
    assert found(replace(FACTS, interfaces=(LO, DOCKER)))["interfaces"].level is Level.WARNING


@pytest.mark.parametrize(
    ("changes", "level"),
    [
        ({"echoes": DEAF}, Level.PROBLEM),
        ({"echoes": DEAF, "seeds": True}, Level.WARNING),
        ({"echoes": {**DEAF, "10.0.0.1": ""}}, Level.WARNING),
        ({"echoes": {"127.0.0.1": "silence"}}, Level.WARNING),
        ({"echoes": {}, "discovery": False}, Level.NOTE),
    ],
)
def test_multicast(changes: dict, level: Level) -> None:
    finding = found(replace(FACTS, **changes))["multicast"]
    assert finding.level is level
    assert "--seed" in finding.remedy or level is Level.NOTE


def test_a_port_for_metrics_that_is_taken_is_a_problem(tmp_path: Path) -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        options = {"discovery": False, "seeds": False}
        facts = asyncio.run(
            network.measure_network(tmp_path, ("127.0.0.1", 0), ("127.0.0.1", port), **options, running=False)
        )
        own = asyncio.run(
            network.measure_network(tmp_path, ("127.0.0.1", 0), ("127.0.0.1", port), **options, running=True)
        )
    assert found(facts)["metrics-port"].level is Level.PROBLEM
    assert f"port {port}" in found(facts)["metrics-port"].what
    assert "metrics-port" not in found(own)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("ufw", ["sudo ufw allow 7077:7079/tcp", "ufw allow 5353/udp"]),
        ("firewalld", ["--add-port=7077-7079/tcp", "--add-service=mdns", "--reload"]),
        ("nftables", ["tcp dport 7077-7079 accept", "udp dport 5353 accept"]),
        ("macos", ["socketfilterfw", "--add"]),
    ],
)
def test_each_firewall_is_opened_by_its_own_command(kind: str, words: list[str]) -> None:
    finding = found(replace(FACTS, firewall=kind))["firewall"]
    assert finding.level is Level.NOTE
    assert "edged join --listen 0.0.0.0:7077" in finding.remedy  # any ports could not be opened
    assert all(word in finding.remedy for word in words)
    heard = found(replace(FACTS, firewall=kind, echoes=DEAF))["multicast"].remedy
    assert words[-1] in heard
    assert "7077" not in heard  # to hear of others, no port of the node's own must be open
    fixed = found(replace(FACTS, firewall=kind, listen=("0.0.0.0", 9000)))["firewall"]
    assert "edged join" not in fixed.remedy


def test_ports_that_another_process_has_are_named_with_it() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        ((taken, who),) = network.taken_ports("127.0.0.1", port)[:1]
        assert taken == port
        assert "process" in who
    finding = found(replace(FACTS, listen=("0.0.0.0", port), taken=((port, who),)))["ports"]
    assert finding.level is Level.PROBLEM
    assert str(port) in finding.what
    assert found(replace(FACTS, listen=("0.0.0.0", 7077)))["ports"].what == "7077 to 7079 on 0.0.0.0"
    assert "41 42 43" in found(replace(FACTS, last_ports=(41, 42, 43)))["ports"].what


def test_ports_end_somewhere_and_addresses_belong_to_somebody() -> None:
    assert [port for port, _ in network.taken_ports("127.0.0.1", 65534)][-1:] == [65536]
    assert len(network.taken_ports("203.0.113.7", 7077)) == 3


def test_ufw_is_known_by_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "UFW", tmp_path / "ufw.conf")
    monkeypatch.setattr(network, "_said", lambda *_: "")
    assert network.firewall() in {"", "firewalld"}
    (tmp_path / "ufw.conf").write_text("# on?\nENABLED=yes\n")
    assert network.firewall() == "ufw"


def test_only_rules_that_drop_what_comes_in_are_a_firewall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "UFW", Path("/nonexistent"))
    monkeypatch.setattr(network, "FIREWALLD", Path("/nonexistent"))
    monkeypatch.setattr(network.shutil, "which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(network, "_said", lambda *_: "chain input { type filter hook input; policy drop; }")
    assert network.firewall() == "nftables"
    monkeypatch.setattr(network, "_said", lambda *_: "chain forward { policy drop; }")
    assert network.firewall() == ""


IPTABLES = """table ip raw {
	chain PREROUTING {
		type filter hook prerouting priority raw; policy accept;
	}
}
table ip filter {
	chain FORWARD {
		type filter hook forward priority filter; policy accept;
	}

	chain INPUT {
		type filter hook input priority filter; policy accept;
		udp dport 5353 counter packets 0 bytes 0 drop
	}
}
"""


@pytest.mark.parametrize(("rules", "chain"), [(IPTABLES, "ip filter INPUT"), ("", "inet filter input")])
def test_a_rule_goes_into_the_chain_that_is_there(rules: str, chain: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network.shutil, "which", lambda name: f"/usr/sbin/{name}")
    monkeypatch.setattr(network, "_said", lambda *_: rules)
    assert network.input_chain() == chain
    facts = replace(FACTS, firewall="nftables", chain=chain, echoes=DEAF)
    opened = f"sudo nft insert rule {chain} udp dport 5353 accept"
    assert found(facts)["multicast"].remedy.startswith(f"{opened}; or name")
    assert found(facts)["firewall"].remedy.endswith(opened)


def test_the_speed_is_that_of_an_interface_in_use() -> None:
    assert network.speed_of(FACTS.interfaces) == 1.25e8
    assert network.speed_of([LO]) == 0.0


async def test_what_mdns_refuses_is_told_for_each_address(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_):
        raise OSError(19, "No such device")

    monkeypatch.setattr(discovery, "AsyncZeroconf", refuse)
    told = await echoes(["192.0.2.7", "192.0.2.8"], 5.0)
    assert list(told) == ["192.0.2.7", "192.0.2.8"]
    assert all("No such device" in why for why in told.values())


async def test_an_echo_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery.Discovery, "open", lambda _self: None)
    assert "does not come back" in (await echoes(["127.0.0.1"], 0.05))["127.0.0.1"]


async def test_an_own_announcement_comes_back_on_loopback() -> None:
    async with asyncio.timeout(30):
        told = await echoes(["127.0.0.1"], 20.0)
    if told["127.0.0.1"]:
        pytest.skip("this machine does not let multicast through on loopback")
    assert told == {"127.0.0.1": ""}
