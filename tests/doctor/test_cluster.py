"""What a node's status means for people."""

from __future__ import annotations

import pytest

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor.cluster import REMEDIES, judge_cluster
from edged.doctor.finding import Level
from edged.transport.contacts import Reason
from tests.tui.sample import status

FAST = 1.25e8


def found(document: dict | None, speed: float = FAST) -> dict:
    return {each.id: each for each in judge_cluster(document, speed)}


def traffic(rate: float | None) -> list[dict]:
    ids = [f"{index:016x}" for index in (1, 2, 3)]
    pairs = [(ids[0], ids[1]), (ids[1], ids[0]), (ids[1], ids[2])]
    return [{"sender": a, "receiver": b, "bytes_per_step": 3e6, "bytes_per_second": rate} for a, b in pairs]


def test_where_no_node_runs_that_is_all_there_is_to_say() -> None:
    findings = found(None)
    assert {key: each.level for key, each in findings.items()} == {"node": Level.NOTE}
    assert findings["node"].what.endswith(f"; this edged speaks protocol {PROTOCOL_VERSION}")


def test_what_ended_the_last_node_is_a_warning_with_what_to_do() -> None:
    (finding,) = judge_cluster(None, FAST, "the last one ended on a day: it broke")
    assert (finding.id, finding.level) == ("node", Level.WARNING)
    assert finding.what.endswith("; the last one ended on a day: it broke")
    assert "edged join" in finding.remedy


def test_a_cluster_in_order() -> None:
    findings = found({**status(4), "traffic": traffic(2e6), "unmet": []})
    assert {each.level for each in findings.values()} == {Level.OK}
    assert f"knows 3 others; this edged speaks protocol {PROTOCOL_VERSION}" in findings["node"].what
    assert "laptop leads" in findings["leader"].what
    unmeasured = "laptop answers in 0.4 ms, too little has gone to tell what the link carries, 3.1 MB/s now"
    assert findings["links"].what == unmeasured
    assert findings["job-links"].what == (
        "desk to laptop 3 MB a step, 2 MB/s of 125 MB/s (nominal); laptop to desk 3 MB a step, 2 MB/s of 125 MB/s"
        " (nominal); laptop to pi-5 3 MB a step, 2 MB/s"
    )


def measured(rate: float, sender: int = 0) -> dict:
    """A cluster in which one node has measured the way to the next."""
    document = status(4)
    for link in document["members"][sender]["links"].values():
        link |= {"latency_seconds": 0.002, "bandwidth_bytes_per_second": rate}
    return document


def test_what_was_measured_on_the_way_to_a_peer_is_told() -> None:
    findings = found(measured(1.09e7))
    assert findings["links"].what == "laptop answers in 0.4 ms, carries 10.9 MB/s (measured), 3.1 MB/s now"


def test_of_a_peer_that_has_not_answered_that_is_told() -> None:
    document = measured(1.09e7)
    document["members"][0]["links"]["0000000000000002"]["round_trip_seconds"] = 0.0
    assert found(document)["links"].what.startswith("laptop has not answered yet, carries")


@pytest.mark.parametrize(
    ("sounding", "told", "level", "remedy"),
    [
        ({"silent": ["0000000000000002"]}, "took no parcel in time", Level.WARNING, "three ports"),
        ({"late": ["0000000000000002"]}, "there was no time to measure", Level.NOTE, "once more"),
        ({"sounded": 1, "silent": [], "late": []}, "too little has gone", Level.OK, ""),
    ],
)
def test_a_link_that_could_not_be_measured_is_told_as_such(
    sounding: dict, told: str, level: Level, remedy: str
) -> None:
    (finding,) = [each for each in judge_cluster(status(4), FAST, "", sounding) if each.id == "links"]
    assert finding.level is level
    assert finding.what.startswith(f"laptop answers in 0.4 ms, {told}")
    assert remedy in finding.remedy


def test_a_peer_of_which_nothing_is_known_but_that_is_told_too() -> None:
    (finding,) = [
        each
        for each in judge_cluster(measured(1e7), FAST, "", {"late": ["0000000000000002", "0000000000000003"]})
        if each.id == "links"
    ]
    assert finding.what == (
        "laptop answers in 0.4 ms, carries 10 MB/s (measured), 3.1 MB/s now; "
        "pi-5 has not answered yet, there was no time to measure what the link carries, 0 B/s now"
    )


def test_a_link_that_the_job_fills_is_warned_of() -> None:
    findings = found({**measured(1e7), "traffic": traffic(6e6)})
    assert findings["job-links"].level is Level.WARNING
    assert findings["job-links"].what == "desk to laptop 3 MB a step, 6 MB/s of 10 MB/s (measured)"
    assert found({**measured(1e7), "traffic": traffic(4e6)})["job-links"].level is Level.OK


def test_what_was_measured_counts_and_not_what_the_interface_is_made_for() -> None:
    """On Wi-Fi the system often does not say what it is made for, or says more than anybody gets."""
    assert found({**measured(1e7), "traffic": traffic(6e6)}, speed=0.0)["job-links"].level is Level.WARNING
    fast = found({**measured(10 * FAST), "traffic": traffic(0.6 * FAST)})["job-links"].what
    assert fast == "laptop to desk 3 MB a step, 75 MB/s of 125 MB/s (nominal)"  # the way back is not measured


def test_links_between_others_are_judged_by_what_they_measured() -> None:
    findings = found({**measured(1e7, sender=1), "traffic": traffic(6e6)})
    assert findings["job-links"].level is Level.WARNING
    assert findings["job-links"].what == "laptop to pi-5 3 MB a step, 6 MB/s of 10 MB/s (measured)"


def test_of_a_link_of_which_nothing_is_known_nothing_is_said_but_what_it_bears() -> None:
    findings = found({**status(4), "traffic": traffic(0.6 * FAST)}, speed=0.0)
    assert findings["job-links"].level is Level.OK
    assert findings["job-links"].what.startswith("desk to laptop 3 MB a step, 75 MB/s; laptop to desk")
    assert "job-links" not in found({**status(4), "traffic": traffic(None)})  # no step is done yet
    assert "job-links" not in found({**status(4), "traffic": []})


def test_a_slow_link_a_silent_member_and_no_leader_are_warned_of() -> None:
    document = status(5)
    document["leader"] = None
    document["view"]["waiting"] = "1 of 3 voters agree"
    document["members"][0]["links"]["0000000000000002"]["round_trip_seconds"] = 0.12
    findings = found(document)
    assert {findings[key].level for key in ("leader", "links", "members")} == {Level.WARNING}
    assert "1 of 3 voters agree" in findings["leader"].what
    assert findings["members"].what == "jetson is suspect (tcp://192.168.1.24:7077)"
    assert "120 ms" in findings["links"].what


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_not_to_see_others_is_a_finding_with_a_remedy(reason: Reason) -> None:
    finding = found({**status(1), "unmet": [{"reason": reason.value, "address": "", "text": "so it is"}]})
    assert finding[f"unmet-{reason.value}"].what == "so it is"
    assert finding[f"unmet-{reason.value}"].remedy


def test_there_is_a_remedy_for_each_reason_and_no_other() -> None:
    assert set(REMEDIES) == {reason.value for reason in Reason}
