"""One peer: its record, the two roads to it, its traffic."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from edged.core.events import LinkLost, ParcelLost
from edged.core.messages import MemberRecord
from edged.errors import MalformedError
from edged.transport.bulk import BulkLane
from edged.transport.control import ControlLane
from edged.transport.identity import Identity
from edged.transport.interface import LinkStatistics
from edged.transport.pump import Frames
from edged.transport.rates import Rate
from edged.transport.road import Outcome, Road
from edged.transport.sockets import BULK_KIND, CONTROL_KIND, Context

PATIENCE_WITH_DENIALS = 3
"""A new member's key travels by gossip; after so many refusals its owner should knock at the door again."""


class Peer:
    """An admitted node.

    ``tell`` hears when a session ends and which parcels were lost with it, ``on_denied`` when the peer keeps refusing
    this node's key.
    """

    def __init__(
        self,
        context: Context,
        identity: Identity,
        record: MemberRecord,
        *,
        connections: Iterator[int],
        tell: Callable[[LinkLost | ParcelLost], None],
        on_denied: Callable[[], None],
        complain: Callable[[str], None],
    ) -> None:
        """Nothing is dialled before the first send."""
        self.record = record
        self.denials = 0
        self.sent = Rate()
        self.received = Rate()
        self._tell = tell
        self._on_denied = on_denied
        self._complain = complain
        self.control = ControlLane(
            Road(
                context,
                CONTROL_KIND,
                identity,
                record.public_key,
                on_up=self._control_up,
                on_down=self._control_down,
                on_message=lambda _: complain("a message on the way out"),
            )
        )
        self.bulk = BulkLane(
            Road(
                context,
                BULK_KIND,
                identity,
                record.public_key,
                on_up=self._bulk_up,
                on_down=self._bulk_down,
                on_message=self._acknowledged,
            ),
            connections,
            self.count_sent,
            lambda header: tell(ParcelLost(self.record.node, header)),
        )
        self._lead()

    @property
    def cut_off(self) -> bool:
        """Whether the peer keeps refusing this node's key."""
        return self.denials >= PATIENCE_WITH_DENIALS

    def update(self, record: MemberRecord) -> None:
        """A newer record; a new process or new ports mean fresh connections."""
        moved = (record.boot, record.control_port, record.bulk_port) != (
            self.record.boot,
            self.record.control_port,
            self.record.bulk_port,
        )
        if moved:
            self.close()
        self.record = record
        self._lead()

    def close(self) -> None:
        """Close both roads; what is queued is dropped."""
        for lane in (self.control, self.bulk):
            lane.road.close()
            lane.lost(Outcome.LOST)

    def count_sent(self, size: int) -> None:
        """``size`` bytes have gone out."""
        self.sent.add(size, time.monotonic())

    def count_received(self, size: int) -> None:
        """``size`` bytes have come in."""
        self.received.add(size, time.monotonic())

    def statistics(self) -> LinkStatistics:
        """What was seen lately."""
        now = time.monotonic()
        return LinkStatistics(
            self.record.node,
            self.sent.per_second(now),
            self.received.per_second(now),
            self.control.queued_bytes + self.bulk.queued_bytes,
            self.sent.total_bytes,
            self.received.total_bytes,
            self.bulk.fit.estimate,
        )

    def _lead(self) -> None:
        record = self.record
        self.control.road.lead_to([(host, record.control_port) for host in record.addresses])
        self.bulk.road.lead_to([(host, record.bulk_port) for host in record.addresses])

    def _control_up(self) -> None:
        self.denials = 0
        self.control.flush()

    def _control_down(self, outcome: Outcome) -> None:
        self.control.lost(outcome)
        self._down(outcome, lost_something=False)

    def _bulk_up(self) -> None:
        self.bulk.opened()

    def _bulk_down(self, outcome: Outcome) -> None:
        self._down(outcome, lost_something=self.bulk.lost(outcome))

    def _down(self, outcome: Outcome, *, lost_something: bool) -> None:
        if outcome is Outcome.DENIED:
            self.denials += 1
            if self.cut_off:
                self._on_denied()
        if outcome is Outcome.LOST or lost_something:
            self._tell(LinkLost(self.record.node))

    def _acknowledged(self, frames: Frames) -> None:
        try:
            self.bulk.acknowledged(frames)
        except MalformedError as problem:
            self._complain(str(problem))
