"""The verdict on what processes take in a soak: steady ones pass, those that leak do not."""

from __future__ import annotations

import pytest
from chaos_bounds import GROWTH_BYTES, SEEN, Sample, broken, excess, most_before, report

FAULTS = 40
STEADY = {"rss_bytes": 300 * 2**20, "files": 60, "sockets": 30, "threads": 20}


def life(pid: int = 1, **growth: int) -> list[Sample]:
    """A process that is looked at after each fault, and takes so much more each time."""
    return [
        Sample("n0", pid, faults, {name: amount + faults * growth.get(name, 0) for name, amount in STEADY.items()})
        for faults in range(FAULTS)
    ]


def test_steady_processes_pass() -> None:
    assert broken(life(), FAULTS) == []


@pytest.mark.parametrize(("what", "each"), [("files", 2), ("sockets", 2), ("threads", 1), ("rss_bytes", 4 * 2**20)])
def test_a_leak_is_found_and_named(what: str, each: int) -> None:
    (sentence,) = broken(life(**{what: each}), FAULTS)
    assert sentence.startswith("process 1 of n0 ")
    assert ("has taken" in sentence) == (what == "rss_bytes")
    assert what == "rss_bytes" or what in sentence


def test_a_peak_that_passes_is_no_leak() -> None:
    peaks = [Sample("n0", 1, s.faults, {**s.taken, "files": 500 if s.faults % 2 else s.taken["files"]}) for s in life()]
    assert broken(peaks, FAULTS) == []


def test_a_process_that_was_started_again_is_another_one() -> None:
    older, newer = life(1)[: FAULTS // 2], life(2)[FAULTS // 2 :]
    assert broken([*older, *newer], FAULTS) == []
    assert report([*older, *newer], FAULTS)["n0"]["processes"] == 2


def test_memory_is_bounded_by_what_the_largest_process_took_in_the_first_quarter() -> None:
    leader = [Sample("n1", 2, 3, {**STEADY, "rss_bytes": STEADY["rss_bytes"] + GROWTH_BYTES})]
    grown = [Sample("n0", 3, 39, {**STEADY, "rss_bytes": STEADY["rss_bytes"] + 2 * GROWTH_BYTES})]
    assert broken([*life(), *leader, *grown], FAULTS) == []
    (sentence,) = broken([*life(), *grown], FAULTS)
    assert sentence == ("process 3 of n0 has taken 428 MiB; in the first quarter of the faults none took more than 300")
    figures = report([*life(), *grown], FAULTS)["n0"]
    assert (figures["early_rss_bytes"], figures["rss_bytes"]) == (300 * 2**20, 428 * 2**20)


def test_the_files_of_a_young_process_are_not_judged() -> None:
    assert broken([*life(1)[:SEEN], *life(2, files=50)[-SEEN + 1 :]], FAULTS) == []


def test_what_is_too_much_after_all_faults_is_told() -> None:
    before = most_before(life())
    assert excess(before, STEADY) == []
    assert excess(before, {**STEADY, "sockets": 300}) == ["300 sockets, 30 before the first fault"]
