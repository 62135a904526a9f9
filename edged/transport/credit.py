"""How many bytes may be under way to one peer: a window of credits, returned by the receiver's acknowledgements.

The window is the larger of two of the largest recent parcels and twice bandwidth x delay, within bounds: a pipeline
wants two micro-batches under way, a long link wants to be kept full, and the receiver's memory wants neither to grow.
On a slow link little is under way, so that little arrives in vain after a plan has ended.
"""

from __future__ import annotations

from collections import deque

SMALLEST_BYTES = 2 << 20
LARGEST_BYTES = 64 << 20
BACKGROUND_BYTES = 512 << 10
"""Parcels that travel behind the others have so little under way that 100 Mbit/s carry it in 40 ms.

On a link with a delay of 0.1 s that makes 5 MB/s. A window that followed the measured bandwidth and delay would measure
its own queue as delay, and grow.
"""

SHORTEST_DELAY_SECONDS = 0.01
"""A busy device's loop may answer so late; a fast link must not run dry meanwhile."""

SMOOTHING = 0.2
"""Weight of the newest measurement in the bandwidth."""

FORGETTING = 0.99
"""How much of the largest parcel's size remains after each smaller one."""


class Credit:
    """The sender's side of one connection. Counts every byte of every frame, from the connection's start."""

    def __init__(self) -> None:
        """Nothing is under way, nothing is known of the link."""
        self.sent = 0
        self.acknowledged = 0
        self._parcel = 0.0
        self._bandwidth = 0.0
        self._delay = 0.0
        self._marks: deque[tuple[int, float, int]] = deque()

    @property
    def window(self) -> int:
        """Bytes that may be under way now."""
        wanted = max(2 * self._parcel, 2 * self._bandwidth * max(self._delay, SHORTEST_DELAY_SECONDS))
        return int(min(max(wanted, SMALLEST_BYTES), LARGEST_BYTES))

    @property
    def outstanding(self) -> int:
        """Bytes sent and not yet acknowledged."""
        return self.sent - self.acknowledged

    def allows(self, size: int, most: int = LARGEST_BYTES) -> bool:
        """Whether a message of ``size`` bytes may go now, ``most`` being under way with it at any rate.

        One may always go when nothing is under way.
        """
        return self.outstanding == 0 or self.outstanding + size <= min(self.window, most)

    def parcel(self, size: int) -> None:
        """A parcel of ``size`` bytes begins."""
        self._parcel = max(float(size), FORGETTING * self._parcel)

    def spend(self, size: int, now: float, *, telling: bool = True) -> None:
        """A message of ``size`` bytes has been sent at ``now`` (monotonic seconds).

        ``telling``: the link's bandwidth can be told from it; not from one that was held back.
        """
        self.sent += size
        if telling:
            self._marks.append((self.sent, now, self.acknowledged))

    def refund(self, total: int, now: float) -> bool:
        """The receiver has taken ``total`` bytes in all; ``False`` if that cannot be true."""
        if not self.acknowledged <= total <= self.sent:
            return False
        self.acknowledged = total
        mark = None
        while self._marks and self._marks[0][0] <= total:
            mark = self._marks.popleft()
        if mark is not None:
            _, sent_at, before = mark
            took = max(now - sent_at, 1e-6)
            self._delay = took if self._delay == 0.0 else min(self._delay * 1.01, took)
            rate = (total - before) / took
            self._bandwidth += SMOOTHING * (rate - self._bandwidth)
        return True
