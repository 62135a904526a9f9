"""The picture of the live view, drawn again from a status that was kept."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import picture
import pytest

from tests.tui.scenes import training

PICTURE = Path(__file__).parents[2] / "docs" / "pictures" / "live-view.svg"


def test_a_kept_status_is_drawn_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "status.json").write_text(json.dumps(training()), encoding="utf-8")
    output = tmp_path / "view.svg"
    monkeypatch.setattr("sys.argv", ["picture.py", "--draw", str(tmp_path / "status.json"), "--output", str(output)])
    picture.main()
    assert "any one" not in output.read_text(encoding="utf-8")
    assert "the job would wait for desk" in output.read_text(encoding="utf-8")


def test_the_picture_in_the_documents_shows_a_job_of_four_nodes_that_runs_and_is_safe() -> None:
    words = "".join(ET.fromstring(PICTURE.read_text(encoding="utf-8")).itertext())
    for told in ("running", "any one node may die", "samples/s", "died", "joined", "last events"):
        assert told in words
