"""Plans that cannot run are refused when they are made; and small questions to those that can."""

import pytest

from edged.core.ballot import FORK_BITS, THOUSAND, fork_term, same_thousand
from edged.core.plan import Hop, Plan, Route
from tests.core.job_sample import A, B, plan, stamp


class Drawn:
    def __init__(self, bits):
        self.bits = bits

    def getrandbits(self, count):
        assert count == FORK_BITS
        return self.bits


def test_a_fork_begins_beyond_the_thousand_that_it_left():
    for term in (0, 3, 999, 1000, 5001):
        assert fork_term(term, Drawn(0)) > term
        assert not same_thousand(fork_term(term, Drawn(0)), term)
        assert fork_term(term, Drawn(7)) % THOUSAND == 0
    assert fork_term(3, Drawn(1)) != fork_term(3, Drawn(2))


def test_a_lineage_counts_in_thousands_of_its_own():
    assert same_thousand(7000, 7999)
    assert not same_thousand(7999, 8000)


def test_a_sound_plan_knows_its_nodes():
    assert set(plan(stamp(), (A, B)).nodes()) == {A, B}


@pytest.mark.parametrize(
    "hops",
    [
        (),
        (Hop(A, 1, 3, 1),),
        (Hop(A, 0, 2, 1),),
        (Hop(A, 0, 1, 1), Hop(B, 3, 3, 1)),
        (Hop(A, 0, 1, 0), Hop(B, 2, 3, 1)),
        (Hop(A, 0, 3, 1), Hop(B, 4, 3, 1)),
    ],
)
def test_a_route_that_does_not_cover_every_layer_once_is_refused(hops):
    with pytest.raises(ValueError, match=r"\w"):
        Plan(stamp(), "auto", "", 4, 2, (Route(hops, (0, 1)),), 0.0)


@pytest.mark.parametrize("dealt", [(), (0,), (0, 0), (0, 1, 2), (1, 2)])
def test_a_plan_that_does_not_deal_every_micro_batch_once_is_refused(dealt):
    with pytest.raises(ValueError, match=r"\w"):
        Plan(stamp(), "auto", "", 4, 2, (Route((Hop(A, 0, 3, 1),), dealt),), 0.0)


def test_a_plan_without_routes_is_refused():
    with pytest.raises(ValueError, match=r"\w"):
        Plan(stamp(), "auto", "", 4, 2, (), 0.0)
