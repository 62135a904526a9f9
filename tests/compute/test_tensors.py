"""Tensors cross with their bits, strides and alignment."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.compute.tensors import DTYPES, acceptable, from_wire, is_dense, misalignment, to_wire
from edged.core.messages import TensorSpec
from edged.errors import BrokenInvariantError, MalformedError

CPU = torch.device("cpu")


def crossed(tensor: torch.Tensor, copy: bool = False) -> torch.Tensor:
    spec, view = to_wire("x", tensor, copy=copy)
    assert view.nbytes == spec.size_bytes
    return from_wire(spec, memoryview(bytearray(view)), CPU)


LAYOUTS = {
    "contiguous": lambda: torch.randn(3, 4, 5),
    "transposed": lambda: torch.randn(3, 4, 5).transpose(0, 2),
    "channels last": lambda: torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
    "slice": lambda: torch.randn(4, 10)[:, 3:6],
    "offset": lambda: torch.randn(10)[3:],
    "expanded": lambda: torch.randn(3, 1).expand(3, 7),
    "expanded scalar": lambda: torch.tensor(2.5).expand(2, 3, 4),
    "expanded slice": lambda: torch.randn(4, 10)[:, 3:6].unsqueeze(1).expand(4, 5, 3),
    "one element": lambda: torch.randn(1, 1, 1),
    "scalar": lambda: torch.tensor(3.0),
    "empty": lambda: torch.empty(0, 5),
    "wants a gradient": lambda: torch.randn(3, 2, requires_grad=True),
    "chunk": lambda: torch.randn(2, 6, 12).chunk(3, -1)[1],
    "conjugate": lambda: torch.randn(3, dtype=torch.complex64).conj(),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("copy", [False, True])
def test_bits_and_strides_survive(layout: str, copy: bool) -> None:
    tensor = LAYOUTS[layout]()
    arrived = crossed(tensor, copy)
    assert torch.equal(arrived, tensor)
    assert arrived.stride() == tensor.stride()
    assert arrived.dtype == tensor.dtype
    assert not arrived.requires_grad
    assert arrived.numel() == 0 or arrived.data_ptr() % 64 == tensor.data_ptr() % 64


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("start", [0, 1, 3, 16, 63, 64, 65])
@pytest.mark.parametrize("copy", [False, True])
def test_a_tensor_lies_where_it_lay_relative_to_aligned_memory(dtype: torch.dtype, start: int, copy: bool) -> None:
    flat = torch.arange(100).to(dtype)[start:]
    for tensor in (flat, flat[:30].view(5, 6).t(), flat[:32].view(4, 8)[:, 1:5]):
        arrived = crossed(tensor, copy)
        assert torch.equal(arrived, tensor)
        assert arrived.stride() == tensor.stride()
        assert misalignment(arrived) == misalignment(tensor) == tensor.data_ptr() % 64


def test_memory_off_the_bounds_of_its_elements_arrives_aligned() -> None:
    tensor = torch.frombuffer(bytearray(65), dtype=torch.uint8)
    tensor = torch.frombuffer(tensor.numpy().data[(1 - tensor.data_ptr()) % 4 :][:16], dtype=torch.float32)
    assert tensor.data_ptr() % 4 == 1
    assert crossed(tensor).data_ptr() % 64 == 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_allowed_type_crosses(dtype: str) -> None:
    tensor = torch.arange(-3, 5).to(DTYPES[dtype])
    arrived = crossed(tensor)
    assert torch.equal(arrived, tensor)
    assert arrived.dtype == DTYPES[dtype]


@settings(max_examples=60)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_any_permutation_of_a_block_is_dense(shape: list[int], rng) -> None:
    order = list(range(len(shape)))
    rng.shuffle(order)
    tensor = torch.randn(shape).permute(order)
    assert is_dense(tensor.shape, tensor.stride())
    assert torch.equal(crossed(tensor), tensor)


def test_windows_that_overlap_arrive_contiguous() -> None:
    windows = torch.arange(10.0).unfold(0, 4, 1)
    arrived = crossed(windows)
    assert torch.equal(arrived, windows)
    assert arrived.is_contiguous()


def test_expanded_dimensions_travel_once() -> None:
    _, view = to_wire("x", torch.ones(1).expand(1000, 1000))
    assert view.nbytes == 4


def test_a_dense_tensor_is_shown_not_copied() -> None:
    tensor = torch.zeros(4, 4).t()
    _, view = to_wire("x", tensor)
    tensor.fill_(1.0)
    assert memoryview(view).cast("B").cast("f")[5] == 1.0


@pytest.mark.parametrize("tensor", [torch.zeros(4, 4), torch.zeros(4, 8)[:, ::2], torch.zeros(4, 8)[:, :1]])
def test_a_copy_does_not_follow_the_tensor(tensor: torch.Tensor) -> None:
    _, view = to_wire("x", tensor, copy=True)
    tensor.fill_(1.0)
    assert set(view.cast("B").cast("f")) == {0.0}


def test_an_aligned_buffer_is_used_as_it_is_and_another_is_copied() -> None:
    memory = torch.zeros(100, dtype=torch.uint8).numpy().data
    spec = TensorSpec("x", "uint8", (32,), (1,), 32)
    shared, moved = from_wire(spec, memory[:32], CPU), from_wire(spec, memory[8:40], CPU)
    memory[8] = 7
    assert shared[8] == 7
    assert moved[0] == 0
    assert moved.data_ptr() % 64 == 0
    assert from_wire(spec, memoryview(bytes(32)), CPU).sum() == 0


@pytest.mark.parametrize(
    "spec",
    [
        TensorSpec("x", "float32", (2, 2), (2, 1), 15),
        TensorSpec("x", "float32", (2, 2), (2, 1), 20),
        TensorSpec("x", "object", (2, 2), (2, 1), 16),
        TensorSpec("x", "float32", (2, 2), (1,), 16),
        TensorSpec("x", "float32", (2, -2), (2, 1), 16),
        TensorSpec("x", "float32", (2, 2), (-2, 1), 16),
        TensorSpec("x", "float32", (2, 2), (10**12, 1), 16),
        TensorSpec("x", "float32", (3, 2), (1, 1), 24),
        TensorSpec("x", "float32", (2, 2), (2, 1), 16, 2),
        TensorSpec("x", "float32", (2, 2), (2, 1), 16, 64),
        TensorSpec("x", "float32", (2, 2), (2, 1), 16, -4),
    ],
)
def test_descriptions_that_make_no_sense_are_refused(spec: TensorSpec) -> None:
    with pytest.raises(MalformedError):
        from_wire(spec, memoryview(bytearray(spec.size_bytes)), CPU)


def test_strides_may_spread_elements_only_so_far() -> None:
    assert acceptable(TensorSpec("x", "float32", (4, 4), (8, 1), 64))
    assert not acceptable(TensorSpec("x", "float32", (4, 4), (10**6, 1), 64))


def test_strides_that_name_an_element_twice_are_refused_before_the_buffer_comes() -> None:
    assert acceptable(TensorSpec("x", "float32", (3, 2), (0, 1), 8))
    assert not acceptable(TensorSpec("x", "float32", (3, 2), (1, 1), 24))
    assert not acceptable(TensorSpec("x", "float32", (5, 3, 2), (0, 1, 1), 24))


def test_types_that_cannot_travel_are_our_own_fault() -> None:
    with pytest.raises(BrokenInvariantError, match="float8"):
        to_wire("x", torch.empty(2, dtype=torch.float8_e4m3fn))
