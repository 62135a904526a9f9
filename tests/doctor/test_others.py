"""Who else is there becomes findings: what stands between them and this home; an announcement may not claim much."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor.doors import Other, OthersFacts, Source
from edged.doctor.finding import Level
from edged.doctor.others import judge_others
from edged.transport.contacts import Reach
from edged.transport.discovery import Announcement
from edged.transport.trial import Trial

PLACE = ("192.168.1.20", 41233)
SAID = Announcement("tag", PROTOCOL_VERSION, "ab", (PLACE[0],), PLACE[1])
WELL = Other(Source.HEARD, "laptop", "ab", (PLACE,), SAID, (Trial(PLACE, Reach.OPEN, 0.004, opens=True),))
FACTS = OthersFacts("cd", "tag", True, (WELL,))


def found(facts: OthersFacts) -> dict:
    return {each.id: each for each in judge_others(facts)}


def shown(reach: Reach, opens: bool | None) -> tuple[Trial, ...]:
    return (Trial(PLACE, reach, 0.004, opens),)


def test_a_node_whose_door_opens_is_in_order() -> None:
    (finding,) = found(FACTS).values()
    assert (finding.id, finding.level) == ("others", Level.OK)
    assert finding.what == "laptop at 192.168.1.20:41233 answers in 4 ms; the key opens its door"


@pytest.mark.parametrize(
    ("changes", "name", "level"),
    [
        ({"trials": shown(Reach.OPEN, None)}, "others", Level.NOTE),
        ({"trials": shown(Reach.OPEN, False)}, "others-key", Level.NOTE),
        ({"trials": shown(Reach.OPEN, False), "source": Source.NAMED}, "others-key", Level.PROBLEM),
        ({"trials": shown(Reach.OPEN, False), "source": Source.REMEMBERED}, "others-key", Level.PROBLEM),
        ({"said": replace(SAID, tag="other")}, "others-key", Level.NOTE),
        ({"said": replace(SAID, tag="other"), "source": Source.NAMED}, "others-key", Level.WARNING),
        ({"said": replace(SAID, tag="other", protocol=99)}, "others-key", Level.NOTE),
        (
            {"said": replace(SAID, tag="other", protocol=99), "trials": shown(Reach.OPEN, False)},
            "others-key",
            Level.NOTE,
        ),
        ({"said": replace(SAID, tag="other"), "trials": shown(Reach.SILENT, None)}, "others-key", Level.NOTE),
        ({"said": replace(SAID, protocol=99)}, "others-version", Level.WARNING),
        ({"trials": shown(Reach.CLOSED, None)}, "others-silent", Level.WARNING),
        ({"trials": shown(Reach.SILENT, None), "source": Source.NAMED}, "others-silent", Level.WARNING),
        ({"trials": shown(Reach.NO_ROUTE, None), "source": Source.REMEMBERED}, "others-silent", Level.NOTE),
        ({"node": "cd"}, "others-twin", Level.PROBLEM),
        ({"node": "cd", "trials": shown(Reach.OPEN, None)}, "others-twin", Level.PROBLEM),
        ({"node": "cd", "trials": shown(Reach.OPEN, False)}, "others-key", Level.NOTE),
        ({"node": "cd", "trials": shown(Reach.OPEN, None), "said": replace(SAID, tag="x")}, "others-key", Level.NOTE),
        ({"node": "cd", "trials": shown(Reach.CLOSED, None)}, "others-silent", Level.WARNING),
    ],
)
def test_what_stands_between(changes: dict, name: str, level: Level) -> None:
    (finding,) = found(replace(FACTS, others=(replace(WELL, **changes),))).values()
    assert (finding.id, finding.level) == (name, level)
    assert "192.168.1.20:41233" in finding.what


def test_one_place_of_several_is_enough() -> None:
    far = ("10.0.0.9", 41233)
    both = (Trial(far, Reach.SILENT, 1.0, opens=None), *WELL.trials)
    (finding,) = found(replace(FACTS, others=(replace(WELL, places=(far, PLACE), trials=both),))).values()
    assert finding.level is Level.OK
    assert "192.168.1.20" in finding.what


def test_without_a_key_it_says_where_one_is_had() -> None:
    (finding,) = found(replace(FACTS, tag="")).values()
    assert finding.level is Level.NOTE
    assert "edged key join-command" in finding.remedy


@pytest.mark.parametrize("listened", [True, False])
def test_nobody_is_no_problem(listened: bool) -> None:
    (finding,) = found(OthersFacts("", "", listened, ())).values()
    assert finding.level is Level.NOTE
    assert ("heard" in finding.what) is listened


def test_a_door_that_another_node_has_makes_no_twin() -> None:
    claim = replace(WELL, name="", node="cd")
    assert set(found(replace(FACTS, others=(claim, WELL)))) == {"others"}


def test_without_a_key_another_protocol_is_only_worth_knowing() -> None:
    (finding,) = found(replace(FACTS, tag="", others=(replace(WELL, said=replace(SAID, protocol=99)),))).values()
    assert (finding.id, finding.level) == ("others-version", Level.NOTE)


def test_a_key_that_is_none_is_not_called_a_missing_one() -> None:
    (finding,) = found(replace(FACTS, tag="", invalid=True)).values()
    assert finding.level is Level.NOTE
    assert "the key is invalid" in finding.what
    assert "no key yet" not in finding.what


def test_who_is_nowhere_is_one_line_with_the_number_of_its_addresses() -> None:
    places = (PLACE, ("10.0.0.9", 41233), ("10.0.1.9", 41233))
    nowhere = tuple(Trial(place, Reach.SILENT, 1.0 + number, opens=None) for number, place in enumerate(places))
    (finding,) = found(replace(FACTS, others=(replace(WELL, places=places, trials=nowhere),))).values()
    assert finding.what == "laptop at 192.168.1.20:41233 and 2 other addresses (heard): no answer within a second"


@pytest.mark.parametrize("others", [(), (WELL,)])
def test_those_that_were_not_tried_are_counted(others: tuple[Other, ...]) -> None:
    findings = judge_others(replace(FACTS, others=others, left_out=3))
    assert [finding.what for finding in findings][-1] == "3 more were not tried: 32 addresses are, at most"
    assert len(findings) == 1 + len(others)
