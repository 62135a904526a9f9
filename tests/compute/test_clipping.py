"""Clipping in two halves equals ``clip_grad_norm_`` bit for bit."""

import random

import pytest
import torch

from edged.compute.clipping import clip, gradient_norms, total_norm
from edged.compute.program import Program, StateSpec

CPU = torch.device("cpu")


def program_of(dtypes: list[torch.dtype]) -> Program:
    state = tuple(
        StateSpec(str(i), str(dtype).removeprefix("torch."), (), (), True, True, True, ())
        for i, dtype in enumerate(dtypes)
    )
    return Program((), state, (), (), "", (), 0, True)


@pytest.mark.parametrize("limit", [0.1, 1, 1e6])
@pytest.mark.parametrize("seed", range(5))
def test_any_split_over_nodes_equals_torch(seed: int, limit: float) -> None:
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    ours, theirs = {}, []
    for index in range(40):
        tensor = torch.zeros(rng.randint(1, 50), rng.randint(1, 50), requires_grad=True)
        if rng.random() < 0.8:
            tensor.grad = torch.randn(tensor.shape, generator=generator) * 10 ** rng.uniform(-4, 4)
        ours[index] = tensor
        theirs.append(tensor.detach().clone().requires_grad_())
        theirs[-1].grad = None if tensor.grad is None else tensor.grad.clone()
    nodes = [{i: t for i, t in ours.items() if i % 3 == n} for n in range(3)]
    norms = [norm for node in nodes for norm in gradient_norms(node)]
    total = total_norm(program_of([torch.float32] * 40), norms, CPU)
    assert torch.equal(total, torch.nn.utils.clip_grad_norm_(theirs, limit))
    for node in nodes:
        clip(node.values(), limit, total)
    for index, tensor in ours.items():
        assert (tensor.grad is None) == (theirs[index].grad is None)
        assert tensor.grad is None or torch.equal(tensor.grad, theirs[index].grad)


def test_gradients_of_several_types_equal_torch() -> None:
    dtypes = [torch.float32, torch.float64, torch.float32, torch.bfloat16, torch.float64] * 3
    tensors = [torch.zeros(7, dtype=dtype, requires_grad=True) for dtype in dtypes]
    for number, tensor in enumerate(tensors):
        tensor.grad = torch.randn(7, generator=torch.Generator().manual_seed(number)).to(tensor.dtype)
    expected = torch.nn.utils.get_total_norm([tensor.grad for tensor in tensors])
    found = total_norm(program_of(dtypes), gradient_norms(dict(enumerate(tensors))), CPU)
    assert found.dtype == expected.dtype
    assert torch.allclose(found, expected, rtol=1e-6)


def test_no_gradients_at_all_clip_nothing() -> None:
    tensor = torch.zeros(3, requires_grad=True)
    assert gradient_norms({0: tensor}) == ()
    total = total_norm(program_of([torch.float32]), (), CPU)
    assert total == 0.0
    clip([tensor], 1.0, total)
    assert tensor.grad is None


def test_infinite_gradients_clip_as_torch_does() -> None:
    tensor, other = torch.zeros(2, requires_grad=True), torch.zeros(2, requires_grad=True)
    tensor.grad, other.grad = torch.tensor([torch.inf, 1.0]), torch.tensor([torch.inf, 1.0])
    clip([tensor], 1.0, total_norm(program_of([torch.float32]), gradient_norms({0: tensor}), CPU))
    torch.nn.utils.clip_grad_norm_([other], 1.0)
    assert torch.isnan(tensor.grad[0])
    assert torch.isnan(other.grad[0])
    assert torch.equal(tensor.grad[1], other.grad[1])


@pytest.mark.parametrize("seed", range(20))
def test_gradients_of_several_types_are_grouped_in_torchs_own_order(seed: int) -> None:
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    kinds = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
    dtypes = [rng.choice(kinds) for _ in range(12)]
    parameters = {index: torch.zeros(8, 8, dtype=dtype, requires_grad=True) for index, dtype in enumerate(dtypes)}
    for parameter in parameters.values():
        parameter.grad = torch.randn(8, 8, generator=generator).to(parameter.dtype)
    total = total_norm(program_of(dtypes), gradient_norms(parameters), CPU)
    assert torch.equal(total, torch.nn.utils.get_total_norm([p.grad for p in parameters.values()]))
