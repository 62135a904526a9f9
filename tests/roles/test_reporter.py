"""Once a second: how this node fares, to everyone that is there."""

from types import SimpleNamespace

import pytest

from edged.core.ids import NodeId, Stamp
from edged.core.messages import JobRecord, JobState, LinkReport, MemberState, NodeReport
from edged.core.plan import Hop, Plan, Route
from edged.roles.observer import Observer
from edged.roles.reporter import Reporter
from edged.roles.status import status_document
from edged.telemetry.journal import Journal
from edged.transport.fitting import LinkFit
from edged.transport.interface import LinkStatistics
from tests.roles.conftest import record_of, spec_of

OWN, PEER, GONE = NodeId("a" * 16), NodeId("b" * 16), NodeId("c" * 16)
SPEC = spec_of()


def test_a_report_goes_to_all_that_are_there_with_layers_and_links() -> None:
    records = {SPEC.job: JobRecord(SPEC.job, "tiny", OWN, JobState.RUNNING, 0, 4, "")}
    observer = Observer(record_of(OWN, "desk"), lambda: records)
    observer.members |= {PEER: record_of(PEER, "pi"), GONE: record_of(GONE, "old", MemberState.DEAD)}
    engine = SimpleNamespace(busy_seconds=0.25)
    fit = LinkFit()
    links = (LinkStatistics(PEER, 5e6, 1e6, 0, fit=fit.estimate),)
    transport = SimpleNamespace(statistics=lambda: links)
    looks: list = []
    survey = SimpleNamespace(look=lambda: looks.append(1), figure=lambda: (SPEC.job, 1.25))
    worker = SimpleNamespace(micro_batch_seconds=lambda: 0.004, memory_bytes=10**12)
    sent: list = []
    reporter = Reporter(
        observer,
        worker,
        engine,
        survey,
        transport,
        Journal(None),
        lambda to, report: sent.append((to, report)),
        lambda: {PEER: 0.002},
        lambda: {SPEC.job: "waiting for the data of tiny"},
    )
    reporter.report()
    assert [to for to, _ in sent] == [OWN, PEER]
    report = sent[0][1]
    assert isinstance(report, NodeReport)
    assert (report.first_layer, report.last_layer, report.busy) == (-1, -1, 0.25)
    assert report.links == (LinkReport(PEER, 0.002, 5e6, 0.0, 0.0),)
    assert (report.job, report.slowness, looks) == (SPEC.job, 1.25, [1])
    assert report.resident_bytes > 0
    assert observer.history.story(SPEC.job).newest("waiting") == {
        "event": "waiting",
        "reason": "waiting for the data of tiny",
    }
    assert status_document(observer, "test")["view"]["waiting"] == "nobody is elected yet"
    observer.leader = OWN
    assert status_document(observer, "test")["view"]["waiting"] == "waiting for the data of tiny"

    route = Route((Hop(PEER, 0, 0, 1), Hop(OWN, 1, 1, 1)), (0, 1))
    observer.plans[SPEC.job] = Plan(Stamp(SPEC.job, 1, 1), "test", "", 2, 2, (route,), 0.0)
    engine.busy_seconds = 9.0
    for number in range(4):
        fit.alone(1000, 0.012, number)
        fit.alone(101_000, 0.112, number)
    reporter.report()
    assert sent[-1][1].links == (LinkReport(PEER, 0.002, 5e6, pytest.approx(0.01), pytest.approx(1e6)),)
    report = sent[-1][1]
    assert (report.first_layer, report.last_layer, report.busy, report.sequence) == (1, 1, 1.0, 2)
    for state in (JobState.PAUSED, JobState.WAITING, JobState.FINISHED):
        records[SPEC.job] = JobRecord(SPEC.job, "tiny", OWN, state, 4, 4, "")
        reporter.report()
        assert sent[-1][1].first_layer == -1
