"""Logs: text for people, JSON for machines."""

import io
import json

import pytest

from edged.telemetry.logs import LEVELS, configure, topic_logger


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


def test_a_logged_exception_keeps_its_traceback() -> None:
    for log_format in ("json", "text"):
        stream = io.StringIO()
        configure(log_format, stream)
        topic_logger("compute").error("it failed", exc_info=ValueError("the reason"))
        assert "ValueError: the reason" in stream.getvalue()


def test_configuring_again_replaces_the_stream() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure("text", first)
    configure("text", second)
    topic_logger("jobs").info("once")
    assert first.getvalue() == ""
    assert second.getvalue().count("once") == 1
