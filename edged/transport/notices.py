"""What a person should hear of the network, each thing once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MOST_NOTICES = 1024
"""Anyone on the network can cause some, so they must end."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a person should hear of, in one sentence.

    ``kind``: "key" (a door refused the cluster key), "version", "twin" (this identity runs elsewhere), "copy" (a twin
    knocks here), "expelled" (this identity may not join any more), "refused", "unreachable" (a door), "cluster"
    (another cluster is near), "multicast" (it is blocked), "nobody" (nothing is wrong here, and nobody is heard),
    "discovery" (mDNS refuses), "peer" (a member was cut off for bad frames), "door" (it cannot be opened with the new
    key), "disk" (something could not be written).
    """

    kind: str
    address: str
    text: str


class Notices:
    """Passes each notice on once, by kind and address."""

    def __init__(self, tell: Callable[[Notice], None]) -> None:
        """``tell`` hears each new ``Notice``."""
        self._tell = tell
        self._told: set[tuple[str, str]] = set()

    def add(self, kind: str, address: str, text: str) -> None:
        """Tell, unless the like was told before."""
        if (kind, address) not in self._told and len(self._told) < MOST_NOTICES:
            self._told.add((kind, address))
            self._tell(Notice(kind, address, text))
