"""JSON for machines."""

from __future__ import annotations

import json

import pytest

from edged.cli.options import print_json


def test_numbers_that_json_does_not_know_become_null(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"loss": float("nan"), "all": [1.5, float("inf"), {"deep": (float("-inf"),)}], "name": "pi–4"})
    printed = capsys.readouterr().out
    assert printed.endswith("\n")
    assert json.loads(printed) == {"loss": None, "all": [1.5, None, {"deep": [None]}], "name": "pi–4"}
