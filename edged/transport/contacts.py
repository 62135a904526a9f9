"""Why this node does not see others: all that is known of it, in one place, as sentences that say what to do.

The entrance reports what came of each door and what mDNS brought; here it becomes a list, the most telling first. Plain
values in, plain values out: nothing here dials, listens or looks at a clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Reason(Enum):
    """Why somebody is not met, the most telling first.

    ``CLUSTER``: a node announces itself, with another key or for another cluster. ``MULTICAST``: this device does not
    hear what it says itself on mDNS. ``NOBODY``: nothing is wrong here, and nobody is heard.
    """

    EXPELLED = "expelled"
    TWIN = "twin"
    KEY = "key"
    VERSION = "version"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    MULTICAST = "multicast"
    CLUSTER = "cluster"
    NOBODY = "nobody"


ONLY_ALONE = frozenset({Reason.MULTICAST, Reason.NOBODY})
"""These are about nobody in particular: who sees another node needs to hear of them no more."""

MOST_CONTACTS = 64
"""Anyone on the network can cause some; the oldest goes first."""

_RANK = tuple(Reason)


class Reach(Enum):
    """What a plain connect to an address shows."""

    OPEN = "open"
    CLOSED = "closed"
    SILENT = "silent"
    UNKNOWN_NAME = "unknown name"
    NO_ROUTE = "no route"


@dataclass(frozen=True, slots=True)
class Unmet:
    """One reason. ``address``: HOST:PORT, empty where it is about no door; ``text``: one sentence with the remedy."""

    reason: Reason
    address: str
    text: str


class Contacts:
    """What stands between this node and others now: the latest of each address."""

    def __init__(self) -> None:
        """Nothing has been tried."""
        self._unmet: dict[str, Unmet] = {}

    def add(self, unmet: Unmet) -> None:
        """Somebody was not met; what was known of that address before counts no more."""
        self._unmet.pop(unmet.address, None)
        self._unmet[unmet.address] = unmet
        while len(self._unmet) > MOST_CONTACTS:
            del self._unmet[next(iter(self._unmet))]

    def settle(self, address: str) -> None:
        """The address leads to a member by now, or to nobody any more; empty: this node hears multicast, or others."""
        self._unmet.pop(address, None)

    def unmet(self, *, alone: bool) -> tuple[Unmet, ...]:
        """Everything, the most telling first. ``alone``: no other member is there."""
        told = [each for each in self._unmet.values() if alone or each.reason not in ONLY_ALONE]
        if len(told) > 1:
            told = [each for each in told if each.reason is not Reason.NOBODY]  # somebody was heard since
        return tuple(sorted(told, key=lambda each: (_RANK.index(each.reason), each.address)))


def other_version(where: str, theirs: int, own: int) -> str:
    """A node of another protocol."""
    return (
        f"{where} speaks protocol {theirs}, this node {own}; update the older edged (`pip install --upgrade .` in a "
        "newer checkout)"
    )


def other_key(where: str) -> str:
    """A door that cuts every handshake."""
    return (
        f"{where} answers, but not to this cluster key; compare `edged key show` on both devices. If the key "
        "was changed there (`edged key rotate`), join with the new one: `edged join --key ...`"
    )


def other_cluster(where: str) -> str:
    """A node announces itself under another tag."""
    return (
        f"the node at {where} belongs to another cluster or has another key; to join it, type "
        "`edged key join-command` there, and here what it prints"
    )


def knocking_twin(where: str) -> str:
    """Told by the node at whose door its own identity knocks."""
    return (
        f"a second node with this identity runs at {where}: its home is a copy of this one; delete identity.json "
        "there to make it a node of its own"
    )


def copied(name: str, where: str) -> str:
    """Told by the node that has dialled the copy of a member."""
    return (
        f"a second node with the identity of {name} runs at {where}, while {name} is there: one home is a copy of the "
        "other; delete identity.json in the copy to make it a node of its own"
    )


def announced_twice() -> str:
    """Somebody else answers on mDNS to this node's name, which holds its identity and port."""
    return (
        "another device announces this node's own name on mDNS: if its home is a copy of this one, delete "
        "identity.json there to make it a node of its own"
    )


def unreachable(where: str, reach: Reach, detail: str) -> str:
    """A seed that does not answer. ``detail``: what the door's own protocol made of it, where something is open."""
    what = {
        Reach.OPEN: f"{detail}; is {where} the first of a node's three ports? `edged key join-command` there prints it",
        Reach.CLOSED: (
            f"nobody listens at {where}: start `edged join` there, or take the address that "
            "`edged key join-command` prints there now"
        ),
        Reach.SILENT: (
            f"{where} does not answer: the device is off, has another address, or a firewall (there: three TCP ports) "
            "or the Wi-Fi's client isolation keeps the two apart; try `ping` from here"
        ),
        Reach.UNKNOWN_NAME: (
            f"the name of {where} is unknown here; write its number, which `edged key join-command` prints there"
        ),
        Reach.NO_ROUTE: f"there is no route from here to {where}: connect both devices to one network",
    }[reach]
    return f"{what}. Still trying"


def deaf(problem: str = "") -> str:
    """This node does not hear its own announcement. ``problem``: what the system said, if it said anything."""
    why = f" ({problem})" if problem else ", not even from this device itself"
    return (
        f"multicast is blocked: nothing is heard on UDP port 5353{why}; open it in the firewall (`edged doctor` "
        "prints the command), or name another node: `edged join --seed HOST:PORT`"
    )


def nobody(*, discovery: bool, remembered: int) -> str:
    """Nobody was heard. ``remembered``: how many doors of earlier runs were tried in vain."""
    if not discovery:
        heard = "discovery is off (--no-discovery)"
    else:
        heard = "no other node announces itself on this network, and multicast works on this device"
    known = f"; no node of earlier runs answers at its last address ({remembered} tried)" if remembered else ""
    return (
        f"{heard}{known}. If a node runs elsewhere, client isolation or its firewall may keep the two apart: name it, "
        "`edged join --seed HOST:PORT`"
    )
