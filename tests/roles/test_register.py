"""The register: the list of jobs outlives the process."""

import logging
from pathlib import Path

import pytest

from edged.core.effects import SaveJobs
from edged.core.ids import JobId, NodeId
from edged.core.messages import JobRecord, JobState
from edged.roles.register import Register

STANDS = JobRecord(JobId("0" * 12), "net", NodeId("a" * 16), JobState.PAUSED, 7, 10, "")
OVER = JobRecord(JobId("1" * 12), "net", NodeId("b" * 16), JobState.FAILED, 3, 10, "the data „x“ raised")


def test_a_list_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    Register(tmp_path / "jobs.json").save(SaveJobs((STANDS,)))
    Register(tmp_path / "jobs.json").save(SaveJobs((STANDS, OVER)))
    assert Register(tmp_path / "jobs.json").load() == (STANDS, OVER)
    assert [path.name for path in tmp_path.iterdir()] == ["jobs.json"]


def test_a_new_home_has_no_list(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert Register(tmp_path / "jobs.json").load() == ()
    assert not caplog.records


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"jobs": [{"job": "0"}]}', '{"jobs": [7]}'])
def test_a_damaged_list_is_told_and_does_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str
) -> None:
    (tmp_path / "jobs.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert Register(tmp_path / "jobs.json").load() == ()
    assert "has forgotten its jobs" in caplog.text


def test_a_disk_that_does_not_take_it_is_warned_about_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    home = tmp_path / "home"
    register = Register(home / "jobs.json")
    with caplog.at_level(logging.WARNING):
        register.save(SaveJobs((STANDS,)))
        register.save(SaveJobs((OVER,)))
        assert len(caplog.records) == 1
        home.mkdir()
        register.save(SaveJobs((OVER,)))
        assert Register(home / "jobs.json").load() == (OVER,)
