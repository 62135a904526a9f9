"""What a node's status means for people."""

from __future__ import annotations

import pytest

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
    assert {key: each.level for key, each in found(None).items()} == {"node": Level.NOTE}


def test_a_cluster_in_order() -> None:
    findings = found({**status(4), "traffic": traffic(2e6), "unmet": []})
    assert {each.level for each in findings.values()} == {Level.OK}
    assert "knows 3 others" in findings["node"].what
    assert "laptop leads" in findings["leader"].what
    assert "laptop answers in 0.4 ms, sends it 3.1 MB/s now" in findings["links"].what
    assert findings["job-links"].what == "desk to laptop 3 MB a step, 2 MB/s; laptop to desk 3 MB a step, 2 MB/s"


def test_a_link_that_the_job_fills_is_warned_of() -> None:
    findings = found({**status(4), "traffic": traffic(0.6 * FAST)})
    assert findings["job-links"].level is Level.WARNING
    assert "made for 125 MB/s" in findings["job-links"].what
    assert found({**status(4), "traffic": traffic(0.6 * FAST)}, speed=0.0)["job-links"].level is Level.OK
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
