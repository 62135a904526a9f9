"""The meter: the facts of the status object, what adds up, and whether the node is ready."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from edged.core.effects import TellLeader
from edged.core.events import MessageReceived
from edged.core.ids import NodeId, Stamp
from edged.core.messages import JobRecord, JobState, PlanChosen, RecoveryReport, StepReport
from edged.core.plan import Hop, Plan, Route
from edged.roles.meter import FRESH_SECONDS, Meter
from edged.roles.observer import Observer
from edged.telemetry.counters import Counters
from edged.transport.fitting import Fit
from edged.transport.interface import LinkStatistics
from tests.roles.conftest import record_of, spec_of

OWN, PEER = NodeId("a" * 16), NodeId("b" * 16)
SPEC = spec_of()
STAMP = Stamp(SPEC.job, 1, 1)
PLAN = Plan(STAMP, "spread", "two", 2, 2, (Route((Hop(OWN, 0, 0, 2), Hop(PEER, 1, 1, 2)), (0, 1)),), 0.5)


class Rig:
    def __init__(self, seeds: tuple = ()) -> None:
        self.now = 0.0
        self.records: dict = {}
        self.counters = Counters()
        self.observer = Observer(record_of(OWN, "desk"), lambda: self.records, counters=self.counters)
        self.node = SimpleNamespace(
            leaving=SimpleNamespace(asked=False), membership=SimpleNamespace(round_trips=lambda: {PEER: 0.002})
        )
        self.fit: Fit | None = None
        links = lambda: (LinkStatistics(PEER, 5e6, 1e6, 7, 100, 200, lambda _way: self.fit),)  # noqa: E731
        transport = SimpleNamespace(statistics=links)
        engine = SimpleNamespace(busy_seconds=0.25)
        self.meter = Meter(
            "home", seeds, self.observer, self.counters, engine, transport, self.node, clock=lambda: self.now
        )

    def hear(self, message) -> None:
        self.observer.watch(MessageReceived(PEER, message))

    def lead(self, leader: NodeId | None) -> None:
        self.observer.table()[TellLeader](TellLeader(leader, 3))

    def value(self, name: str) -> float:
        (line,) = [line for line in self.meter.exposition().splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        return float(line.split()[-1])


def test_a_node_is_ready_when_it_is_admitted_measured_and_knows_a_leader() -> None:
    rig = Rig(seeds=(("10.0.0.1", 7077),))
    ready = rig.meter.pages()["/readyz"]
    rig.observer.members[OWN] = replace(record_of(OWN, "desk"), slowness=0.0)
    assert ready().status == 503
    assert ready().text == "not ready: no node of the cluster has let this one in yet; it tries 10.0.0.1:7077\n"
    rig.observer.members[PEER] = record_of(PEER, "pi")
    assert ready().text == "not ready: this device has not been measured yet\n"
    rig.observer.members[OWN] = record_of(OWN, "desk")
    assert ready().text == "not ready: no leader is known: nobody is elected yet\n"
    rig.observer.election_says = "1 of 3 members agree"
    assert ready().text == "not ready: no leader is known: 1 of 3 members agree\n"
    rig.lead(PEER)
    assert (ready().status, ready().text) == (200, "ready\n")
    rig.node.leaving.asked = True
    assert ready().text == "not ready: this node is leaving\n"
    assert rig.meter.pages()["/healthz"]().status == 200


def test_who_founds_a_cluster_needs_nobody_to_let_it_in() -> None:
    rig = Rig()
    rig.lead(OWN)
    assert rig.meter.why_not_ready() == ""
    assert rig.value("edged_leads") == 1


def test_what_happens_shows_in_the_metrics() -> None:
    rig = Rig()
    rig.lead(PEER)
    rig.observer.members[PEER] = record_of(PEER, "pi")
    rig.records[SPEC.job] = JobRecord(SPEC.job, SPEC.name, OWN, JobState.RUNNING, 0, SPEC.steps, "")
    rig.hear(PlanChosen(PLAN, SPEC))
    for step in (1, 2, 2):
        rig.hear(StepReport(Stamp(SPEC.job, 1, step), step, 0, 0.5, 100.0, 0.1))
    rig.hear(StepReport(Stamp(SPEC.job, 1, 2), 1, 0, 0.7, 100.0, 0.1))  # of a plan before: no news
    rig.hear(StepReport(Stamp(SPEC.job, 1, 9), 1, 0, 0.7, 100.0, 0.1))
    rig.hear(RecoveryReport(Stamp(SPEC.job, 1, 9), "died", (PEER,), 0, 1, 0.8, 512, "pi died"))
    rig.hear(RecoveryReport(Stamp(SPEC.job, 1, 9), "died", (PEER,), 0, 1, 0.8, 512, "pi died"))
    assert rig.value("edged_loss") == 0.7
    assert (rig.value("edged_steps_total"), rig.value("edged_steps_repeated_total")) == (3, 1)
    assert rig.value('edged_recoveries_total{cause="died"}') == 1
    assert rig.value("edged_recovery_moved_bytes_total") == 512
    assert rig.value("edged_link_sent_bytes_total") == 100
    assert rig.value("edged_link_round_trip_seconds") == 0.002
    assert "edged_link_bandwidth_bytes_per_second{" not in rig.meter.exposition()
    rig.fit, rig.now = Fit(0.001, 1e7), FRESH_SECONDS
    assert rig.value("edged_link_bandwidth_bytes_per_second") == 1e7
    assert rig.value("edged_compute_busy_seconds_total") == 0.25
    assert rig.value("process_resident_memory_bytes") > 10**6


def test_who_asks_in_a_hurry_gets_the_same_text_again(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()
    made = []
    facts = rig.meter.facts
    monkeypatch.setattr(rig.meter, "facts", lambda: made.append(1) or facts())
    for _ in range(100):
        rig.meter.pages()["/metrics"]()
    assert len(made) == 1
    rig.now = FRESH_SECONDS
    page = rig.meter.pages()["/metrics"]()
    assert len(made) == 2
    assert page.content_type.startswith("text/plain; version=0.0.4")
