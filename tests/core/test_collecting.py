"""The whole model, at one version, home."""

from __future__ import annotations

from dataclasses import replace

from edged.core.collecting import Collecting
from edged.core.effects import SendMessage, WriteWeights
from edged.core.inventory import PIECE_BYTES
from edged.core.messages import WantState
from tests.core.miniature import SOURCE, STAMP, make_plan, make_spec, node, pipeline


def collecting() -> Collecting:
    return Collecting(pipeline(2, 4), make_spec(2, steps=10))


def asks(version: int) -> list[SendMessage]:
    return [
        SendMessage(SOURCE, WantState(STAMP, 0, 0, version)),
        SendMessage(node(1), WantState(STAMP, 1, 1, version)),
    ]


def test_the_result_is_written_when_every_hop_has_sent_its_layers():
    home = collecting()
    assert home.begin_result(0.0) == asks(10)
    assert home.arrived(10, 1, 1) == []
    assert home.arrived(9, 0, 0) == []
    assert home.arrived(10, 0, 0) == [WriteWeights(STAMP, 10, 0)]
    assert home.arrived(10, 0, 0) == []


def test_only_what_is_missing_is_asked_for_again():
    home = collecting()
    home.begin_result(0.0)
    home.arrived(10, 0, 0)
    assert home.deadline() == 1.0
    assert home.remind(0.9) == []
    assert home.remind(1.0) == asks(10)[1:]
    home.arrived(10, 1, 1)
    assert home.remind(2.0) == []
    assert home.deadline() is None


def test_an_export_takes_the_version_after_the_newest_fed_and_is_shared():
    home = collecting()
    assert home.begin_export(7, 3, 0.0) == asks(4)
    assert home.begin_export(8, 4, 0.0) == []
    home.arrived(4, 0, 0)
    assert home.arrived(4, 1, 1) == [WriteWeights(STAMP, 4, 7), WriteWeights(STAMP, 4, 8)]
    assert home.begin_export(9, 5, 0.0) == asks(6)


def test_a_refused_export_goes_further_ahead_each_time_but_never_beyond_the_end():
    home = collecting()
    home.begin_export(7, 3, 0.0)
    assert home.refused(4, 4, 0.0) == asks(6)
    assert home.refused(4, 4, 0.0) == []  # another hop says so too
    assert home.refused(6, 6, 0.0) == asks(10)
    assert home.refused(10, 9, 0.0) == []


def test_an_export_beside_the_result_does_not_disturb_it():
    home = collecting()
    home.begin_export(7, 8, 0.0)
    home.begin_result(0.0)
    for version in (9, 10):
        home.arrived(version, 0, 0)
    assert home.arrived(9, 1, 1) == [WriteWeights(STAMP, 9, 7)]
    assert home.arrived(10, 1, 1) == [WriteWeights(STAMP, 10, 0)]


def test_an_export_after_the_result_is_written_from_it():
    home = collecting()
    home.begin_result(0.0)
    home.arrived(10, 0, 0)
    home.arrived(10, 1, 1)
    assert home.begin_export(7, 9, 0.0) == [WriteWeights(STAMP, 10, 7)]


def test_a_hop_that_is_large_comes_in_pieces_each_of_which_a_small_source_can_hold() -> None:
    spec = make_spec(4, steps=10)
    spec = replace(spec, layers=tuple(replace(layer, state_bytes=PIECE_BYTES // 2 + 1) for layer in spec.layers))
    home = Collecting(make_plan(((0, 2, 2), (1, 2, 1)), layers=4, micro_batches=4), spec)
    asked = [(ask.to, ask.message.first_layer, ask.message.last_layer) for ask in home.begin_result(0.0)]
    assert asked == [(SOURCE, 0, 0), (SOURCE, 1, 1), (node(1), 2, 2), (node(1), 3, 3)]
    assert [home.arrived(10, first, last) for _, first, last in asked] == [[], [], [], [WriteWeights(STAMP, 10, 0)]]
