"""What of the copies of samples on a disk is found again, and what is left where it is."""

from pathlib import Path

import pytest

from edged.core.ids import JobId
from edged.core.job import Phase
from edged.core.messages import TensorSpec
from edged.replication import samples
from edged.replication.samples import Incoming, check, folder_of, scan

JOB = JobId("aabbccddeeff")
OTHER = JobId("0" * 12)


def copy(home: Path, job: JobId = JOB) -> Path:
    """Two rows of four bytes."""
    folder = folder_of(home, job)
    incoming = Incoming(folder)
    layouts = {Phase.TRAIN: (TensorSpec("input", "float32", (2, 1), (1, 1), 8, 0),), Phase.EVALUATE: ()}
    incoming.append(Phase.TRAIN, [memoryview(b"12345678")])
    incoming.finish({"samples": 2, "eval_samples": 0}, layouts)
    return folder


def test_no_whole_copy_makes_room_for_another(tmp_path: Path) -> None:
    jobs = [JobId(f"{number:012x}") for number in range(9)]
    for job in jobs:
        copy(tmp_path, job)
    found, problems = scan(tmp_path)
    assert (list(found), problems) == (jobs, ())
    assert [list(check(each)) for each in found.values()] == [[]] * 9


def test_a_half_or_damaged_copy_goes(tmp_path: Path) -> None:
    (copy(tmp_path) / "copy.json").unlink()
    (copy(tmp_path, OTHER) / "copy.json").write_bytes(b"{}")
    found, (problem,) = scan(tmp_path)
    assert found == {}
    assert "this copy of samples was removed" in problem
    assert not folder_of(tmp_path, JOB).exists()
    assert not folder_of(tmp_path, OTHER).exists()


def test_one_that_cannot_be_read_stays_and_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, right = copy(tmp_path), Path.read_bytes
    copy(tmp_path, OTHER)

    def read_bytes(path: Path) -> bytes:
        if path.parent == folder:
            raise OSError(5, "Input/output error", str(path))
        return right(path)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    found, (problem,) = scan(tmp_path)
    assert list(found) == [OTHER]
    assert "cannot be read: Input/output error; it is left where it is" in problem
    monkeypatch.undo()
    assert list(scan(tmp_path)[0]) == [OTHER, JOB]


def test_one_of_another_version_of_edged_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(samples, "_FORM", 2)
        folder = copy(tmp_path)
    found, (problem,) = scan(tmp_path)
    assert found == {}
    assert "it is left alone" in problem
    assert (folder / "copy.json").exists()
