"""The network as this device sees it: interfaces, multicast, ports, firewall."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from edged.doctor.finding import Finding, Level
from edged.transport.echo import echoes
from edged.transport.interfaces import Interface, is_loopback, reachable_addresses, survey
from edged.transport.ports import read_ports

PORTS = 3
EXAMPLE_PORT = 7077
ECHO_SECONDS = 3.0
NFT_SECONDS = 1.0
USUAL_CHAIN = "inet filter input"
INPUT_CHAIN = re.compile(
    r"^table (\S+ \S+) \{(?:(?!^\}).)*?^\s*chain (\S+) \{\s*type filter hook input", re.DOTALL | re.MULTILINE
)
"""In what `nft list ruleset` prints; with iptables the chain is ``ip filter INPUT``."""

UFW = Path("/etc/ufw/ufw.conf")
FIREWALLD = Path("/run/firewalld")
MACOS = Path("/usr/libexec/ApplicationFirewall/socketfilterfw")


@dataclass(frozen=True, slots=True)
class NetworkFacts:
    """``echoes``: for each address of this node why nothing comes back from it by multicast, empty if it does.

    ``discovery``: whether mDNS is wanted; ``seeds``: whether any was named. ``listen``: host and port, 0 for any.
    ``taken``: ports of those wanted that cannot be had, and by whom they are held; ``last_ports``: those of the last
    run. ``firewall``: "ufw", "firewalld", "nftables", "macos", or empty where none was seen; ``chain``: the family,
    table and name of the chain of nftables that hears what comes in. ``metrics``: their port, if it cannot be had, and
    by whom it is held.
    """

    interfaces: tuple[Interface, ...]
    echoes: Mapping[str, str]
    discovery: bool
    seeds: bool
    listen: tuple[str, int]
    taken: tuple[tuple[int, str], ...]
    last_ports: tuple[int, ...]
    firewall: str
    chain: str = USUAL_CHAIN
    metrics: tuple[int, str] | None = None


async def measure_network(
    home: Path,
    listen: tuple[str, int],
    metrics: tuple[str, int] | None = None,
    *,
    discovery: bool,
    seeds: bool,
    running: bool,
) -> NetworkFacts:
    """Look, and send a little by multicast; three seconds at most. ``running``: a node of this home has its ports."""
    addresses = own_addresses(listen[0])
    return NetworkFacts(
        interfaces=survey(),
        echoes=await echoes(addresses, ECHO_SECONDS) if discovery else {},
        discovery=discovery,
        seeds=seeds,
        listen=listen,
        taken=() if running or not listen[1] else taken_ports(*listen),
        last_ports=tuple(port for port in read_ports(home) if port),
        firewall=firewall(),
        chain=input_chain(),
        metrics=None if running or metrics is None else next(iter(taken_ports(*metrics, 1)), None),
    )


def own_addresses(host: str) -> list[str]:
    """Where a node that listens on ``host`` hears others by multicast."""
    return [each for each in reachable_addresses(host) if ":" not in each]


def taken_ports(host: str, first: int, count: int = PORTS) -> tuple[tuple[int, str], ...]:
    """Which of so many ports cannot be had, and why: who has it, or what the system says."""
    found = []
    for port in range(first, first + count):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                trial.bind((host, port))
            except OSError as problem:
                found.append((port, _holder(port) or problem.strerror or str(problem)))
            except OverflowError:
                found.append((port, "ports end at 65535"))
    return tuple(found)


def _holder(port: int) -> str:
    """The process that listens on a port, as far as this user may know it."""
    try:
        for found in psutil.net_connections("tcp"):
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port:
                return f"{psutil.Process(found.pid).name()} (process {found.pid})" if found.pid else "another user"
    except (psutil.Error, OSError):
        pass
    return ""


def firewall() -> str:
    """Which firewall seems to be at work; what only root may see is not asked of others."""
    if "ENABLED=yes" in _text(UFW):
        return "ufw"
    if FIREWALLD.is_dir() and shutil.which("firewall-cmd"):
        return "firewalld"
    if sys.platform == "darwin" and "enabled" in _said(str(MACOS), "--getglobalstate"):
        return "macos"
    rules = _rules()
    return "nftables" if "hook input" in rules and ("drop" in rules or "reject" in rules) else ""


def input_chain() -> str:
    """The chain of nftables that a rule must be put into to let something in."""
    chain = INPUT_CHAIN.search(_rules())
    return f"{chain[1]} {chain[2]}" if chain else USUAL_CHAIN


def _rules() -> str:
    """The rules of nftables; empty for who is not root."""
    nft = shutil.which("nft")
    return _said(nft, "list", "ruleset") if nft else ""


def _said(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed command, found on the path of the user
            command, capture_output=True, text=True, timeout=NFT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def opening(kind: str, first: int, chain: str = USUAL_CHAIN) -> str:
    """The commands that let a node's ports, from ``first`` on, and mDNS in; empty for a firewall that is not known."""
    last = first + PORTS - 1
    return {
        "ufw": f"sudo ufw allow {first}:{last}/tcp && {opening_to_mdns(kind)}",
        "firewalld": (
            f"sudo firewall-cmd --permanent --add-port={first}-{last}/tcp --add-service=mdns && "
            "sudo firewall-cmd --reload"
        ),
        "nftables": (f"sudo nft insert rule {chain} tcp dport {first}-{last} accept && {opening_to_mdns(kind, chain)}"),
        "macos": opening_to_mdns(kind),
    }.get(kind, "")


def opening_to_mdns(kind: str, chain: str = USUAL_CHAIN) -> str:
    """The commands that let mDNS in, which is all that nodes need to hear of each other."""
    return {
        "ufw": "sudo ufw allow 5353/udp",
        "firewalld": "sudo firewall-cmd --permanent --add-service=mdns && sudo firewall-cmd --reload",
        "nftables": f"sudo nft insert rule {chain} udp dport 5353 accept",
        "macos": f"sudo {MACOS} --add {shutil.which('python3') or sys.executable}, then allow it in System Settings",
    }.get(kind, "")


def judge_network(facts: NetworkFacts) -> list[Finding]:
    """All that is to be said of the network."""
    return [*_interfaces(facts), *_multicast(facts), _ports(facts), *_metrics(facts), _firewall(facts)]


def _interfaces(facts: NetworkFacts) -> list[Finding]:
    used = [each for each in facts.interfaces if not each.skipped]
    skipped = [each for each in facts.interfaces if each.skipped and each.skipped != "this device only"]
    if used:
        findings = [Finding("interfaces", Level.OK, ", ".join(map(_named, used)))]
    else:
        what = "no interface leads to other devices"
        findings = [Finding("interfaces", Level.WARNING, what, "connect a cable or the Wi-Fi")]
    if skipped:
        reasons = dict.fromkeys(each.skipped for each in skipped)
        groups = {why: ", ".join(_named(each) for each in skipped if each.skipped == why) for why in reasons}
        what = "; ".join(f"{names}: {why}" for why, names in groups.items())
        findings.append(Finding("interfaces-skipped", Level.OK, what))
    return findings


def _named(interface: Interface) -> str:
    return " ".join([interface.name, *interface.addresses])


def _multicast(facts: NetworkFacts) -> list[Finding]:
    if not facts.discovery:
        return [Finding("multicast", Level.NOTE, "not tried: discovery is off (--no-discovery)")]
    deaf = {address: why for address, why in facts.echoes.items() if why}
    heard = [address for address in facts.echoes if address not in deaf]
    if not deaf:
        return [Finding("multicast", Level.OK, f"heard on {', '.join(heard)}")]
    what = "; ".join(deaf.values())
    opens = opening_to_mdns(facts.firewall, facts.chain) or "let UDP port 5353 through the firewall of this device"
    level = Level.WARNING if heard or facts.seeds or all(map(is_loopback, deaf)) else Level.PROBLEM
    return [Finding("multicast", level, what, f"{opens}; or name another node: `edged join --seed HOST:PORT`")]


def _ports(facts: NetworkFacts) -> Finding:
    host, port = facts.listen
    if facts.taken:
        what = ", ".join(f"port {each}: {who}" for each, who in facts.taken)
        return Finding("ports", Level.PROBLEM, f"cannot listen on {host}; {what}", "edged join --listen 0.0.0.0:0")
    if port:
        return Finding("ports", Level.OK, f"{port} to {port + PORTS - 1} on {host}")
    last = f", the last time {' '.join(map(str, facts.last_ports))}" if facts.last_ports else ""
    return Finding("ports", Level.OK, f"any three on {host}{last}")


def _metrics(facts: NetworkFacts) -> list[Finding]:
    if facts.metrics is None:
        return []
    port, who = facts.metrics
    what = f"cannot serve metrics on port {port}: {who}; a node would not start"
    return [Finding("metrics-port", Level.PROBLEM, what, "edged join --metrics-port with another port, or 0 for any")]


def _firewall(facts: NetworkFacts) -> Finding:
    if not facts.firewall:
        return Finding("firewall", Level.OK, "none is seen at work (some show themselves only to root)")
    remedy = opening(facts.firewall, facts.listen[1] or EXAMPLE_PORT, facts.chain)
    if not facts.listen[1]:
        remedy = f"edged join --listen 0.0.0.0:{EXAMPLE_PORT}, so that the ports stay the same, and: {remedy}"
    return Finding("firewall", Level.NOTE, f"{facts.firewall} is at work; what it lets in was not asked", remedy)


def speed_of(interfaces: Sequence[Interface]) -> float:
    """Bytes per second that the fastest interface in use is made for; 0.0 where the system does not say."""
    return max((each.bits_per_second for each in interfaces if not each.skipped), default=0) / 8
