"""Pings: is a member's loop running? (SWIM, section 3.1; Lifeguard, section IV.A).

One member at a time is asked::

    ping ----- answer time -----> ping again, and ask 3 helpers ----- rest of the interval -----> accuse
         <- ack: all is well         <- ack: all is well, <- nack: the helper at least is there

The answer time is max(floor, srtt + 4 var) of the member's round trips (RFC 6298), but at most 4 floors, times the
local health scale. An answer that took seconds comes from a process that stood still, which says nothing of how fast it
is while it runs.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from edged.core.awareness import Awareness, blame
from edged.core.ids import NodeId

LATE_PROBES_KEPT = 8
STOOD_STILL_SECONDS = 2.0
LONGEST_ANSWER_FLOORS = 4.0
RELAY_SECONDS = 3.0
RELAYS_SWEPT_AT = 64


@dataclass(slots=True)
class Probe:
    """The open question to one member."""

    target: NodeId
    sequence: int
    started: float
    answer_by: float
    give_up: float
    helpers: tuple[NodeId, ...] = ()
    heard: set[NodeId] = field(default_factory=set)


class RoundTrips:
    """Smoothed round trips of the members whose answers are slow; the others are left to the floor."""

    __slots__ = ("_estimates", "_floor", "latest")

    def __init__(self, floor_seconds: float) -> None:
        """``floor_seconds`` is the least answer time."""
        self._floor = floor_seconds
        self._estimates: dict[NodeId, tuple[float, float]] = {}
        self.latest: dict[NodeId, float] = {}
        """Seconds of the newest round trip of each member, for people to see."""

    def measured(self, node: NodeId, seconds: float) -> None:
        """Take in one round trip."""
        self.latest[node] = seconds
        if seconds > STOOD_STILL_SECONDS:
            return
        known = self._estimates.get(node)
        if known is None:
            if 3 * seconds > self._floor:
                self._estimates[node] = (seconds, seconds / 2)
            return
        smooth, variation = known
        variation += (abs(seconds - smooth) - variation) / 4
        smooth += (seconds - smooth) / 8
        if smooth + 4 * variation < self._floor / 2:
            del self._estimates[node]
        else:
            self._estimates[node] = (smooth, variation)

    def answer_seconds(self, node: NodeId) -> float:
        """How long to wait for this member's ack."""
        known = self._estimates.get(node)
        if known is None:
            return self._floor
        return min(max(self._floor, known[0] + 4 * known[1]), LONGEST_ANSWER_FLOORS * self._floor)


class Detector:
    """Times the pings of one node. It decides; ``membership`` writes the messages."""

    __slots__ = ("_awareness", "_interval", "_late", "_relays", "_sequence", "next_ping", "probe", "round_trips")

    def __init__(self, awareness: Awareness, interval_seconds: float, answer_seconds: float) -> None:
        """Ping every ``interval_seconds``; wait for an answer at least ``answer_seconds``."""
        self._awareness = awareness
        self._interval = interval_seconds
        self._sequence = 0
        self._relays: dict[int, tuple[NodeId, int, float]] = {}
        self._late: deque[Probe] = deque(maxlen=LATE_PROBES_KEPT)
        self.round_trips = RoundTrips(answer_seconds)
        self.probe: Probe | None = None
        self.next_ping = math.inf

    def deadline(self) -> float:
        """When the next question, the second try or the verdict is due."""
        probe = self.probe
        if probe is None:
            return self.next_ping
        return probe.give_up if probe.helpers or probe.answer_by >= probe.give_up else probe.answer_by

    def open(self, target: NodeId, now: float) -> Probe:
        """Begin to ask ``target``."""
        self._sequence += 1
        scale = self._awareness.scale
        answer_by = now + self.round_trips.answer_seconds(target) * scale
        give_up = max(now + self._interval * scale, answer_by + 0.6 * (answer_by - now))
        self.probe = Probe(target, self._sequence, now, answer_by, give_up)
        self.next_ping = now + self._interval * scale
        return self.probe

    def try_harder(self, helpers: tuple[NodeId, ...]) -> None:
        """The answer time is over: ``helpers`` are asked too, until the probe is given up."""
        assert self.probe is not None
        self.probe.helpers = helpers
        if not helpers:
            self.probe.answer_by = self.probe.give_up

    def give_up(self, *, known_silent: bool) -> NodeId:
        """Close the probe without an answer; the target is to be accused.

        A member that is ``known_silent`` was not expected to answer, so that says nothing of this node's own health.
        """
        probe = self.probe
        assert probe is not None
        if probe.helpers or not known_silent:
            self._awareness.change(blame(len(probe.helpers), len(probe.heard)))
        self._late.append(probe)
        self.probe = None
        return probe.target

    def acknowledged(self, sequence: int, target: NodeId, now: float, *, direct: bool) -> bool:
        """An ack came for this node's own question, perhaps too late, perhaps through a helper.

        Returns whether it is the first to the open question.
        """
        probe = self.probe
        if probe is not None and probe.sequence == sequence and probe.target == target:
            if direct and not probe.helpers:
                self.round_trips.measured(target, now - probe.started)
            self._awareness.change(-1)
            self.probe = None
            return True
        for late in self._late:
            if late.sequence == sequence and late.target == target and direct:
                self.round_trips.measured(target, now - late.started)
                self._late.remove(late)
                break
        return False

    def helped(self, sequence: int, helper: NodeId) -> None:
        """A helper says that it was asked."""
        if self.probe is not None and self.probe.sequence == sequence and helper in self.probe.helpers:
            self.probe.heard.add(helper)

    def relay(self, origin: NodeId, sequence: int, now: float) -> int:
        """Ping for another node: the number to use; its ack is passed on by ``relayed``."""
        if len(self._relays) >= RELAYS_SWEPT_AT:
            self._relays = {n: entry for n, entry in self._relays.items() if entry[2] > now}
        self._sequence += 1
        self._relays[self._sequence] = (origin, sequence, now + RELAY_SECONDS)
        return self._sequence

    def relayed(self, sequence: int, now: float) -> tuple[NodeId, int] | None:
        """Whom to pass this ack on to, with the number that it knows; ``None`` if it is not for another node."""
        entry = self._relays.pop(sequence, None)
        return (entry[0], entry[1]) if entry is not None and entry[2] > now else None

    def void(self, now: float) -> None:
        """This node itself was not running: the open question says nothing; wait a moment before the next."""
        self.probe = None
        self._relays.clear()
        self.next_ping = now + self._interval

    def drop(self) -> None:
        """The open question is settled otherwise."""
        self.probe = None

    def check(self) -> None:
        """Assert that an open probe ends after its answer time."""
        if self.probe is not None:
            assert self.probe.started <= self.probe.answer_by <= self.probe.give_up, "a probe out of order"
