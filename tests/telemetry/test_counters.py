"""Counters."""

from edged.telemetry.counters import Counters


def test_counts_add_up_and_are_listed_by_name() -> None:
    counters = Counters()
    counters.add("b")
    counters.add("a", 3)
    counters.add("b")
    assert counters["b"] == 2
    assert counters["never seen"] == 0
    assert list(counters.snapshot().items()) == [("a", 3), ("b", 2)]
