"""The documentation explains exactly the findings that there are, and the reasons not to see others."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edged.doctor import catalogue
from edged.doctor.catalogue import PARTS, WHY
from edged.doctor.finding import Finding, Level, worst
from edged.transport.contacts import Reason

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([a-z-]+)` \| (.*?) \| (.*) \|$", re.MULTILINE)


@pytest.mark.parametrize("part", PARTS)
def test_every_finding_is_explained_under_its_part_in_the_same_words(part: str) -> None:
    section = PAGE.partition(f"\n### {part[0].upper()}{part[1:]}\n")[2].partition("\n### ")[0]
    rows = ROW.findall(section)
    assert {name: why for name, why, _ in rows} == dict(PARTS[part])
    assert [name for name, _, _ in rows] == list(PARTS[part])
    assert all(remedy.strip() for _, _, remedy in rows)


def test_every_reason_not_to_see_others_is_explained_in_its_order() -> None:
    section = PAGE.partition("## Why does this device not see the others?")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE) == [reason.value for reason in Reason]


def test_every_explained_finding_can_be_made() -> None:
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "edged" / "doctor").glob("*.py")
                      if path.name != Path(catalogue.__file__).name)  # fmt: skip
    made = set(re.findall(r'Finding\(\s*"([a-z-]+)"', sources))
    assert made == {name for name in WHY if not name.startswith("unmet-")}
    assert {f"unmet-{reason.value}" for reason in Reason} == {name for name in WHY if name.startswith("unmet-")}


def test_an_id_belongs_to_one_part() -> None:
    assert sum(map(len, PARTS.values())) == len(WHY)


def test_a_finding_must_be_known_and_a_bad_one_say_what_to_do() -> None:
    with pytest.raises(AssertionError, match="does not explain"):
        Finding("torches", Level.OK, "x")
    with pytest.raises(AssertionError, match="what to do"):
        Finding("torch", Level.WARNING, "x")
    assert Finding("torch", Level.OK, "x").why == WHY["torch"]


def test_the_worst_counts() -> None:
    assert worst([]) is Level.OK
    assert worst([Finding("torch", Level.NOTE, "x"), Finding("disk", Level.PROBLEM, "x", "y")]) is Level.PROBLEM
