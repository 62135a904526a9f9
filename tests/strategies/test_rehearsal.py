"""Plans under the virtual clock: times that can be counted by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest

from edged.core.job import LayerProfile
from edged.core.plan import Hop, Plan, Route
from edged.core.situation import Situation
from edged.errors import BrokenInvariantError
from edged.strategies.rehearsal import rehearse
from tests.core.miniature import STAMP, make_spec, node
from tests.strategies.situations import even, link, member


def row(*hops: tuple[int, int, int], layers: int, micro_batches: int) -> Plan:
    """Hops of (node, number of layers, window)."""
    made, first = [], 0
    for number, count, window in hops:
        made.append(Hop(node(number), first, first + count - 1, window))
        first += count
    return Plan(STAMP, "any", "", layers, micro_batches, (Route(tuple(made), tuple(range(micro_batches))),), 0.0)


FREE = [link(a, b, 0.0, 1e18) for a in range(4) for b in range(4) if a != b]


def near(seconds: float) -> object:
    return pytest.approx(seconds, rel=1e-6)


def test_one_node_takes_what_its_passes_take():
    spec = even(4, micro_batches=4)
    rehearsal = rehearse(row((0, 4, 1), layers=4, micro_batches=4), Situation(spec, (member(0),)))
    assert (rehearsal.step_seconds, rehearsal.first_step_seconds) == (near(4 * 12.0), near(4 * 12.0))
    assert [span.kind for span in rehearsal.spans] == ["forward", "backward"] * 4 + ["update"]


def test_a_pipeline_takes_its_fill_its_work_and_its_drain():
    spec = even(3, micro_batches=8)
    situation = Situation(spec, tuple(member(i) for i in range(3)), links=tuple(FREE))
    rehearsal = rehearse(row((0, 1, 3), (1, 1, 2), (2, 1, 1), layers=3, micro_batches=8), situation)
    assert rehearsal.step_seconds == near((8 + 2) * 3.0)


def test_slowness_is_what_was_measured_at_work_before_what_was_calibrated():
    spec, plan = even(2, micro_batches=1), row((0, 1, 1), (1, 1, 1), layers=2, micro_batches=1)
    members = (member(0), member(1, slowness=2.0))
    assert rehearse(plan, Situation(spec, members, links=tuple(FREE))).step_seconds == near(3.0 + 6.0)
    measured = Situation(spec, members, links=tuple(FREE), slowness=((node(0), 1.0), (node(1), 5.0)))
    assert rehearse(plan, measured).step_seconds == near(3.0 + 15.0)
    partly = Situation(spec, members, links=tuple(FREE), slowness=((node(1), 2.4),))
    assert rehearse(plan, partly).step_seconds == near(1.2 * 3.0 + 7.2)  # who works is 1.2 times slower than calibrated


def test_parcels_of_one_node_share_its_interface_whoever_they_go_to():
    profile = LayerProfile(1.0, 1.0, 0, 0, 0, 1000, ())
    spec = make_spec(3, layers=(profile,) * 3, micro_batches=50)
    links = tuple(link(a, b, 0.0, 200.0 if a == 1 else 1e9) for a in range(3) for b in range(3) if a != b)
    plan = row((0, 1, 50), (1, 1, 50), (2, 1, 1), layers=3, micro_batches=50)
    rehearsal = rehearse(plan, Situation(spec, tuple(member(i) for i in range(3)), links=links))
    assert 50 * 10.0 < rehearsal.step_seconds < 50 * 10.0 + 20.0  # 5 s there and 5 s back for each micro-batch


def test_clipping_waits_for_everyones_norms():
    plan = row((0, 1, 1), (1, 1, 1), layers=2, micro_batches=1)
    links = tuple(link(a, b, 0.5, 1e18) for a, b in ((0, 1), (1, 0)))
    begins = {}
    for clips in (False, True):
        spec = even(2, micro_batches=1, clips=clips)
        rehearsal = rehearse(plan, Situation(spec, (member(0), member(1)), links=links))
        assert rehearsal.step_seconds == near(2 * 3.0 + 2 * 0.5)
        begins[clips] = [s.start for s in rehearsal.spans if (s.kind, s.node) == ("update", node(1))]
    assert begins[False] == [near(1.0 + 0.5 + 3.0)]  # the second hop is done while the first one still computes
    assert begins[True] == [near(0.5), near(4.5)]  # and updates when it has heard the norms of the step before


def test_spans_are_one_whole_step():
    spec = even(2, micro_batches=3)
    plan = row((0, 1, 2), (1, 1, 1), layers=2, micro_batches=3)
    rehearsal = rehearse(plan, Situation(spec, (member(0), member(1))))
    kinds = [span.kind for span in rehearsal.spans]
    assert {kind: kinds.count(kind) for kind in kinds} == {"forward": 6, "backward": 6, "transfer": 6, "update": 2}
    assert all(0.0 <= span.start <= span.end <= rehearsal.step_seconds for span in rehearsal.spans)
    busy = sorted(
        (span.start, span.end) for span in rehearsal.spans if span.node == node(0) and span.kind != "transfer"
    )
    assert all(before[1] <= after[0] for before, after in pairwise(busy))


def test_routes_that_share_a_layer_cannot_be_rehearsed_yet():
    routes = (Route((Hop(node(0), 0, 1, 1),), (0,)), Route((Hop(node(1), 0, 1, 1),), (1,)))
    with pytest.raises(BrokenInvariantError, match="nobody sums up"):
        rehearse(Plan(STAMP, "any", "", 2, 2, routes, 0.0), Situation(even(2, micro_batches=2), (member(0), member(1))))


def test_two_routes_may_share_their_hops():
    routes = (
        Route((Hop(node(0), 0, 0, 1), Hop(node(1), 1, 1, 1)), (0, 2)),
        Route((Hop(node(0), 0, 0, 1), Hop(node(1), 1, 1, 1)), (1, 3)),
    )
    spec = even(2, micro_batches=4)
    rehearsal = rehearse(
        Plan(STAMP, "any", "", 2, 4, routes, 0.0), Situation(spec, (member(0), member(1)), links=tuple(FREE))
    )
    assert rehearsal.step_seconds == near((4 + 1) * 3.0)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="2 to 4 steps"):
        rehearse(row((0, 2, 1), layers=2, micro_batches=1), Situation(even(2), (member(0),)), steps=1)
