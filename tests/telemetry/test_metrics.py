"""The metrics: as Prometheus reads them, each one once, and the same ones in the documents and on the dashboard."""

import json
import math
import re
from pathlib import Path

import pytest

from edged.core.messages import JobState, MemberState
from edged.telemetry.metrics import JOB_STATES, MEMBER_STATES, METRICS, exposition
from tests.tui.sample import status

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
DASHBOARD = json.loads((ROOT / "examples" / "grafana" / "edged.json").read_text(encoding="utf-8"))
NAMES = {metric.name for metric in METRICS}
LABELS = {label for metric in METRICS for label in metric.labels} | {"instance"}
TARGETS = [target for panel in DASHBOARD["panels"] for target in panel["targets"]] + DASHBOARD["annotations"]["list"]

SAMPLE = re.compile(r'([a-z_]+)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)+)\})? (\S+)')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def facts(**changes) -> dict:
    shown = status()
    running = {"epoch": 2, "loss": 0.5, "samples_per_second": 2345.6, "learning_rate": 0.1, "source": "0" * 16}
    shown["job"] |= running
    shown["plan"] |= {"predicted_step_seconds": 0.03}
    values = {
        "release": "1.2",
        "protocol": 3,
        "not_ready": "",
        "status": {**shown, "tentative": ""},
        "job_states": ["running", "queued", "queued"],
        "step_seconds": 0.02,
        "step_at": 1_750_000_000.25,
        "totals": {"events": 7, "steps": 12, "samples": 768},
        "recoveries": {"died": 2, "sunspots": 1},
        "links": [
            {"node": "b" * 16, "name": "pi", "round_trip_seconds": 0.004, "sent_bytes": 5, "received_bytes": 6,
             "queued_bytes": 0, "bytes_per_second": 2.5e6},
            {"node": "c" * 16, "name": "far", "round_trip_seconds": None, "sent_bytes": 1, "received_bytes": 2,
             "queued_bytes": 3, "bytes_per_second": None},
        ],
        "busy_seconds": 3.5,
        "process": {"cpu_seconds": 1.5, "resident_bytes": 10**8, "began": 1_750_000_000.0},
    }  # fmt: skip
    return {**values, **changes}


def samples(text: str) -> dict:
    """(name, labels) -> number; checks the grammar, the order of the comments, and that nothing is there twice."""
    found: dict = {}
    described: dict[str, str] = {}
    current = ""
    for line in text.splitlines():
        if line.startswith("# HELP "):
            current = line.split()[2]
            assert current not in described
            described[current] = ""
        elif line.startswith("# TYPE "):
            _, _, name, described[name] = line.split()
            assert name == current
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1] == current
            assert described[current] in {"gauge", "counter"}
            key = match[1], tuple(LABEL.findall(match[2] or ""))
            assert key not in found
            found[key] = float(match[3])
    assert text.endswith("\n")
    return found


def test_every_metric_has_a_value_while_a_job_runs() -> None:
    found = samples(exposition(facts()))
    assert {name for name, _ in found} == NAMES
    assert found[("edged_steps_total", ())] == 12
    assert found[("edged_jobs", (("state", "queued"),))] == 2
    assert found[("edged_members", (("state", "alive"),))] == 4
    assert found[("edged_stage_layers", (("node", "0" * 15 + "2"), ("name", "laptop")))] == 3
    assert found[("edged_indispensable_members", (("id", "00aa11bb22cc"), ("name", "digits")))] == 1
    assert found[("edged_recoveries_total", (("cause", "sunspots"),))] == 1
    assert found[("edged_recoveries_total", (("cause", "left"),))] == 0
    assert found[("edged_ready", ())] == 1
    assert ("edged_link_round_trip_seconds", (("peer", "c" * 16), ("peer_name", "far"))) not in found


def test_a_metric_without_a_value_has_no_line() -> None:
    idle = facts(status={**status(1, job=False), "tentative": ""}, step_seconds=None, step_at=None, links=[])
    text = exposition(idle)
    names = {name for name, _ in samples(text)}
    assert "edged_members" in names
    assert names.isdisjoint({"edged_loss", "edged_job_step", "edged_stage_layers", "edged_link_sent_bytes_total"})
    assert "edged_last_step_timestamp_seconds" not in text


def test_names_that_a_member_chose_cannot_forge_a_line() -> None:
    hostile = 'x"} 1\nedged_leads 1\n\\'
    state = {**status(2), "tentative": ""}
    state["members"][1]["name"] = hostile
    state["job"] |= {"name": hostile, "epoch": 0, "loss": math.nan, "learning_rate": -math.inf,
                     "samples_per_second": math.inf, "source": hostile}  # fmt: skip
    found = samples(exposition(facts(status=state)))
    escaped = 'x\\"} 1\\nedged_leads 1\\n\\\\'
    assert found[("edged_member_memory_bytes", (("node", "0" * 15 + "2"), ("name", escaped)))] == 2e9
    assert math.isnan(found[("edged_loss", (("id", "00aa11bb22cc"), ("name", escaped)))])
    assert found[("edged_learning_rate", (("id", "00aa11bb22cc"), ("name", escaped)))] == -math.inf
    assert found[("edged_leads", ())] == 0


def test_prometheus_own_parser_reads_the_same() -> None:
    parser = pytest.importorskip("prometheus_client.parser", reason="prometheus-client comes with the dev extra")
    families = list(parser.text_string_to_metric_families(exposition(facts())))
    read = {(sample.name, tuple(sample.labels.items())): sample.value for f in families for sample in f.samples}
    assert read == samples(exposition(facts()))
    assert all(family.type in {"gauge", "counter"} for family in families)


def test_states_are_those_of_the_core() -> None:
    assert {state.name.lower() for state in MemberState} == set(MEMBER_STATES)
    assert {state.name.lower() for state in JobState} == set(JOB_STATES)


def test_names_say_whose_they_are_and_end_in_their_unit() -> None:
    assert len(NAMES) == len(METRICS)
    assert all(re.fullmatch(r"(edged|process)_[a-z_]+", name) for name in NAMES)
    for metric in METRICS:
        unit = metric.name.removesuffix("_total")
        if re.match("Time|When|Round trip|Age of", metric.text):
            assert unit.endswith("_seconds"), metric
        if re.match("Memory|Bytes", metric.text):
            assert unit.endswith("_bytes"), metric


def test_the_document_lists_exactly_these_metrics() -> None:
    rows = re.findall(r"^\| `((?:edged|process)_\w+)` \| (\w+) \| (.*?) \| (.*) \|$", DOCUMENT, re.MULTILINE)
    assert rows == [
        (metric.name, metric.kind, ", ".join(f"`{label}`" for label in metric.labels), metric.text)
        for metric in METRICS
    ]


@pytest.mark.parametrize("expression", [target["expr"] for target in TARGETS])
def test_the_dashboard_asks_for_metrics_and_labels_that_exist(expression: str) -> None:
    asked_for(expression)


@pytest.mark.parametrize("expression", re.findall(r"^\| `(.*?(?:edged_).*?)`.*? \|", DOCUMENT, re.MULTILINE))
def test_alarms_ask_for_metrics_that_exist(expression: str) -> None:
    asked_for(expression)


def asked_for(expression: str) -> None:
    names = set(re.findall(r"\b(?:edged|process)_\w+", expression))
    assert names
    assert names <= NAMES
    grouped = {label for group in re.findall(r"by \(([^)]*)\)", expression) for label in group.split(", ")}
    chosen = set(re.findall(r"[{,](\w+)=~?\"", expression))
    assert grouped | chosen <= LABELS


def test_the_dashboards_panels_lie_side_by_side_and_their_legends_name_labels() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken
        assert all(x < 24 for x, _ in cells)
        taken |= cells
        shown = {label for target in panel["targets"] for label in re.findall(r"{{(\w+)}}", target["legendFormat"])}
        grouped = {label for target in panel["targets"] for group in re.findall(r"by \(([^)]*)\)", target["expr"])
                   for label in group.split(", ")}  # fmt: skip
        assert shown <= grouped | {"instance"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
