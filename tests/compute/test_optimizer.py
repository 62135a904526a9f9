"""Optimizers by name equal torch's own, over any cut of the parameters, and across a copy of their state."""

import json
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from edged.compute.optimizer import Optimizer, check_parameters, describe, read
from edged.errors import JobError
from edged.job import OPTIMIZERS, SCHEDULERS

NUMBERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"lr": 0.01, "betas": (0.8, 0.99), "amsgrad": True},
    "RMSprop": {"lr": 0.01, "momentum": 0.5, "centered": True},
}
SCHEDULES = {
    "ConstantLR": {"factor": 0.5, "total_iters": 3},
    "CosineAnnealingLR": {"T_max": 7},
    "CosineAnnealingWarmRestarts": {"T_0": 3, "T_mult": 2},
    "CyclicLR": {"base_lr": 0.01, "max_lr": 0.1, "step_size_up": 2, "mode": "triangular2"},
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {"total_iters": 5},
    "MultiStepLR": {"milestones": [2, 5], "gamma": 0.1},
    "OneCycleLR": {"max_lr": 0.1, "total_steps": 10},
    "PolynomialLR": {"total_iters": 6, "power": 2.0},
    "StepLR": {"step_size": 2, "gamma": 0.3},
}


def parameters(two_dimensional: bool) -> dict[str, nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    shapes = {"a": (3, 4), "b": (4, 2), "c": (2, 2) if two_dimensional else (2,)}
    return {name: nn.Parameter(torch.randn(shape, generator=generator)) for name, shape in shapes.items()}


def give_gradients(held: dict[str, torch.Tensor], step: int) -> None:
    """The same for the same name and step, whoever holds it; "b" gets none in step 1."""
    for name, tensor in held.items():
        if name == "b" and step == 1:
            continue
        generator = torch.Generator().manual_seed(100 * step + ord(name))
        tensor.grad = torch.randn(tensor.shape, generator=generator)


def moved(
    optimizer: Optimizer, held: dict[str, torch.Tensor], document: str
) -> tuple[Optimizer, dict[str, torch.Tensor]]:
    """The optimizer and its parameters after a journey: numbers through JSON, tensors copied."""
    numbers = json.loads(json.dumps(optimizer.numbers(list(held))))
    tensors = {name: {k: t.clone() for k, t in optimizer.tensors(name).items()} for name in held}
    fresh = {name: tensor.detach().clone().requires_grad_() for name, tensor in held.items()}
    arrived = Optimizer(read(document), fresh)
    arrived.restore(numbers, {name: found for name, found in tensors.items() if found})
    return arrived, fresh


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_equals_torchs_when_cut_and_moved(name: str) -> None:
    kind = getattr(torch.optim, name, None)
    if kind is None:
        pytest.skip(f"this torch has no {name}")
    call = partial(kind, **NUMBERS.get(name, {"lr": 0.01}))
    whole = parameters(name == "Muon")
    reference = call(list(whole.values()))
    document = describe(call)
    split = parameters(name == "Muon")
    parts = [{"a": split["a"], "c": split["c"]}, {"b": split["b"]}]
    optimizers = [Optimizer(read(document), part) for part in parts]
    for step in range(5):
        give_gradients(whole, step)
        reference.step()
        reference.zero_grad()
        for number in range(2):
            give_gradients(parts[number], step)
            optimizers[number].update()
            if step == 2:
                optimizers[number], parts[number] = moved(optimizers[number], parts[number], document)
        for part in parts:
            assert all(torch.equal(tensor, whole[key]) for key, tensor in part.items())
            assert all(tensor.grad is None for tensor in part.values())


@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_scheduler_equals_torchs_also_when_moved_and_without_parameters(name: str) -> None:
    call = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
    turn = partial(getattr(lr_scheduler, name), **SCHEDULES[name])
    document = describe(call, turn)
    whole = parameters(two_dimensional=False)
    reference = call(list(whole.values()))
    scheduler = turn(reference)
    held = parameters(two_dimensional=False)
    optimizer, empty = Optimizer(read(document), held), Optimizer(read(document), {})
    for step in range(9):
        give_gradients(whole, step)
        give_gradients(held, step)
        rate = reference.param_groups[0]["lr"]
        reference.step()
        scheduler.step()
        reference.zero_grad()
        assert optimizer.update() == rate
        assert empty.update() == rate
        assert all(torch.equal(tensor, whole[key]) for key, tensor in held.items())
        if step in {1, 4}:
            optimizer, held = moved(optimizer, held, document)
            empty, _ = moved(empty, {}, document)


def test_the_document_is_names_and_numbers() -> None:
    text = describe(
        partial(torch.optim.AdamW, lr=0.1, betas=(0.9, 0.99), fused=True, foreach=True),
        partial(lr_scheduler.StepLR, step_size=3),
        1.5,
    )
    assert json.loads(text) == {
        "optimizer": {"name": "AdamW", "arguments": {"lr": 0.1, "betas": {"tuple": [0.9, 0.99]}}},
        "scheduler": {"name": "StepLR", "arguments": {"step_size": 3}},
        "clip_norm": 1.5,
        "average_every": 0,
    }
    assert read(text).clip_norm == 1.5


@pytest.mark.parametrize(
    ("optimizer", "scheduler", "word"),
    [
        (partial(torch.optim.LBFGS, lr=1.0), None, "several times a step"),
        (partial(torch.optim.SparseAdam, lr=1.0), None, "sparse"),
        (partial(torch.optim.SGD, lr=torch.tensor(0.1)), None, "number"),
        (partial(torch.optim.Adam, lr=0.1, capturable=True), None, "capturable"),
        (partial(torch.optim.Optimizer, defaults=1), None, "base"),
        (lambda parameters: torch.optim.SGD(parameters, lr=0.1), None, "functools.partial"),
        (partial(torch.optim.SGD, lr=0.1), partial(lr_scheduler.ReduceLROnPlateau), "metric"),
        (partial(torch.optim.SGD, lr=0.1), partial(lr_scheduler.LambdaLR, lr_lambda=abs), "function"),
        (partial(torch.optim.SGD, lr=0.1), partial(lr_scheduler.CyclicLR, scale_fn=abs), "number"),
    ],
)
def test_what_cannot_travel_is_refused_in_a_sentence(optimizer, scheduler, word: str) -> None:
    with pytest.raises(JobError, match=word):
        describe(optimizer, scheduler)


NORMS = ("1" + "0" * 400, "-1", "0", "NaN", "Infinity")


@pytest.mark.parametrize(
    "document",
    [
        "",
        "[]",
        "{}",
        '{"optimizer": {"name": "Optimizer", "arguments": {}}}',
        '{"optimizer": {"name": "LBFGS", "arguments": {}}}',
        '{"optimizer": {"name": "SGD", "arguments": {}}, "clip_norm": "x"}',
        '{"optimizer": {"name": "SGD", "arguments": {}}, "average_every": -1}',
        '{"optimizer": {"name": "SGD", "arguments": {}}, "average_every": true}',
        '{"optimizer": {"name": "SGD"}}',
        '{"optimizer": {"name": "SGD", "arguments": {"lr": 0.1}}, "scheduler": {"name": "os", "arguments": {}}}',
        "[" * 100_000,
        '{"optimizer": {"name": "SGD", "arguments": {"lr": ' + "[" * 600 + "]" * 600 + "}}}",
        '{"optimizer": {"name": "SGD", "arguments": []}}',
        '{"optimizer": {"name": "SGD", "arguments": {"pairs": [[1, 2]]}}}',
        *('{"optimizer": {"name": "SGD", "arguments": {}}, "clip_norm": ' + norm + "}" for norm in NORMS),
    ],
)
def test_malformed_documents_are_refused(document: str) -> None:
    with pytest.raises(JobError):
        read(document)


def test_numbers_that_torch_refuses_are_told() -> None:
    with pytest.raises(JobError, match="learning rate"):
        Optimizer(read(describe(partial(torch.optim.SGD, lr=-1.0))), parameters(two_dimensional=False))


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="this torch has no Muon")
def test_an_optimizer_that_does_not_take_every_shape_names_the_parameter() -> None:
    muon = read(describe(partial(torch.optim.Muon, lr=0.1)))
    check_parameters(muon, parameters(two_dimensional=True))
    with pytest.raises(JobError, match=r"Muon.*the parameter c of shape \(2,\); take another one"):
        check_parameters(muon, parameters(two_dimensional=False))


def test_numbers_of_another_optimizer_are_refused() -> None:
    held = parameters(two_dimensional=False)
    optimizer = Optimizer(read(describe(partial(torch.optim.SGD, lr=0.1))), held)
    with pytest.raises(JobError, match="do not fit"):
        optimizer.restore({"group": {}, "scheduler": None, "entries": []}, {})
    with pytest.raises(JobError, match="do not fit"):
        optimizer.restore({}, {})


@pytest.mark.parametrize(
    ("optimizer", "scheduler"),
    [
        ('{"name": "Adam", "arguments": {"betas": {"tuple": []}}}', "null"),
        ('{"name": "SGD", "arguments": {"lr": 0.1}}',
         '{"name": "CyclicLR", "arguments": {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 0}}'),
    ],
    ids=["betas", "step_size_up"],
)  # fmt: skip
def test_whatever_torch_raises_for_numbers_is_told_in_a_sentence(optimizer: str, scheduler: str) -> None:
    training = read(f'{{"optimizer": {optimizer}, "scheduler": {scheduler}}}')
    with pytest.raises(JobError, match="mend the numbers"):
        Optimizer(training, parameters(two_dimensional=False))
