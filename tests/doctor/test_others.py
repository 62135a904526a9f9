"""Who else is there becomes findings; doors of real nodes on loopback are tried, and nobody is joined."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from testbed import free_ports

from edged.core.ids import PROTOCOL_VERSION
from edged.doctor import others
from edged.doctor.finding import Level
from edged.doctor.others import Other, OthersFacts, Source, judge_others, measure_others
from edged.transport import trial
from edged.transport.contacts import Reach
from edged.transport.discovery import Announcement
from edged.transport.identity import load_identity
from edged.transport.security import new_cluster_key, parse_token, write_cluster_key
from edged.transport.trial import Trial
from tests.transport.nodes import KEY, build, door_of, met, running

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
        ({"said": replace(SAID, protocol=99)}, "others-version", Level.WARNING),
        ({"trials": shown(Reach.CLOSED, None)}, "others-silent", Level.WARNING),
        ({"trials": shown(Reach.SILENT, None), "source": Source.NAMED}, "others-silent", Level.WARNING),
        ({"trials": shown(Reach.NO_ROUTE, None), "source": Source.REMEMBERED}, "others-silent", Level.NOTE),
        ({"node": "cd"}, "others-twin", Level.PROBLEM),
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


def listen_for(wanted: Callable[[Announcement], bool]) -> Callable[..., Awaitable[None]]:
    """Listen until this is heard, however long it takes."""

    async def listen(addresses: list[str], _seconds: float, heard: Callable[[Announcement], None]) -> None:
        came = asyncio.Event()

        def hear(said: Announcement) -> None:
            heard(said)
            if wanted(said):
                came.set()

        listening = asyncio.create_task(trial.listen(addresses, 60.0, hear))
        async with asyncio.timeout(60.0):
            await came.wait()
        listening.cancel()
        with suppress(asyncio.CancelledError):
            await listening

    return listen


async def test_doors_are_tried_and_nobody_is_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is heard and named, one only named, one has another key, one ended since it was met."""
    monkeypatch.setattr(others, "listen", listen_for(lambda said: said.door_port == door_of(heard)[1]))
    load_identity(tmp_path)
    write_cluster_key(tmp_path, KEY)
    heard, named, strange = build("heard", discovery=True), build("named"), build("strange", key=new_cluster_key())
    async with running(heard, named, strange):
        async with (
            running(build(home=tmp_path)) as (before,),
            running(build("gone", seeds=[door_of(before)])) as (gone,),
        ):
            await met(before, gone)
            record = gone.own_record()
        nowhere = ("127.0.0.1", free_ports())
        seeds = [door_of(heard), door_of(named), door_of(strange), nowhere]
        facts = await measure_others(tmp_path, "", "test", ["127.0.0.1"], seeds, discovery=True)
        assert not heard._peers
        assert not named._peers
    assert facts.tag == parse_token(KEY).tag("test")
    seen = {other.places[0]: other for other in facts.others}  # tests beside this one announce nodes, too
    expected = {
        door_of(heard): (Source.NAMED, Reach.OPEN, True),
        door_of(named): (Source.NAMED, Reach.OPEN, True),
        door_of(strange): (Source.NAMED, Reach.OPEN, False),
        nowhere: (Source.NAMED, Reach.CLOSED, None),
        ("127.0.0.1", record.door_port): (Source.REMEMBERED, Reach.CLOSED, None),
    }
    assert {
        place: (seen[place].source, seen[place].best.reach, seen[place].best.opens) for place in expected
    } == expected
    assert [place for place in expected if seen[place].said is not None] == [door_of(heard)]
