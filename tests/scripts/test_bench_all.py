"""``bench_all.py`` makes one table of what all benchmarks print with ``--json``."""

from __future__ import annotations

import json
from pathlib import Path

import bench_all
import bench_recovery
import pytest
from benchmarking import SCRIPTS, Comparison, report

COLUMNS = bench_all.HEAD.splitlines()[0].count("|") - 2
"""Without the last one, which ``main`` adds."""


def rows(result: object) -> dict[str, bool]:
    """Each row's first column, and whether its goal was met."""
    found = list(bench_all.rows_of(json.loads(json.dumps(result))))
    assert all(row.count("|") == COLUMNS - 1 for row, _ in found), found
    return {row.partition(" |")[0]: met for row, met in found}


def test_every_benchmark_is_run() -> None:
    shared = {"bench_all.py", "bench_model.py", "bench_gpt.py", "bench_recovery_job.py"}
    shared |= {"bench_planner.py", "bench_simulate.py"}  # they need no cluster, and run by themselves
    assert {path.name for path in Path(SCRIPTS).glob("bench_*.py")} - shared == set(bench_all.SCRIPT_NAMES)


def test_comparisons(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        report([Comparison("one / other", "steps/s", [2.0], [2.5], [0.8], 0.9)], as_json=True)
    assert ended.value.code == 1
    assert rows(json.loads(capsys.readouterr().out)) == {"one / other": False}


def test_times_and_rates() -> None:
    times = {"seconds": {"help": [0.1, 0.2]}, "median": {"help": 0.15}, "budget": {"help": 0.3}}
    assert rows(times) == {"help": True}
    rate = {"edged_bytes_per_second": 9e8, "plain_bytes_per_second": 1e9, "ratio": 0.9, "goal": 0.8, "rounds": 3}
    assert list(rows(rate | {"ratio_lowest": 0.8, "ratio_highest": 1.0}).values()) == [True]


def test_limits_and_what_could_not_be_measured() -> None:
    limit = {"name": "a joiner", "unit": "s", "values": [3.0, 30.0, 31.0], "goal": 20.0, "median": 30.0}
    assert rows({"limits": [limit, limit | {"name": "noise", "median": 2.0}]}) == {"a joiner": False, "noise": True}
    assert rows({"skipped": "needs root"}) == {": needs root": False}


def test_pauses_and_what_they_are_compared_with(capsys: pytest.CaptureFixture[str]) -> None:
    measured = bench_recovery.cases()
    for case in measured:
        case.seconds, case.moved_bytes = [case.goal_seconds + 0.1], [0]
    measured[0].seconds = [0.5]
    with pytest.raises(SystemExit) as ended:
        bench_recovery.report(measured, [10.0, 11.0], as_json=True)
    assert ended.value.code == 1
    found = rows(json.loads(capsys.readouterr().out))
    assert found.pop("pause: SIGKILL of a worker")
    assert found.pop("times faster than a restart from a checkpoint")
    assert found.pop("no step is done again when nodes leave or join")
    assert found == {f"pause: {case.name}": False for case in measured[1:]}
