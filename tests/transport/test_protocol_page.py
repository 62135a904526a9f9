"""The protocol page names what is on the wire."""

import re
from dataclasses import fields
from pathlib import Path

from edged.core.ids import JobId, NodeId, Stamp
from edged.core.messages import Ping, Stored
from edged.transport.codec import encode
from edged.transport.door import Verdict
from edged.transport.kinds import KINDS
from edged.transport.pieces import ACK, PIECE, PIECE_BYTES, Prefix

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text(encoding="utf-8")
MESSAGES = PAGE.partition("## 6. Messages")[2].partition("### 7.2")[0]
ROWS = re.findall(r"^\| ([\d, ]+) \| ([^|]+) \| ([^|]+) \|", MESSAGES, re.MULTILINE)


def shown(data):
    """Whether these bytes stand in one line of the page, however far apart."""
    return data.hex(" ") in re.sub(" +", " ", PAGE)


def test_every_kind_has_its_number_and_its_fields():
    told = {}
    for numbers, names, listed in ROWS:
        kinds = dict(zip(map(int, numbers.split(",")), re.findall(r"\w+", names), strict=True))
        told |= kinds
        if not listed.endswith("..."):
            for number in kinds:
                assert listed.split(", ") == [field.name for field in fields(KINDS[number])], KINDS[number]
    assert told == {number: kind.__name__ for number, kind in KINDS.items()}


def test_every_verdict_of_a_door_has_its_number():
    told = re.findall(r"^\| `([A-Z]+)` \| (\d) \|", PAGE, re.MULTILINE)
    assert [(verdict.name, str(int(verdict))) for verdict in Verdict] == told


def test_the_bytes_shown_are_those_that_are_sent():
    assert shown(encode(Ping(7, NodeId("0123456789abcdef"), ())))
    assert shown(encode(Stored(Stamp(JobId("0123456789ab"), 3, 2), 64, "")))
    assert shown(Prefix(PIECE, 4, PIECE_BYTES).pack())
    assert shown(Prefix(ACK, 70_000).pack())
    assert not shown(Prefix(ACK, 70_001).pack())
