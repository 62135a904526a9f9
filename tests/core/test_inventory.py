"""What is whole, what is lacking, and who gives what to whom: the same as found by trying everything."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from edged.core.inventory import (
    PIECE_BYTES,
    lacking,
    moved_bytes,
    nearest_miss,
    newest_complete,
    newest_stored,
    pieces,
    ranges,
    ranges_in_words,
    transfers,
)
from edged.core.messages import Holding, HoldingKind, Inventory, Transfer
from edged.core.plan import Hop, Plan, Route
from tests.core.job_sample import A, B, C, D, plan, spec, stamp

KINDS = list(HoldingKind)


def have(*holdings):
    return Inventory(stamp(), holdings, program=False, data=False)


def hold(first, last, version, kind=HoldingKind.SNAPSHOT):
    return Holding(first, last, version, kind)


HOLDINGS = st.builds(
    lambda first, length, version, kind: Holding(first, min(first + length, 5), version, kind),
    st.integers(0, 5),
    st.integers(0, 5),
    st.integers(0, 3),
    st.sampled_from(KINDS),
)
INVENTORIES = st.dictionaries(
    st.sampled_from([A, B, C]), st.lists(HOLDINGS, max_size=4).map(lambda its: have(*its)), max_size=3
)


def holders(inventories, layer, version):
    return [
        (node, h)
        for node, its in inventories.items()
        for h in its.holdings
        if h.version == version and h.first_layer <= layer <= h.last_layer
    ]


@given(INVENTORIES)
def test_the_newest_complete_version_is_the_highest_at_which_every_layer_is_held(inventories):
    whole = [v for v in range(4) if all(holders(inventories, layer, v) for layer in range(6))]
    assert newest_complete(6, inventories) == max(whole, default=None)


@given(INVENTORIES)
def test_a_plan_gets_every_layer_once_from_somebody_who_holds_it(inventories):
    version = newest_complete(6, inventories)
    if version is None:
        return
    made = plan(stamp(), (B, D), layers=6)
    moves = transfers(made, spec(layers=6), version, inventories)
    for node in (B, D):
        ((_, _, hop),) = made.hops_of(node)
        got = [layer for move in moves[node] for layer in range(move.first_layer, move.last_layer + 1)]
        assert got == list(range(hop.first_layer, hop.last_layer + 1))
        for move in moves[node]:
            spans = [h for n, h in holders(inventories, move.first_layer, version) if n == move.holder]
            assert any(h.last_layer >= move.last_layer for h in spans), "a transfer crosses a holding's border"
            own = [h for n, h in holders(inventories, move.first_layer, version) if n == node]
            assert move.holder == node or not own
            best = min(h.kind for _, h in holders(inventories, move.first_layer, version))
            assert own or min(h.kind for h in spans) == best


@given(INVENTORIES)
def test_the_nearest_miss_lacks_least(inventories):
    gaps = nearest_miss(6, inventories)
    missing = sum(last - first + 1 for first, last in gaps)
    counts = [sum(not holders(inventories, layer, v) for layer in range(6)) for v in range(4)]
    assert missing == min(counts)


def test_layers_of_different_versions_make_no_whole():
    assert newest_complete(4, {A: have(hold(0, 1, 3)), B: have(hold(2, 3, 2))}) is None


def test_what_is_lacking_is_given_in_ranges():
    inventories = {A: have(hold(0, 0, 3), hold(3, 3, 3))}
    assert lacking(6, 3, inventories) == ((1, 2), (4, 5))
    assert ranges_in_words(lacking(5, 3, inventories)) == "layers 1–2 and layer 4"


def test_where_nothing_is_held_everything_lacks():
    assert nearest_miss(4, {}) == ((0, 3),)
    assert nearest_miss(4, {A: have(hold(0, 3, 0))}, above=0) == ((0, 3),)


def test_a_node_takes_its_own_first_and_the_quickest_kind_of_others():
    inventories = {
        A: have(hold(0, 3, 5, HoldingKind.DISK)),
        B: have(hold(0, 0, 5, HoldingKind.DISK)),
        C: have(hold(1, 3, 5, HoldingKind.REPLICA)),
    }
    moves = transfers(plan(stamp(), (B,)), spec(), 5, inventories)
    assert moves == {B: (Transfer(0, 0, 5, B), Transfer(1, 3, 5, C))}


def test_the_nearest_gives_whatever_kind_it_holds():
    inventories = {A: have(hold(0, 3, 5)), C: have(hold(0, 3, 5, HoldingKind.DISK))}
    slow = {(A, B): 1e5, (C, B): 1e7, (B, A): 1e9}
    assert transfers(plan(stamp(), (B,)), spec(), 5, inventories, rates=slow) == {B: (Transfer(0, 3, 5, C),)}
    alike = {(A, B): 6e6, (C, B): 1e7}
    assert transfers(plan(stamp(), (B,)), spec(), 5, inventories, rates=alike) == {B: (Transfer(0, 3, 5, A),)}


def test_a_slow_link_is_better_than_none_and_an_unknown_one_is_not_thought_to_be_slow():
    slow = {(A, B): 1e5, (C, B): 1e7}
    mine = have(hold(0, 1, 5))
    inventories = {A: have(hold(0, 3, 5)), B: mine}
    both = (Transfer(0, 1, 5, B), Transfer(2, 3, 5, A))
    assert transfers(plan(stamp(), (B,)), spec(), 5, inventories, rates=slow) == {B: both}
    unknown = {C: have(hold(0, 3, 5, HoldingKind.REPLICA)), D: have(hold(0, 3, 5))}
    assert transfers(plan(stamp(), (B,)), spec(), 5, unknown, rates=slow) == {B: (Transfer(0, 3, 5, D),)}


def test_equal_holders_share_the_burden():
    inventories = {node: have(hold(0, 3, 5)) for node in (C, D)}
    moves = transfers(plan(stamp(), (A, B)), spec(), 5, inventories)
    assert {its[0].holder for its in moves.values()} == {C, D}


def test_a_node_that_is_visited_twice_gets_each_piece_once():
    hops = (Hop(A, 0, 1, 1), Hop(B, 2, 2, 1), Hop(A, 3, 3, 1))
    route = Route(hops, (0,))
    other = Route(hops, (1,))
    made = Plan(stamp(), "u", "there and back", 4, 2, (route, other), 0.0)
    moves = transfers(made, spec(), 1, {C: have(hold(0, 3, 1))})
    assert moves[A] == (Transfer(0, 1, 1, C), Transfer(3, 3, 1, C))


def test_what_crosses_the_network_goes_in_pieces_and_what_is_here_does_not():
    layers = tuple(replace(layer, state_bytes=PIECE_BYTES // 2 - 1000) for layer in spec().layers)
    large = replace(spec(), layers=layers)
    inventories = {A: have(hold(0, 3, 1))}
    two = (Transfer(0, 1, 1, A), Transfer(2, 3, 1, A))
    assert transfers(plan(stamp(), (B,)), large, 1, inventories) == {B: two}
    assert transfers(plan(stamp(), (A,)), large, 1, inventories) == {A: (Transfer(0, 3, 1, A),)}


@given(st.lists(st.integers(0, 2 * PIECE_BYTES), min_size=1, max_size=12))
def test_pieces_are_as_large_as_they_may_be_and_leave_nothing_out(sizes):
    layer = replace(spec().layers[0], parameter_bytes=0)
    large = replace(spec(), layers=tuple(replace(layer, state_bytes=size) for size in sizes))
    found = list(pieces(large, 0, len(sizes) - 1))
    assert [layer for first, last in found for layer in range(first, last + 1)] == list(range(len(sizes)))
    for first, last in found:
        assert first == last or sum(sizes[first : last + 1]) <= PIECE_BYTES
        assert last + 1 == len(sizes) or sum(sizes[first : last + 2]) > PIECE_BYTES


def test_only_what_crosses_the_network_is_counted():
    moves = {B: (Transfer(0, 1, 5, B), Transfer(2, 3, 5, C))}
    assert moved_bytes(spec(), moves) == 2 * (1200 + 1000)


def test_only_what_lies_on_disks_is_known_to_have_been_safe():
    assert newest_stored({A: have(hold(0, 1, 9), hold(0, 0, 4, HoldingKind.DISK))}) == 4
    assert newest_stored({}) == 0


def test_single_layers_are_joined_to_ranges():
    assert ranges([3, 1, 2, 2, 7]) == ((1, 3), (7, 7))
