"""The SVG picture: every word in its place, frames and curves as shapes."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from edged.tui.curve import chart
from edged.tui.lines import Tone, bar, line
from edged.tui.lines_svg import CELL, MARGIN, picture
from edged.tui.picture import write_svg
from tests.tui.scenes import SCENES

SVG = "{http://www.w3.org/2000/svg}"


def drawn(*lines, columns: int = 40) -> ET.Element:
    return ET.fromstring(picture(list(lines), columns, "a <title> & more"))


def texts(root: ET.Element) -> dict[str, ET.Element]:
    return {each.text or "": each for each in root.iter(f"{SVG}text")}


@pytest.mark.parametrize("scene", SCENES)
def test_every_scene_is_a_document_that_fetches_nothing(scene: str, tmp_path: Path) -> None:
    write_svg(SCENES[scene](), tmp_path / "view.svg")
    text = (tmp_path / "view.svg").read_text(encoding="utf-8")
    root = ET.fromstring(text)
    assert "url(" not in text
    assert "href" not in text
    assert "nodes alive" in text
    assert root.find(f"{SVG}title").text.startswith("edged watch · ")


def test_words_stand_at_their_columns_and_are_as_wide_as_their_cells() -> None:
    found = texts(drawn(line("a b", ("   left", Tone.BAD), "  書斎 x")))
    assert float(found["a b"].get("x")) == pytest.approx(MARGIN, abs=0.1)
    assert float(found["left"].get("x")) == pytest.approx(MARGIN + 6 * CELL, abs=0.1)
    assert found["left"].get("class") == "bad"
    assert float(found["書斎 x"].get("textLength")) == pytest.approx(6 * CELL, abs=0.1)


def test_frames_bars_arrows_and_curves_are_shapes() -> None:
    root = drawn(line("╭ desk ─╮"), line("│ ─▶ ", bar(0.5, 4)), line("╰───────╯"), *chart([(1, 3.0), (9, 1.0)], 20, 4))
    assert set("╭╮╰╯│─▶█░").isdisjoint("".join(root.itertext()))
    assert not any("⠀" <= sign <= "⣿" for sign in "".join(root.itertext()))
    assert len(list(root.iter(f"{SVG}polygon"))) == 1
    assert len(list(root.iter(f"{SVG}rect"))) == 3  # the ground, the full and the empty part of the bar
    assert len(list(root.iter(f"{SVG}circle"))) > 13


def test_signs_of_xml_are_words() -> None:
    root = drawn(line("a <b> & c"))
    assert "a <b> & c" in texts(root)
    assert root.find(f"{SVG}title").text == "a <title> & more"
