"""Random programs train to the same bits however they are cut; ``test_exactness`` shows what was found so."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch

from edged.compute.check import check_program
from edged.compute.comparison import same_bits
from edged.compute.exactness import forbidden
from edged.compute.interpreter import Interpreter, Seeds
from edged.compute.layers import interface
from edged.compute.program import Program
from edged.compute.stage import Stage
from edged.compute.tensors import from_wire, to_wire
from edged.compute.values import Values
from edged.core.job import Phase, Work
from tests.compute.random_programs import CPU, Maker, UnfitError

SEED, STEPS, MICRO_BATCHES = 7, 3, 2
PROGRAMS = 12
"""For each combination below: a bounded part of a search that has gone through many thousands."""
OPTIMIZERS = {
    "sgd": lambda given: torch.optim.SGD(given, lr=0.05, momentum=0.9, foreach=False),
    "adam": lambda given: torch.optim.Adam(given, lr=1e-2, foreach=False),
}
State = dict[str, torch.Tensor]


@dataclass
class Case:
    """A program, what is known of its values, its first state."""

    program: Program
    values: Values
    state: State

    def inputs(self, step: int, micro_batch: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(100 * step + micro_batch)
        spec = self.program.inputs[0]
        return torch.randn(spec.shape, generator=generator).to(getattr(torch, spec.dtype))

    def fresh(self) -> State:
        wanting = {spec.name: spec.requires_grad for spec in self.program.state}
        return {name: tensor.clone().requires_grad_(wanting[name]) for name, tensor in self.state.items()}

    def cuts(self, rng: random.Random) -> list[list[int]]:
        """Some single cuts, some of all that are allowed, all that are allowed."""
        barred = forbidden(self.program, self.values)
        allowed = [k for k in range(1, len(self.program.operations)) if k not in barred]
        single = [[k] for k in rng.sample(allowed, min(2, len(allowed)))]
        return [[], *single, sorted(rng.sample(allowed, len(allowed) // 2)), allowed]


def draw(seed: int, dtype: torch.dtype) -> Case:
    program, state = Maker(seed, dtype).program(random.Random(seed).choice([6, 10, 16, 25]))
    return Case(program, check_program(program), state)


def plain(case: Case, optimizer: str) -> State:
    """The loop on one device, the program in one piece."""
    state = case.fresh()
    updates = OPTIMIZERS[optimizer]([tensor for tensor in state.values() if tensor.requires_grad])
    run = Interpreter(case.program, CPU, 0, len(case.program.operations), {case.program.loss}).run
    for step in range(STEPS):
        for number in range(MICRO_BATCHES):
            made = run({**state, "x": case.inputs(step, number)}, seeds=Seeds(SEED, step, number))
            (made[case.program.loss] * (1 / MICRO_BATCHES)).backward()
        updates.step()
        updates.zero_grad()
    return state


def in_parts(case: Case, optimizer: str, cuts: Sequence[int]) -> State:
    """The same loop, cut; everything that crosses goes through the wire's form."""
    program = replace(case.program, layers=tuple(pairwise([0, *cuts, len(case.program.operations)])))
    state = case.fresh()
    updates = OPTIMIZERS[optimizer]([tensor for tensor in state.values() if tensor.requires_grad])
    faces = [interface(program, case.values, layer, layer) for layer in range(len(program.layers))]
    stages = [Stage(program, face, CPU, state, SEED) for face in faces]
    for step in range(STEPS):
        for number in range(MICRO_BATCHES):
            work, sent = Work(step, Phase.TRAIN, number), {}
            for stage in stages:
                kept = {crossing.name for crossing in stage.interface.receives if crossing.per_step and number}
                inputs = {name: case.inputs(step, number) for name in stage.interface.inputs}
                given = {name: value for name, value in sent.items() if name not in kept}
                sent = stage.forward(work, crossed({**inputs, **given}), 1 / MICRO_BATCHES).sent
            gradients: State = {}
            for stage in reversed(stages):
                gradients = crossed(stage.backward(work, gradients))
        updates.step()
        updates.zero_grad()
    return state


def crossed(tensors: State) -> State:
    arrived = {}
    for name, tensor in tensors.items():
        spec, view = to_wire(name, tensor)
        arrived[name] = from_wire(spec, memoryview(bytearray(view)), CPU)
    return arrived


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_random_programs_train_to_the_same_bits_however_they_are_cut(dtype: torch.dtype, optimizer: str) -> None:
    first, played = PROGRAMS * list(OPTIMIZERS).index(optimizer), 0
    for seed in range(first, first + PROGRAMS):
        try:
            case = draw(seed, dtype)
        except UnfitError:
            continue
        played += 1
        expected = plain(case, optimizer)
        for cuts in case.cuts(random.Random(seed)):
            found = in_parts(case, optimizer, cuts)
            differing = [name for name in expected if not same_bits(found[name], expected[name])]
            assert not differing, f"seed {seed}, cut at {cuts}: {differing} differ"
    assert played >= PROGRAMS / 2
