"""The reporter: once a second, how this node fares, to everyone; and the observer's housekeeping."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import psutil

from edged.core.ids import JobId, NodeId
from edged.core.messages import MemberState, Message, NodeReport
from edged.roles.engine import Engine
from edged.roles.headroom import Headroom
from edged.roles.observer import Observer
from edged.roles.outlook import WORKING
from edged.roles.worker import Worker
from edged.telemetry.journal import Journal
from edged.transport.interface import Transport

REPORT_SECONDS = 1.0


class Reporter:
    """Sends a ``NodeReport`` to every member that is alive, itself included."""

    def __init__(
        self,
        observer: Observer,
        worker: Worker,
        engine: Engine,
        transport: Transport,
        journal: Journal,
        send: Callable[[NodeId, Message], None],
        round_trips: Callable[[], Mapping[NodeId, float]],
        waiting: Callable[[], Mapping[JobId, str]],
    ) -> None:
        """``round_trips``: seconds, as membership measures them. ``waiting``: jobs that lack data, and a sentence."""
        self._observer = observer
        self._worker = worker
        self._engine = engine
        self._transport = transport
        self._journal = journal
        self._send = send
        self._round_trips = round_trips
        self._waiting = waiting
        self._process = psutil.Process()
        self._headroom = Headroom(lambda: worker.memory_bytes)
        self._sequence = 0
        self._busy_before = 0.0

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self.report()

    def report(self) -> None:
        """Report once."""
        self._observer.settle()
        self._observer.wait(self._waiting())
        self._journal.flush()
        report = self._measure()
        self._headroom.look(report.resident_bytes, works=report.first_layer >= 0)
        for node, record in list(self._observer.members.items()):
            if record.state in {MemberState.ALIVE, MemberState.SUSPECT}:
                self._send(node, report)

    def _measure(self) -> NodeReport:
        self._sequence += 1
        busy, self._busy_before = self._engine.busy_seconds - self._busy_before, self._engine.busy_seconds
        first, last = self._layers()
        trips = self._round_trips()
        return NodeReport(
            sequence=self._sequence,
            first_layer=first,
            last_layer=last,
            weight_version=self._observer.weight_version,
            busy=min(1.0, busy / REPORT_SECONDS),
            micro_batch_seconds=self._worker.micro_batch_seconds(),
            resident_bytes=self._process.memory_info().rss,
            links=tuple(
                (link.node, trips.get(link.node, 0.0), link.sent_bytes_per_second)
                for link in self._transport.statistics()
            ),
        )

    def _layers(self) -> tuple[int, int]:
        """First and last layer of this node in the running plan; (-1, -1) for none."""
        job = self._observer.current()
        plan = self._observer.plans.get(job.job) if job is not None else None
        if plan is None or job is None or job.state not in WORKING:
            return -1, -1
        hops = [hop for _, _, hop in plan.hops_of(self._observer.own_id)]
        if not hops:
            return -1, -1
        return min(hop.first_layer for hop in hops), max(hop.last_layer for hop in hops)
