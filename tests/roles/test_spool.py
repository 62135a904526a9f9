"""The spool folder: what is read from it, what is cleared."""

import errno
import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from edged.core.ids import JobId
from edged.errors import JobError
from edged.roles.spool import Feeder, Spool, copy_file, open_jobs, spec_from_json
from tests.roles.conftest import spec_of


def test_a_spec_survives_json() -> None:
    spec = spec_of()
    assert spec_from_json(json.loads(json.dumps(asdict(spec)))) == spec


@pytest.mark.parametrize(
    ("field", "value"), [("steps", "4"), ("seed", True), ("name", 3), ("source_slowness", "fast"), ("clips", 1)]
)
def test_a_wrong_type_is_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        spec_from_json({**asdict(spec_of()), field: value})


def test_wrong_layer_inputs_are_named() -> None:
    document = asdict(spec_of())
    document["layers"][0]["inputs"] = ["0"]
    with pytest.raises(ValueError, match="inputs"):
        spec_from_json(document)


def test_job_feeder_and_output_are_read(tmp_path: Path, write_spool: Callable[..., Path]) -> None:
    feeder = {"path": "/jobs/job.py", "function": "job", "set": {"epochs": 3}}
    write_spool(spec_of(), feeder, tmp_path / "out.safetensors")
    spec, read_feeder, output = Spool(tmp_path, spec_of().job).read()
    assert spec == spec_of()
    assert read_feeder == Feeder("/jobs/job.py", "job", (("epochs", "3"),), "/jobs")
    assert output == tmp_path / "out.safetensors"


@pytest.mark.parametrize("job", ["", "../etc", "AB", "a" * 65, "a/b"])
def test_an_id_that_could_leave_the_home_is_refused(tmp_path: Path, job: str) -> None:
    with pytest.raises(JobError, match="job id"):
        Spool(tmp_path, JobId(job))


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"spec": {}, "feeder": null, "output": null}', "[1]", "[" * 100_000, b"\xff".decode("latin-1")],
)
def test_a_damaged_document_says_what_to_do(tmp_path: Path, write_spool: Callable[..., Path], content: str) -> None:
    (write_spool(spec_of()) / "job.json").write_text(content)
    with pytest.raises(JobError, match="submit it again"):
        Spool(tmp_path, spec_of().job).read()


def test_what_is_refused_is_not_repeated_at_length(tmp_path: Path, write_spool: Callable[..., Path]) -> None:
    path = write_spool(spec_of()) / "job.json"
    document = json.loads(path.read_text())
    document["spec"]["source_slowness"] = [1.0] * 10_000
    path.write_text(json.dumps(document))
    with pytest.raises(JobError, match=r"source_slowness must be float, got \[1.0, .* …\); submit it again") as refusal:
        Spool(tmp_path, spec_of().job).read()
    assert len(str(refusal.value)) < 500 + len(str(path))


def test_a_missing_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="edged train"):
        Spool(tmp_path, spec_of().job).read()


@pytest.mark.parametrize("name", ["result.safetensors", "kept.safetensors"])
def test_clearing_keeps_weights_and_nothing_else_of_size(
    tmp_path: Path, write_spool: Callable[..., Path], name: str
) -> None:
    folder = write_spool(spec_of())
    spool = Spool(tmp_path, spec_of().job)
    (folder / name).write_bytes(b"weights")
    spool.clear()
    assert sorted(path.name for path in folder.iterdir()) == ["job.json", name]


def test_clearing_a_job_without_result_removes_the_folder(tmp_path: Path, write_spool: Callable[..., Path]) -> None:
    folder = write_spool(spec_of())
    Spool(tmp_path, spec_of().job).clear()
    assert not folder.exists()


@pytest.mark.parametrize("ended", ["with a result", "without"])
def test_what_the_disk_does_not_let_go_is_logged_and_goes_at_the_next_start(
    tmp_path: Path,
    write_spool: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ended: str,
) -> None:
    folder = write_spool(spec_of())
    spool = Spool(tmp_path, spec_of().job)
    spool.accept()
    if ended == "with a result":
        spool.result.write_bytes(b"weights")

    def refuse(*_arguments: object, **_named: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        patch.setattr("edged.roles.spool.shutil.rmtree", refuse)
        spool.clear()
    (record,) = caplog.records
    assert f"cannot clear {folder}" in record.message
    assert open_jobs(tmp_path) == [spec_of().job]  # taken on again, and known to be over: see tests/core/test_node.py
    spool.clear()
    assert open_jobs(tmp_path) == []
    spool.clear()
    assert len(caplog.records) == 1


def test_a_job_is_open_from_its_acceptance_until_it_is_over(tmp_path: Path, write_spool: Callable[..., Path]) -> None:
    jobs = [JobId(f"{number:012x}") for number in (3, 1, 2)]
    for place, job in enumerate(jobs):
        folder = write_spool(spec_of(job))
        os.utime(folder / "job.json", ns=(place, place))
        assert not Spool(tmp_path, job).is_open  # written by a program that has not handed it in
        Spool(tmp_path, job).accept()
    (tmp_path / "jobs" / "0a").mkdir()
    (tmp_path / "jobs" / ".0b.partial").mkdir()
    assert open_jobs(tmp_path) == jobs
    Spool(tmp_path, jobs[0]).result.write_bytes(b"result")
    assert open_jobs(tmp_path) == jobs  # whoever has the samples must be there until all know that it is over
    Spool(tmp_path, jobs[0]).clear()
    assert open_jobs(tmp_path) == jobs[1:]
    Spool(tmp_path, jobs[1]).clear()
    assert open_jobs(tmp_path) == jobs[2:]
    assert {path.name for path in Spool(tmp_path, jobs[0]).folder.iterdir()} == {"job.json", "result.safetensors"}
    with pytest.raises(JobError, match="cannot write"):
        Spool(tmp_path, JobId("ff")).accept()
    assert open_jobs(tmp_path / "nowhere") == []


def test_a_copy_is_on_the_disk_and_leaves_no_partial_file(tmp_path: Path, synced: dict[int, set[str]]) -> None:
    origin, target = tmp_path / "a", tmp_path / "deep" / "b"
    origin.write_bytes(b"12345")
    copy_file(origin, target)
    assert target.read_bytes() == b"12345"
    assert [path.name for path in target.parent.iterdir()] == ["b"]
    assert target.stat().st_ino in synced
    assert synced[target.parent.stat().st_ino] == {"b"}


def test_a_copy_for_which_there_is_no_room_takes_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "a").write_bytes(b"12345")
    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        copy_file(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_that_a_job_was_taken_on_survives_a_loss_of_power(
    tmp_path: Path, write_spool: Callable[..., Path], synced: dict[int, set[str]]
) -> None:
    folder = write_spool(spec_of())
    Spool(tmp_path, spec_of().job).accept()
    assert "accepted" in synced[folder.stat().st_ino]


def test_the_folder_of_a_job_that_was_handed_in_elsewhere_survives_a_loss_of_power(
    tmp_path: Path, synced: dict[int, set[str]]
) -> None:
    spool = Spool(tmp_path, spec_of().job)
    spool.take_over(spec_of(), b"program", ())
    assert spool.folder.name in synced[spool.folder.parent.stat().st_ino]


@pytest.mark.parametrize(
    "feeder",
    [[], "x", {"path": "/a.py", "function": "job", "set": []}, {"function": "job"}],
    ids=["list", "text", "set", "path"],
)
def test_a_damaged_feeder_says_what_to_do(tmp_path: Path, write_spool: Callable[..., Path], feeder: object) -> None:
    folder = write_spool(spec_of())
    document = json.loads((folder / "job.json").read_text())
    (folder / "job.json").write_text(json.dumps({**document, "feeder": feeder}))
    with pytest.raises(JobError, match="submit it again"):
        Spool(tmp_path, spec_of().job).read()


@pytest.mark.parametrize(
    "changes",
    [{"batch_size": -1}, {"micro_batches": 0}, {"steps": 1 << 70}, {"source": "me"}, {"source_slowness": float("nan")},
     {"source_slowness": 10**400}, {"name": "x" * 70_000}],
    ids=["batch_size", "micro_batches", "steps", "source", "nan", "large", "name"],
)  # fmt: skip
def test_a_job_that_no_node_would_take_never_reaches_the_core(
    tmp_path: Path, write_spool: Callable[..., Path], changes: dict[str, object]
) -> None:
    """It would be sent to the leader, and what cannot be sent is a broken promise: the node would stop."""
    folder = write_spool(spec_of())
    document = json.loads((folder / "job.json").read_text())
    document["spec"] |= changes
    (folder / "job.json").write_text(json.dumps(document))
    with pytest.raises(JobError, match="submit it again"):
        Spool(tmp_path, spec_of().job).read()


def test_folders_of_jobs_are_their_users_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Spool(tmp_path, spec_of().job).take_over(spec_of(), b"program", ())
    finally:
        os.umask(before)
    for folder in (tmp_path / "jobs", tmp_path / "jobs" / spec_of().job):
        assert folder.stat().st_mode & 0o777 == 0o700
