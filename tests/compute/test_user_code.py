"""Whatever the user's code raises is one sentence, with its cause kept."""

from __future__ import annotations

import pytest

from edged.compute.user_code import UserCode, last_line
from edged.errors import JobError


def test_an_exception_becomes_one_sentence_with_its_cause() -> None:
    with pytest.raises(JobError, match=r"reading: ValueError: two lines") as caught, UserCode("reading"):
        raise ValueError("two\nlines")
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_job_error_and_an_interrupt_pass_unchanged() -> None:
    with pytest.raises(JobError, match="^mine$"), UserCode("reading"):
        raise JobError("mine")
    with pytest.raises(KeyboardInterrupt), UserCode("reading"):
        raise KeyboardInterrupt


def test_leaving_the_process_is_an_error_too() -> None:
    with pytest.raises(JobError, match=r"reading: the program asked to exit \(status 3\)"), UserCode("reading"):
        raise SystemExit(3)


def test_a_quiet_body_is_left_alone() -> None:
    with UserCode("reading"):
        pass
    assert last_line(KeyError("k")) == "KeyError: 'k'"
