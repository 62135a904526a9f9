"""Held layers come back from the disk with every bit, or not at all."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from edged.compute.tensors import from_wire
from edged.core.ids import JobId
from edged.core.messages import Holding, HoldingKind
from edged.errors import MalformedError
from edged.replication import tensor_file
from edged.replication.snapshots import cut
from edged.replication.store import MOST_JOBS, FullError, Store
from tests.replication.held import JOB, held, same, tensors
from tests.roles.conftest import spec_of

PROGRAM = b"a program"
SPEC = spec_of(JOB, program=hashlib.sha256(PROGRAM).hexdigest())


def bits(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)


def only_file(home: Path) -> Path:
    (path,) = (home / "held" / JOB).glob("*.safetensors")
    return path


def test_every_bit_layout_and_number_comes_back(tmp_path: Path) -> None:
    Store(tmp_path).save(SPEC, PROGRAM, [held()])
    back = Store(tmp_path).load(JOB, 32, 4, 6)
    assert back is not None
    assert same(back, held())
    for spec, buffer in zip(back.tensors, back.buffers, strict=True):
        expected, got = tensors()[spec.name], from_wire(spec, buffer, torch.device("cpu"))
        assert (got.dtype, got.shape, got.stride()) == (expected.dtype, expected.shape, expected.stride())
        assert bits(got) == bits(expected)


def test_a_part_comes_back_cut_out(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held(), held(32, first=7)])
    for first, last in ((4, 4), (5, 6), (7, 8)):
        part = store.load(JOB, 32, first, last)
        assert part is not None
        assert same(part, cut(held(first=7 if first >= 7 else 4), first, last))
    assert store.load(JOB, 32, 6, 7) is None
    assert store.load(JOB, 31, 4, 4) is None
    assert store.load(JobId("0" * 12), 32, 4, 4) is None


def test_a_file_is_read_once_for_all_pieces_that_are_wanted_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held(), held(32, first=7)])
    reads: list[str] = []
    monkeypatch.setattr("edged.replication.store.read", lambda path: reads.append(path.name) or tensor_file.read(path))
    for layer in (4, 5, 6, 7, 8):
        assert store.load(JOB, 32, layer, layer) is not None
    assert len(reads) == 2
    store.let_go()
    assert store.load(JOB, 32, 8, 8) is not None
    assert len(reads) == 3


def test_others_can_read_the_files(tmp_path: Path) -> None:
    Store(tmp_path).save(SPEC, PROGRAM, [held()])
    found = load_file(only_file(tmp_path))
    assert found.keys() == tensors().keys()
    assert torch.equal(found["parameter/a.w"], tensors()["parameter/a.w"])
    assert torch.equal(found["buffer/a.b"], tensors()["buffer/a.b"])
    assert found["parameter/c.w"].shape == (2 * 3 * 4 * 5,)
    with safe_open(only_file(tmp_path), framework="pt") as file:
        assert json.loads(file.metadata()["edged"])["version"] == 32


def test_a_scan_names_all_that_lies_here(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.scan() == ()
    store.save(SPEC, PROGRAM, [held(), held(32, first=7)])
    store.save(spec_of("0" * 12), None, [held(job=JobId("0" * 12))])
    (tmp_path / "held" / "no job").mkdir()
    other, own = Store(tmp_path).scan()
    disk = HoldingKind.DISK
    assert (own.job, own.program, own.problems) == (JOB, PROGRAM, ())
    assert own.holdings == (Holding(4, 6, 32, disk), Holding(7, 9, 32, disk))
    assert (other.program, other.holdings) == (None, (Holding(4, 6, 32, disk),))


def test_layers_that_another_plan_has_computed_take_the_place_of_those_of_that_version(tmp_path: Path) -> None:
    store, disk = Store(tmp_path), HoldingKind.DISK
    store.save(SPEC, PROGRAM, [held(), held(32, first=7)], origin=(1, 1))
    assert {each.origin for each in Store(tmp_path).scan()[0].holdings} == {(1, 1)}
    file = next((tmp_path / "held" / JOB).glob("32-4-6.*"))
    before = file.stat().st_ino
    store.save(SPEC, PROGRAM, [held()], origin=(1, 1))
    assert file.stat().st_ino == before, "it is there already"
    store.save(SPEC, PROGRAM, [held()], origin=(2, 5))
    assert Store(tmp_path).scan()[0].holdings == (Holding(4, 6, 32, disk, (2, 5)),)


def test_the_program_is_given_only_if_it_is_the_one_that_the_job_names(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.program(JOB) is None
    store.save(SPEC, PROGRAM, [held()])
    assert store.program(JOB) == PROGRAM
    (tmp_path / "held" / JOB / "program.msgpack").write_bytes(b"another")
    assert store.program(JOB) is None
    assert not store.scan()[0].program
    (tmp_path / "held" / JOB / "job.json").write_text("[]")
    assert store.program(JOB) is None


def test_a_flipped_bit_anywhere_is_found_and_the_file_goes(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held()])
    whole = only_file(tmp_path).read_bytes()
    for place in [0, 4, 9, *range(30, len(whole), 211), len(whole) - 1]:
        path = tmp_path / "held" / JOB / "32-4-6.safetensors"
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 4]) + whole[place + 1 :])
        try:
            back = store.load(JOB, 32, 4, 6)
        except MalformedError:
            assert not path.exists()
        else:  # what others read: the names in the header; none of it is used here
            assert back is None or same(back, held())


@pytest.mark.parametrize("length", [0, 5, 8, 100, -1, None])
def test_a_file_that_is_cut_off_or_changed_goes_at_the_scan(tmp_path: Path, length: int | None) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held()])
    path = only_file(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[:length] if length is not None else whole[:-1] + bytes([whole[-1] ^ 1]))
    (found,) = store.scan()
    assert found.holdings == ()
    assert "damaged" in found.problems[0]
    assert not path.exists()


def test_half_written_files_go_at_the_scan(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held()])
    part = tmp_path / "held" / JOB / ".64-4-6.safetensors.part"
    part.write_bytes(b"half")
    assert len(store.scan()[0].holdings) == 1
    assert not part.exists()


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held(32)])

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tensor_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.save(SPEC, PROGRAM, [held(64)], keep=(32,))
    monkeypatch.undo()
    assert {path.name for path in (tmp_path / "held" / JOB).iterdir()} == {
        "job.json", "program.msgpack", "32-4-6.safetensors",
    }  # fmt: skip


def test_only_the_version_that_is_written_and_those_that_are_to_stay_are_there(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held(32)])
    store.save(SPEC, PROGRAM, [held(64)], keep=(32,))
    assert [holding.version for holding in store.scan()[0].holdings] == [32, 64]
    store.save(SPEC, PROGRAM, [held(96)], keep=(32, 48))
    assert [holding.version for holding in store.scan()[0].holdings] == [32, 96]
    store.save(SPEC, PROGRAM, [held(40)])  # the job went back further than what lies here
    assert [holding.version for holding in store.scan()[0].holdings] == [40]


def test_a_dropped_job_is_gone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held(32)])
    store.drop_job(JOB)
    store.drop_job(JOB)
    assert store.scan() == ()


@pytest.mark.parametrize("name", ["", "..", "../held", "a/b"])
def test_an_id_that_could_leave_the_home_is_refused(tmp_path: Path, name: str) -> None:
    store, job = Store(tmp_path / "home"), JobId(name)
    with pytest.raises(MalformedError, match="job id"):
        store.drop_job(job)
    with pytest.raises(MalformedError, match="job id"):
        store.program(job)
    with pytest.raises(MalformedError, match="job id"):
        store.save(spec_of(job), None, [])


def test_no_job_makes_room_for_another(tmp_path: Path) -> None:
    store = Store(tmp_path)
    jobs = [JobId(f"{number:012x}") for number in range(MOST_JOBS)]
    for job in jobs:
        store.save(spec_of(job), None, [held(job=job)])
    with pytest.raises(FullError, match="50 other jobs"):
        store.save(SPEC, None, [held()])
    store.save(spec_of(jobs[0]), None, [held(64, job=jobs[0])])
    assert [found.job for found in store.scan()] == jobs
    store.drop_job(jobs[0])
    store.save(SPEC, None, [held()])


def unreadable(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let the disk fail under these files."""
    right = Path.open

    def open_file(path: Path, *arguments: Any, **options: Any) -> Any:
        if path.name in names:
            raise OSError(5, "Input/output error", str(path))
        return right(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", open_file)


def test_a_file_that_cannot_be_read_hides_nothing_else_and_is_written_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, disk = Store(tmp_path), HoldingKind.DISK
    store.save(SPEC, PROGRAM, [held(32)])
    store.save(SPEC, PROGRAM, [held(64)], keep=(32,))
    store.save(spec_of("f" * 12), None, [held(job=JobId("f" * 12))])
    unreadable(monkeypatch, "64-4-6.safetensors")
    store = Store(tmp_path)
    own, other = store.scan()
    assert (own.holdings, other.holdings) == ((Holding(4, 6, 32, disk),), (Holding(4, 6, 32, disk),))
    (problem,) = own.problems
    assert "64-4-6.safetensors cannot be read: Input/output error" in problem
    with pytest.raises(OSError, match="Input/output"):
        store.load(JOB, 64, 4, 6)
    assert store.load(JOB, 32, 4, 6) is not None
    monkeypatch.undo()
    path = tmp_path / "held" / JOB / "64-4-6.safetensors"
    path.write_bytes(b"what the disk made of it")
    store.save(SPEC, PROGRAM, [held(64)], keep=(32,))
    assert store.load(JOB, 64, 4, 6) is not None


def test_layers_are_read_from_another_file_that_has_them_where_one_is_damaged(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.save(SPEC, PROGRAM, [held(32, first=4), held(32, first=5)])
    (tmp_path / "held" / JOB / "32-4-6.safetensors").write_bytes(b"damaged")
    assert store.load(JOB, 32, 5, 6) is not None
    assert store.load(JOB, 32, 4, 5) is None


def test_files_of_another_version_of_edged_are_left_alone_and_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(tensor_file, "_FORM", 2)
        Store(tmp_path).save(SPEC, PROGRAM, [held(32)])
    path, store = only_file(tmp_path), Store(tmp_path)
    (found,) = store.scan()
    assert found.holdings == ()
    assert "another version of edged; it is left alone" in found.problems[0]
    assert store.load(JOB, 32, 4, 6) is None
    store.save(SPEC, PROGRAM, [held(64)])
    assert path.exists()
    store.save(SPEC, PROGRAM, [held(32)])
    assert store.load(JOB, 32, 4, 6) is not None, "one that cannot be used does not stand for one that can"


def test_neither_store_nor_keeper_bring_torch() -> None:
    code = "import sys, edged.replication.store, edged.roles.keeper; print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
