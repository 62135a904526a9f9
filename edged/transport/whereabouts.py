"""By which addresses others are told to reach this device: a new one at once, one that is gone for some time yet.

Facts go in (which addresses are there, and now), an answer comes out; nothing is read here.
"""

from __future__ import annotations

from collections.abc import Mapping

from edged.transport.interfaces import is_loopback
from edged.transport.road import MOST_ADDRESSES

GONE_SECONDS = 30.0
"""So long an address that is gone is told on.

A Wi-Fi that lost its access point has its address back sooner, and so has most of what sits behind a router that starts
anew. Others dial all addresses at once, so one too many costs them nothing; with one too few they find nobody, and call
the node dead.
"""


class Whereabouts:
    """``look`` at what is there from time to time; ``addresses`` is what others shall be told, best first."""

    def __init__(self, addresses: tuple[str, ...]) -> None:
        """``addresses``: what counts until something is seen."""
        self.addresses = addresses
        self._present: dict[str, int] = {}
        self._gone: dict[str, float] = {}

    @property
    def present(self) -> tuple[str, ...]:
        """Those of them that are there now, where mDNS can be heard; all of them while none is, or none was seen."""
        return tuple(self._present) or self.addresses

    def look(self, present: Mapping[str, int], now: float) -> bool:
        """Whether this device must be announced anew, and listened for on other sockets than before.

        ``present`` has the addresses that are there, best first, and the number of the interface of each. One that was
        gone, or is another interface's now, may look the same as before: but what listened there hears nothing more.
        """
        anew = any(
            address in self._gone or self._present.get(address, number) != number for address, number in present.items()
        )
        before = self.addresses
        self._gone = {address: self._gone.get(address, now) for address in before if address not in present}
        self._present = dict(present)
        if present:  # else there is no network at the moment, and they may all come back
            self.addresses = self._chosen(now)
        return anew or self.addresses != before

    def _chosen(self, now: float) -> tuple[str, ...]:
        """All that are there and, where there is room, those that have not been gone for long, the latest first.

        Nothing is told anew, in another order, only because one of them is gone.
        """
        kept = [
            address
            for address, since in sorted(self._gone.items(), key=lambda gone: -gone[1])
            if now < since + GONE_SECONDS and not is_loopback(address)  # which leads others to themselves
        ]
        known = set(self._present) | set(kept) == set(self.addresses)
        if kept and known and len(self.addresses) <= MOST_ADDRESSES:
            return self.addresses
        return (*self._present, *kept[: max(0, MOST_ADDRESSES - len(self._present))])
