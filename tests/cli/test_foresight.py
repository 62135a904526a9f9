"""``edged simulate`` and ``edged plan`` as a user types them."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import torch

from edged.compute import submission
from edged.compute.profiler import profile
from edged.core.job import LayerProfile
from tests.cli.shell import JOBS, edged

CLUSTER = """
seconds = 20
[devices.desk]
[devices.laptop]
slowness = 2
[devices.pi]
slowness = 8
[links]
bandwidth = "100mbit"
[job]
layers = 8
micro_batch_ms = 40
micro_batches = 4
parameters = "1MB"
crossing = "10kB"
[[fault]]
at = 10
kill = "laptop"
"""
DIGITS = Path(__file__).parents[2] / "examples" / "digits" / "job.py"


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    path = tmp_path / "cluster.toml"
    path.write_text(CLUSTER, encoding="utf-8")
    return path


def test_a_simulation_prints_its_figures(cluster: Path) -> None:
    done = edged("simulate", cluster)
    assert done.status == 0, done.err
    for words in ("3 devices, 20 s, seed 1; faults: 1 kill", "killed: until the first noticed", "throughput: ", "died"):
        assert words in done.out


def test_equal_seeds_print_equal_objects(cluster: Path) -> None:
    first, again, other = (edged("simulate", cluster, "--json", "--seed", seed).object for seed in (3, 3, 4))
    assert first.pop("took_seconds") > 0.0
    again.pop("took_seconds")
    assert first == again
    assert first["seed"] == 3
    assert first != other
    assert set(first) == {
        "nodes", "seconds", "seed", "faults", "detection", "called_dead_wrongly", "election", "recovery", "events",
        "throughput", "traffic", "job",
    }  # fmt: skip
    assert first["detection"]["killed"]["first"]["count"] == 1


def test_fewer_seconds_may_be_asked_for(cluster: Path) -> None:
    found = edged("simulate", cluster, "--json", "--seconds", "5").object
    assert (found["seconds"], found["faults"]) == (5.0, {})


def test_mistakes_are_usage_errors(cluster: Path, tmp_path: Path) -> None:
    assert edged("simulate", tmp_path / "none.toml").refuses(2, "none.toml", "cannot be read")
    cluster.write_text(CLUSTER.replace("slowness = 2", "slowness = 0"), encoding="utf-8")
    assert edged("simulate", cluster).refuses(2, "[devices.laptop] slowness", "above 0")
    assert edged("plan", DIGITS, "--cluster", cluster).refuses(2, "[devices.laptop] slowness")
    assert edged("plan", DIGITS).refuses(2, "--cluster")


def test_a_plan_is_a_table_and_a_picture_in_eighty_columns(cluster: Path, tmp_path: Path) -> None:
    svg = tmp_path / "step.svg"
    done = edged("plan", DIGITS, "--cluster", cluster, "--svg", svg)
    assert done.status == 0, done.err
    assert "desk alone needs" in done.out
    table, _, picture = done.out.partition("one step of ")
    assert all(name in table for name in ("pipeline", "spread", "equal", "speed-up"))
    assert all(len(line) <= 80 for line in picture.splitlines()[1:-1])
    assert ET.parse(svg).getroot().tag.endswith("svg")
    assert str(svg) in done.err


def test_of_an_asynchronous_job_each_micro_batch_is_a_step(cluster: Path) -> None:
    done = edged("plan", DIGITS, "--cluster", cluster, "--set", "mode=async", "--threads", "1")
    assert done.status == 0, done.err
    assert "layers, each micro-batch is a step; " in done.out
    assert "pipeline: one asynchronous pipeline, " in done.out
    assert "\na: a micro-batch's forward; " in done.out


def test_a_plan_is_measured_with_as_many_threads_as_are_wanted(cluster: Path, monkeypatch) -> None:
    used: list[int] = []

    def measured(*arguments: object) -> list[LayerProfile]:
        used.append(torch.get_num_threads())
        return profile(*arguments)

    monkeypatch.setattr(submission, "profile", measured)
    before = torch.get_num_threads()
    monkeypatch.setenv("EDGED_THREADS", "3")
    edged("plan", DIGITS, "--cluster", cluster)
    edged("plan", DIGITS, "--cluster", cluster, "--threads", "2")
    assert used == [3, 2]
    assert torch.get_num_threads() == before
    assert edged("plan", DIGITS, "--cluster", cluster, "--threads", "many").refuses(2, "--threads", "whole number")


def test_a_plan_as_an_object(cluster: Path) -> None:
    found = edged("plan", DIGITS, "--cluster", cluster, "--json").object
    by_name = {each["strategy"]: each for each in found["strategies"]}
    assert "auto" not in by_name
    best = by_name[found["best"]]
    assert best["step_seconds"] == min(each["step_seconds"] for each in by_name.values())
    assert best["speed_up"] == pytest.approx(found["alone"]["step_seconds"] / best["step_seconds"])
    assert best["samples_per_second"] == pytest.approx(found["batch_size"] / best["step_seconds"])
    assert found["alone"]["name"] == "desk"
    for each in by_name.values():
        (route,) = each["routes"]
        assert [hop["name"] for hop in route["hops"]] == each["nodes"]
        assert route["hops"][-1]["last_layer"] == found["layers"] - 1


def test_one_strategy_may_be_named(cluster: Path) -> None:
    assert "one step of equal:" in edged("plan", DIGITS, "--cluster", cluster, "--strategy", "equal").out
    assert edged("plan", DIGITS, "--cluster", cluster, "--strategy", "magic").refuses(2, "--strategy magic", "equal")


def test_what_fits_nowhere_is_told_in_the_table_and_by_the_status(cluster: Path) -> None:
    small = CLUSTER.replace("[devices.desk]", '[devices.desk]\nmemory = "1kB"').replace(
        "slowness = 2", 'slowness = 2\nmemory = "1kB"'
    )
    cluster.write_text(small.replace("slowness = 8", 'slowness = 8\nmemory = "1kB"'), encoding="utf-8")
    done = edged("plan", DIGITS, "--cluster", cluster)
    assert done.status == 1
    assert done.out.count("impossible") >= 2
    assert "memory" in done.err
    assert edged("plan", DIGITS, "--cluster", cluster, "--json").object["best"] is None


def test_a_job_that_cannot_be_captured_is_told_as_ever(cluster: Path) -> None:
    assert edged("plan", f"{JOBS}:nothing_of_this_name", "--cluster", cluster).refuses(1, "nothing_of_this_name")
