"""State keeps its bits and strides in parcels and files; files are whole or not there."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edged.compute.program import Program, StateSpec
from edged.compute.state import (
    copy_state,
    own,
    read_first_state,
    read_state,
    state_dict,
    write_first_state,
    write_tensors,
)
from edged.core.ids import JobId, Stamp
from edged.core.messages import StateParcel
from edged.errors import JobError, MalformedError

CPU = torch.device("cpu")
LAST = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
STATE = {"w": LAST, "frozen": torch.randn(3, 2).t(), "b": torch.tensor(7), "c": torch.arange(3)}
PROGRAM = Program(
    inputs=(),
    state=(
        StateSpec("w", "float32", (4, 3, 3, 3), LAST.stride(), True, True, True, ("tied.w",)),
        StateSpec("frozen", "float32", (2, 3), (1, 2), True, False, True, ()),
        StateSpec("b", "int64", (), (), False, False, True, ()),
        StateSpec("c", "int64", (3,), (1,), False, False, False, ()),
    ),
    operations=(),
    layers=(),
    loss="",
    metrics=(),
    fixed_batch=0,
    evaluates=True,
)


def test_a_parcel_gives_back_bits_strides_and_leaves() -> None:
    copied = copy_state(PROGRAM, ["w", "frozen", "c"], STATE, None)
    assert [spec.name for spec in copied.tensors] == ["parameter/w", "parameter/frozen", "buffer/c"]
    header = StateParcel(Stamp(JobId("0" * 12), 1, 1), 0, 0, 0, copied.tensors, copied.extra, replica=False)
    found = read_state(PROGRAM, [(header, copied.buffers)], CPU).tensors
    for name, tensor in found.items():
        assert torch.equal(tensor, STATE[name])
        assert tensor.stride() == STATE[name].stride()
    assert [found[name].requires_grad for name in ("w", "frozen", "c")] == [True, False, False]
    memory = memoryview(copied.buffers[2])
    assert found["c"].data_ptr() != torch.frombuffer(memory, dtype=torch.uint8).data_ptr()


def test_only_first_weights_may_lack_the_optimizers_part() -> None:
    copied = copy_state(PROGRAM, ["w"], STATE, None)
    for extra in (b"", b'{"entries": {}, "layers": [[0]]}'):
        header = StateParcel(Stamp(JobId("0" * 12), 1, 1), 0, 0, 0, copied.tensors, extra, replica=False)
        assert read_state(PROGRAM, [(header, copied.buffers)], CPU).numbers is None
        with pytest.raises(MalformedError, match="version 3 lacks what its optimizer keeps"):
            read_state(PROGRAM, [(replace(header, version=3), copied.buffers)], CPU)


def test_first_weights_survive_the_disk_with_their_strides(tmp_path: Path) -> None:
    write_first_state(tmp_path / "s.safetensors", STATE)
    found = read_first_state(tmp_path / "s.safetensors", ["frozen", "w", "b"])
    assert list(found) == ["frozen", "w", "b"]
    for name, tensor in found.items():
        assert torch.equal(tensor, STATE[name])
        assert tensor.stride() == STATE[name].stride()


def test_a_missing_entry_or_file_is_told(tmp_path: Path) -> None:
    write_first_state(tmp_path / "s.safetensors", STATE)
    with pytest.raises(JobError, match="first weights"):
        read_first_state(tmp_path / "s.safetensors", ["none"])
    (tmp_path / "s.safetensors").write_bytes(b"no tensors here")
    with pytest.raises(JobError, match="first weights"):
        read_first_state(tmp_path / "s.safetensors", ["w"])


def test_the_state_dict_has_tied_names_and_no_temporary_buffers(tmp_path: Path) -> None:
    found = state_dict(PROGRAM, STATE)
    assert sorted(found) == ["b", "frozen", "tied.w", "w"]
    assert all(tensor.is_contiguous() for tensor in found.values())
    write_tensors(tmp_path / "x.safetensors", found)
    assert torch.equal(load_file(tmp_path / "x.safetensors")["tied.w"], LAST)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    place = tmp_path / "x.safetensors"
    place.mkdir()
    with pytest.raises(JobError, match="cannot write"):
        write_tensors(place, {"a": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize("tensor", [LAST, torch.zeros(0, 3), torch.tensor(1.0), torch.ones(3, 4)[:, 1:3]])
def test_an_own_copy_has_the_same_strides(tensor: torch.Tensor) -> None:
    copied = own(tensor, CPU)
    assert torch.equal(copied, tensor)
    assert copied.stride() == tensor.stride()
    assert tensor.numel() == 0 or copied.data_ptr() != tensor.data_ptr()
