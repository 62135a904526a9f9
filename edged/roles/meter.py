"""The meter: the facts behind ``/metrics`` and ``/readyz``. They are those of the status object, and what adds up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from typing import Any

import psutil

from edged import __version__
from edged.core.ids import PROTOCOL_VERSION
from edged.core.node import Node
from edged.roles.endpoint import Page
from edged.roles.engine import Engine
from edged.roles.observer import Observer
from edged.roles.status import status_document
from edged.roles.tally import RECOVERIES
from edged.telemetry.counters import Counters
from edged.telemetry.metrics import CONTENT_TYPE, exposition
from edged.transport.interface import Transport

FRESH_SECONDS = 0.5
"""So long a text is given out again: whoever asks in a hurry costs the node no more than who asks twice a second."""


class Meter:
    """Reads off a node what it shows to those who watch it."""

    def __init__(
        self,
        cluster: str,
        seeds: Iterable[tuple[str, int]],
        observer: Observer,
        counters: Counters,
        engine: Engine,
        transport: Transport,
        node: Node,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``seeds``: whom this node was told to join. Of the core's ``node`` only reads."""
        self._cluster = cluster
        self._seeds = tuple(seeds)
        self._observer = observer
        self._counters = counters
        self._engine = engine
        self._transport = transport
        self._node = node
        self._clock = clock
        self._process = psutil.Process()
        self._text = ""
        self._made_at: float | None = None

    def pages(self) -> Mapping[str, Callable[[], Page]]:
        """What the endpoint serves. That ``/healthz`` is answered at all says that the node's loop goes round."""
        return {"/metrics": self._metrics, "/healthz": lambda: Page("ok\n"), "/readyz": self._readiness}

    def exposition(self) -> str:
        """The metrics, at most half a second old."""
        if self._made_at is None or self._clock() - self._made_at >= FRESH_SECONDS:
            self._text = exposition(self.facts())
            self._made_at = self._clock()
        return self._text

    def facts(self) -> Mapping[str, Any]:
        """What ``telemetry.metrics`` makes its lines of."""
        totals = self._counters.snapshot()
        tally = self._observer.tally
        return {
            "release": __version__,
            "protocol": PROTOCOL_VERSION,
            "not_ready": self.why_not_ready(),
            "status": status_document(self._observer, self._cluster),
            "job_states": [record.state.name.lower() for record in self._observer.jobs().values()],
            "step_seconds": tally.step_seconds,
            "step_at": tally.stepped_at,
            "totals": totals,
            "recoveries": {
                name.removeprefix(RECOVERIES): count for name, count in totals.items() if name.startswith(RECOVERIES)
            },
            "links": self._links(),
            "busy_seconds": self._engine.busy_seconds,
            "process": self._process_facts(),
        }

    def why_not_ready(self) -> str:
        """Why this node can take no part in training yet (or any more), in a sentence; empty where it can."""
        observer = self._observer
        if self._node.leaving.asked:
            return "this node is leaving"
        if self._seeds and len(observer.members) == 1:
            named = ", ".join(f"{host}:{port}" for host, port in self._seeds)
            return f"no node of the cluster has let this one in yet; it tries {named}"
        if not observer.members[observer.own_id].slowness:
            return "this device has not been measured yet"
        if observer.leader is None:
            return f"no leader is known: {observer.election_says or 'nobody is elected yet'}"
        return ""

    def _metrics(self) -> Page:
        return Page(self.exposition(), content_type=CONTENT_TYPE)

    def _readiness(self) -> Page:
        reason = self.why_not_ready()
        return Page(f"not ready: {reason}\n", HTTPStatus.SERVICE_UNAVAILABLE) if reason else Page("ready\n")

    def _links(self) -> list[Mapping[str, Any]]:
        trips = self._node.membership.round_trips()
        return [
            {
                "node": link.node,
                "name": self._observer.name(link.node),
                "round_trip_seconds": trips.get(link.node),
                "sent_bytes": link.sent_bytes,
                "received_bytes": link.received_bytes,
                "queued_bytes": link.queued_bytes,
                "bytes_per_second": fit.bytes_per_second if fit is not None else None,
            }
            for link in self._transport.statistics()
            for fit in [link.fit(trips.get(link.node, 0.0) / 2)]
        ]

    def _process_facts(self) -> Mapping[str, float]:
        with self._process.oneshot():
            times = self._process.cpu_times()
            return {
                "cpu_seconds": times.user + times.system,
                "resident_bytes": self._process.memory_info().rss,
                "began": self._process.create_time(),
            }
