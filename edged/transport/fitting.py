"""Latency and bandwidth of one direction of a link, from the times of real parcels. Pure.

A parcel that begins while nothing is under way takes ``startup + bytes / bandwidth`` until it is acknowledged. One that
begins while the parcel before it has hardly left is through ``bytes / bandwidth`` after that: it never waits for the
way. All others wait for something that is not known, and tell nothing; nor does what background messages get between.

The slope is the median over pairs of parcels that went alone and differ in size (Theil, 1950; Sen, 1968), the start-up
the median of what the slope leaves of the smallest; so a few disturbed parcels do not matter. Only the latest are
looked at, so that a change of the rate is seen within seconds.

A slope counts if it is more than what noise makes of parcels that all take equally long. Small parcels never tell the
rate: labels of some hundred bytes would make a link as slow as a busy receiver is late. Nor does a single large one,
such as the program that a node is sent while it starts. What is known of a link by then stays; a link on which only
such parcels have gone is one of which nothing is known.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

SPAN_SECONDS = 5.0
"""Parcels that were through so long before the newest are forgotten ..."""

LEAST, MOST = 8, 48
"""... except for the newest few ..."""

OLDEST_SECONDS = 20.0
"""... unless they are so old."""

UNLIKE = 1.5
"""The sizes of a pair differ at least by this factor."""

TELLING_BYTES = 1 << 12
"""Smaller parcels take what their start-up takes, on every link that is worth training over."""

FEW = 4
"""Before so many parcels that are not small have gone, nothing is told: one is late for many reasons."""

QUEUED_BYTES = 1 << 16
"""Smaller parcels that follow each other are acknowledged together: their distance tells nothing."""

SURE = 5.0
"""A slope explains more than so many standard errors of the median (roughly: 1.9 median deviations by root n)."""

STARTUP_SECONDS = 0.01
"""A parcel that takes longer does so for its bytes, where no other size tells."""

FASTEST, SLOWEST = 1e11, 1.0
"""Bytes per second."""


class Fit(NamedTuple):
    """A parcel of n bytes takes ``startup_seconds + n / bytes_per_second`` while it is alone."""

    startup_seconds: float
    bytes_per_second: float


def unmeasured(_way_seconds: float) -> Fit | None:
    """A link of which nothing is known."""
    return None


class _Time(NamedTuple):
    """``size`` bytes took ``seconds``, and were through at ``at``."""

    size: int
    seconds: float
    at: float


class LinkFit:
    """Start-up and rate of a link. Times are monotonic seconds."""

    def __init__(self) -> None:
        """Nothing has been sent."""
        self._alone: deque[_Time] = deque(maxlen=MOST)
        self._queued: deque[_Time] = deque(maxlen=MOST)
        self._telling = 0
        self._shown: float | None = None  # seconds per byte

    def alone(self, size: int, seconds: float, now: float) -> None:
        """A parcel that had the link for itself was acknowledged at ``now``, ``seconds`` after it was sent."""
        self._alone.append(_Time(size, seconds, now))
        self._telling += size >= TELLING_BYTES

    def queued(self, size: int, seconds: float, now: float) -> None:
        """A parcel that was sent right behind another was acknowledged ``seconds`` after that one."""
        if size >= QUEUED_BYTES and seconds > 0.0:
            self._queued.append(_Time(size, seconds, now))
            self._telling += 1

    def estimate(self, way_seconds: float = 0.0) -> Fit | None:
        """What the latest parcels say; ``None`` before any have shown how fast the link is.

        ``way_seconds``: how long the acknowledgement takes to come back. It is no part of the start-up, and it is what
        the start-up is taken for where all parcels have one size.
        """
        newest = max((times[-1].at for times in (self._alone, self._queued) if times), default=None)
        if newest is None:
            return None
        alone, queued = _recent(self._alone, newest), _recent(self._queued, newest)
        slope = None
        if self._telling >= FEW:
            follow = _middle(each.seconds / each.size for each in queued)
            slope = _slope(alone) or follow or _of_large(alone, way_seconds)
        if slope is None and self._shown is not None:  # they were faster than that, perhaps
            slope = min(self._shown, *(each.seconds / each.size for each in (*alone, *queued)))
        if slope is None:
            return None
        self._shown = slope = min(max(slope, 1.0 / FASTEST), 1.0 / SLOWEST)
        small = UNLIKE * min((each.size for each in alone), default=0)  # they show the start-up best
        startup = _middle(each.seconds - slope * each.size for each in alone if each.size <= small)
        return Fit(max((2 * way_seconds if startup is None else startup) - way_seconds, 0.0), 1.0 / slope)


def _recent(times: Iterable[_Time], newest: float) -> list[_Time]:
    entries = list(times)
    recent = [each for each in entries if each.at > newest - SPAN_SECONDS]
    return recent if len(recent) >= LEAST else [each for each in entries[-LEAST:] if each.at > newest - OLDEST_SECONDS]


def _slope(times: list[_Time]) -> float | None:
    """Return seconds per byte; ``None`` without two sizes, where all are small, or where noise could look the same."""
    slope = _middle(
        (b.seconds - a.seconds) / (b.size - a.size)
        for a in times
        for b in times
        if b.size >= max(UNLIKE * a.size, TELLING_BYTES)
    )
    if slope is None:
        return None
    left = [each.seconds - slope * each.size for each in times]
    noise = median(abs(each - median(left)) for each in left) * 1.86 / math.sqrt(len(times) / 2)
    sizes = [each.size for each in times]
    return slope if slope * (max(sizes) - min(sizes)) > SURE * noise else None


def _of_large(times: list[_Time], way_seconds: float) -> float | None:
    """Return seconds per byte of parcels that are large, or that take long for their size; else ``None``."""
    spent = [(max(each.seconds - 2 * way_seconds, 0.0), each.size) for each in times if each.size >= TELLING_BYTES]
    large = [(seconds, size) for seconds, size in spent if size >= QUEUED_BYTES]
    if not large and (_middle(seconds for seconds, _ in spent) or 0.0) > STARTUP_SECONDS:
        large = spent
    quickest = min((each.seconds / each.size for each in times if each.size >= QUEUED_BYTES), default=None)
    return _middle(seconds / size for seconds, size in large) or quickest


def _middle(values: Iterable[float]) -> float | None:
    known = list(values)
    return median(known) if known else None


@dataclass(slots=True)
class _Sent:
    """A parcel on its way: from where to where in the connection's count of bytes, since when; ``whole``: all of it."""

    begins: int
    ends: int
    at: float
    alone: bool
    whole: bool = False


class Stopwatch:
    """Times the urgent parcels of one connection, by the count of bytes that its acknowledgements go by."""

    def __init__(self, fit: LinkFit) -> None:
        """Tell ``fit``, which outlives connections, whatever can be learned."""
        self._fit = fit
        self._on_the_way: deque[_Sent] = deque()
        self._before: tuple[_Sent, float] | None = None

    def begins(self, count: int, now: float, *, alone: bool) -> None:
        """A parcel begins after ``count`` bytes of the connection. ``alone``: all these have been acknowledged."""
        for dropped in self._on_the_way:
            if not dropped.whole:
                dropped.whole, dropped.alone = True, False
        self._on_the_way.append(_Sent(count, count, now, alone))

    def sent(self, count: int, *, whole: bool) -> None:
        """A message of the newest parcel ends after ``count`` bytes; ``whole``: it was the last one."""
        if self._on_the_way:
            newest = self._on_the_way[-1]
            newest.ends, newest.whole = count, whole

    def disturbed(self) -> None:
        """A background message has got between: the rest of what is half sent waits for it."""
        if self._on_the_way and not self._on_the_way[-1].whole:
            self._on_the_way[-1].alone = False

    def acknowledged(self, count: int, now: float) -> None:
        """The receiver has the first ``count`` bytes."""
        while self._on_the_way and self._on_the_way[0].whole and self._on_the_way[0].ends <= count:
            self._through(self._on_the_way.popleft(), now)

    def _through(self, parcel: _Sent, now: float) -> None:
        size = parcel.ends - parcel.begins
        if parcel.alone:
            self._fit.alone(size, now - parcel.at, now)
        elif self._before is not None:
            before, at = self._before
            if before.ends == parcel.begins and parcel.at - before.at <= (at - before.at) / 2:
                self._fit.queued(size, now - at, now)
        self._before = (parcel, now)
