"""Logs: text for people, JSON for machines."""

import io
import json
import logging
import re
from pathlib import Path

import pytest

from edged.telemetry.logs import LEVELS, OTHERS, configure, name_node, topic_logger


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_json_lines_carry_level_topic_and_text(level: str) -> None:
    stream = io.StringIO()
    configure("json", stream)
    topic_logger("election").log(LEVELS[level], "term %d begins", 3)
    document = json.loads(stream.getvalue())
    assert document["level"] == level
    assert (document["topic"], document["text"]) == ("election", "term 3 begins")


def test_text_names_the_level_only_where_it_matters() -> None:
    stream = io.StringIO()
    configure("text", stream)
    topic_logger("jobs").info("all is well")
    topic_logger("jobs").warning("not so well")
    first, second = stream.getvalue().splitlines()
    assert first.endswith(" jobs: all is well")
    assert second.endswith(" warning: jobs: not so well")


def test_a_name_that_holds_line_ends_and_escapes_forges_no_line_and_moves_no_cursor() -> None:
    stream = io.StringIO()
    configure("text", stream)
    topic_logger("transport").warning("node %s joins", "pi\n00:00:00 daemon: all is well\x1b[2J\u202e é")
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("node pi\\n00:00:00 daemon: all is well\\x1b[2J\\u202e é joins")


def test_a_logged_exception_keeps_its_traceback() -> None:
    for log_format in ("json", "text"):
        stream = io.StringIO()
        configure(log_format, stream)
        topic_logger("compute").error("it failed", exc_info=ValueError("the reason"))
        assert "ValueError: the reason" in stream.getvalue()


def test_text_that_goes_into_a_file_tells_the_day(tmp_path: Path) -> None:
    stream = io.StringIO()
    for into in ({"file": tmp_path / "edged.log"}, {"stream": stream}):
        configure("text", **into)
        topic_logger("daemon").info("fine")
    day = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d daemon: fine\n"
    assert re.fullmatch(day, (tmp_path / "edged.log").read_text(encoding="utf-8"))
    assert re.fullmatch(day, stream.getvalue())


def test_text_for_the_journal_tells_no_day_and_that_beside_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = r"\d\d:\d\d:\d\d daemon: fine\n"
    (tmp_path / "journal").touch()
    found = (tmp_path / "journal").stat()
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    for name, line in (("journal", clock), ("file", rf"\d{{4}}-\d\d-\d\d {clock}")):
        with (tmp_path / name).open("w", encoding="utf-8") as stream:
            configure("text", stream=stream)
            topic_logger("daemon").info("fine")
        assert re.fullmatch(line, (tmp_path / name).read_text(encoding="utf-8"))
    configure("text", io.StringIO())  # for whatever the next test logs


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("text", first)
    configure("text", second)
    topic_logger("jobs").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1


def test_a_json_line_has_the_documented_fields_and_is_one_line() -> None:
    stream = io.StringIO()
    configure("json", stream)
    topic_logger("daemon").info("before it knows who it is")
    name_node("a" * 16)
    topic_logger("daemon").error("two\nlines", exc_info=ValueError("the reason"))
    before, after = (json.loads(line) for line in stream.getvalue().splitlines())
    assert list(before) == ["time", "level", "topic", "text"]
    assert list(after) == ["time", "level", "topic", "text", "node", "detail"]
    assert (after["text"], after["node"]) == ("two\nlines", "a" * 16)
    assert after["detail"].endswith("ValueError: the reason")


@pytest.mark.parametrize("name", OTHERS)
def test_what_libraries_warn_of_is_a_line_of_the_same_form(name: str) -> None:
    stream = io.StringIO()
    configure("json", stream)
    name_node("a" * 16)
    logging.getLogger(name).error("Task exception was never retrieved")
    line = json.loads(stream.getvalue())
    assert (line["topic"], line["level"], line["node"]) == (name, "error", "a" * 16)
