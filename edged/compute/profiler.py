"""Measures: what each layer of a program costs on this device, and how fast a device is.

Times come from the same ``Stage`` that trains, one stage per layer, so that they contain what a node will really do.
So does what a micro-batch keeps between its forward and its backward; other sizes come from the program's own shapes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import fmean
from time import perf_counter
from typing import Any, Final

import torch
from torch.nn import functional

from edged.compute.interpreter import synchronize
from edged.compute.layers import interface
from edged.compute.program import Program
from edged.compute.stage import Stage
from edged.compute.values import Values
from edged.core.job import LayerProfile, Phase, Work

REFERENCE_SECONDS: Final = 0.003
"""What one round of the calibration takes on a device of slowness 1.0: about one core of a laptop of 2023."""

_BURSTS: Final = 6
_CALIBRATION_SECONDS: Final = 1.0
_BURST_SECONDS: Final = 0.05
"""Several periods of the throttle by which systems ration a processor, so that a burst sees the ration."""

_MOST_REPEATS: Final = 10
_WARM_UPS: Final = 1


def calibrate(device: str = "cpu") -> float:
    """Measure this device's slowness: 2.0 takes twice as long as the reference.

    Seconds of a short fixed workload (small convolutions and a linear layer, forward and backward) relative to
    ``REFERENCE_SECONDS``: the mean round of the fastest of several bursts, about 0.3 s in all, with the thread count
    that is set. Whatever else the machine does only ever slows a burst down, so the fastest tells equal devices to be
    equal. Draws nothing from the default generator.
    """
    place = torch.device(device)
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=generator).sub_(0.5).to(place)

    images = draw(8, 16, 32, 32)
    leaves = [weight.requires_grad_() for weight in (draw(16, 16, 3, 3), draw(16, 16, 3, 3), draw(64, 16 * 16 * 16))]

    def one_round() -> float:
        before = perf_counter()
        with torch.enable_grad():
            x = functional.relu(functional.conv2d(images, leaves[0], padding=1))
            x = functional.max_pool2d(functional.conv2d(x, leaves[1], padding=1), 2)
            torch.autograd.grad(functional.linear(x.flatten(1), leaves[2]).square().mean(), leaves)
        synchronize(place)
        return perf_counter() - before

    one_round()
    began = perf_counter()
    bursts = [_burst(one_round)]
    while len(bursts) < _BURSTS and perf_counter() - began < _CALIBRATION_SECONDS:
        bursts.append(_burst(one_round))
    return min(bursts) / REFERENCE_SECONDS


def _burst(one_round: Callable[[], float]) -> float:
    """Mean seconds of the rounds of one burst."""
    seconds: list[float] = []
    while sum(seconds) < _BURST_SECONDS:
        seconds.append(one_round())
    return fmean(seconds)


def profile(
    program: Program,
    values: Values,
    state: Mapping[str, torch.Tensor],
    inputs: Sequence[torch.Tensor],
    *,
    budget_seconds: float = 0.6,
) -> tuple[LayerProfile, ...]:
    """One entry per layer, for micro-batches of the size of ``inputs`` (in the program's order).

    ``values`` describe the program for that size. ``state`` holds the first weights by name; they stay as they are.
    Times are the least of a few passes (after one to warm up), so that what else the machine does makes no layer look
    slow. No pass begins that would not end within ``budget_seconds``, but at least one is measured. Raises
    ``ProgramRefusedError`` for a program that cannot run.
    """
    interfaces = [interface(program, values, layer, layer) for layer in range(len(program.layers))]
    live = {spec.name: state[spec.name].detach().clone().requires_grad_(spec.requires_grad) for spec in program.state}
    cpu = torch.device("cpu")
    stages = [Stage(program, border, cpu, live, seed=0) for border in interfaces]
    given = dict(zip((spec.name for spec in program.inputs), inputs, strict=True))
    started = perf_counter()
    passes: list[list[tuple[float, float]]] = []
    kept = _kept_bytes(stages, given, live)
    while len(passes) < _WARM_UPS + _MOST_REPEATS:
        before = perf_counter()
        passes.append(_timed_pass(stages, given, len(passes)))
        now = perf_counter()
        if len(passes) > _WARM_UPS and now - started + (now - before) > budget_seconds:
            break
    measured = passes[_WARM_UPS:]
    return tuple(
        LayerProfile(
            forward_seconds=min(run[layer][0] for run in measured),
            backward_seconds=min(run[layer][1] for run in measured),
            parameter_bytes=sum(values[spec.name].size_bytes for spec in program.state
                                if spec.parameter and spec.name in border.state),
            state_bytes=sum(values[name].size_bytes for name in border.state),
            activation_bytes=kept[layer],
            crossing_bytes=sum(crossing.spec.size_bytes for crossing in border.sends if not crossing.evaluation_only),
            inputs=tuple(index for index, spec in enumerate(program.inputs) if spec.name in border.inputs),
        )
        for layer, border in enumerate(interfaces)
    )  # fmt: skip


def _kept_bytes(
    stages: Sequence[Stage], given: Mapping[str, torch.Tensor], state: Mapping[str, torch.Tensor]
) -> list[int]:
    """What each stage keeps of a micro-batch from its forward to its backward, in bytes.

    Those are the tensors that autograd saves (outputs, masks, statistics, copies of buffers, inputs of the program) and
    those that are sent on, which are roots of the backward here and may be saved by who receives them. Views of one
    memory count once; state does not count, nor what was received, which counts with the stage that sent it.

    Not counted: what one operation needs while it runs (its work space, gradients on their way through the stage), and
    what has arrived and waits for its turn.
    """
    kept: list[int] = []
    received: dict[str, Any] = {}
    for stage in stages:
        taken = dict(map(_memory, (*state.values(), *_tensors(received))))
        saved: list[torch.Tensor] = []
        values = {**received, **{name: given[name] for name in stage.interface.inputs}}
        with torch.autograd.graph.saved_tensors_hooks(partial(_note, saved), _as_it_is):
            sent = stage.forward(Work(0, Phase.TRAIN, 0), values, 1.0).sent
        sizes = dict(map(_memory, (*saved, *_tensors(sent))))
        kept.append(sum(size for memory, size in sizes.items() if memory not in taken))
        received = {name: _as_received(value) for name, value in sent.items()}
    for stage in stages:
        stage.abandon()
    return kept


def _note(saved: list[torch.Tensor], tensor: torch.Tensor) -> torch.Tensor:
    saved.append(tensor.detach())
    return tensor


def _as_it_is(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _tensors(values: Mapping[str, Any]) -> list[torch.Tensor]:
    return [value for value in values.values() if isinstance(value, torch.Tensor)]


def _memory(tensor: torch.Tensor) -> tuple[int, int]:
    """Which memory a tensor lies in, and how large that is in bytes."""
    storage = tensor.untyped_storage()
    return storage.data_ptr(), storage.nbytes()


def _timed_pass(stages: Sequence[Stage], given: Mapping[str, torch.Tensor], number: int) -> list[tuple[float, float]]:
    """(forward, backward) seconds of each stage for one micro-batch, forward through all and backward through all."""
    work = Work(number, Phase.TRAIN, 0)
    forwards: list[float] = []
    received: dict[str, Any] = {}
    for stage in stages:
        values = {**received, **{name: given[name] for name in stage.interface.inputs}}
        before = perf_counter()
        received = stage.forward(work, values, 1.0).sent
        forwards.append(perf_counter() - before)
        received = {name: _as_received(value) for name, value in received.items()}
    backwards: list[float] = []
    gradients: dict[str, torch.Tensor] = {}
    for stage in reversed(stages):
        before = perf_counter()
        gradients = stage.backward(work, gradients)
        backwards.append(perf_counter() - before)
    for stage in stages:
        stage.abandon()
    return list(zip(forwards, reversed(backwards), strict=True))


def _as_received(value: Any) -> Any:
    return value.detach() if isinstance(value, torch.Tensor) else value
