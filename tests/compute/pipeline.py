"""A pipeline without a network: executors chained by hand, all values through the wire form, in any legal order."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch.utils import _pytree as pytree

from edged.compute.capture import Captured
from edged.compute.executor import Executor, Outgoing
from edged.compute.optimizer import describe
from edged.compute.program_form import dump
from edged.compute.state import copy_state, read_state, state_dict
from edged.compute.tensors import to_wire
from edged.core.ids import JobId, NodeId, Stamp
from edged.core.job import JobSpec, Phase, Work
from edged.core.messages import Activation, Gradient, Inputs, StateParcel
from edged.core.plan import Hop, Plan, Route

STAMP = Stamp(JobId("0" * 12), 1, 1)
CPU = torch.device("cpu")
SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


@dataclass(frozen=True)
class Recipe:
    """How to train: an optimizer, a scheduler, clipping, sizes."""

    optimizer: partial = SGD
    scheduler: partial | None = None
    clip_norm: float | None = None
    average_every: int | None = None
    batch_size: int = 10
    micro_batches: int = 2
    samples: int = 10
    drop_last: bool = True
    eval_samples: int = 0
    steps: int = 3
    seed: int = 5
    mode: str = "sync"

    def spec(self) -> JobSpec:
        return JobSpec(
            job=STAMP.job, name="test", source=NodeId("s" * 16), strategy="auto", mode=self.mode, program="", layers=(),
            parameters=0, inputs=0, samples=self.samples, batch_size=self.batch_size,
            micro_batches=self.micro_batches, drop_last=self.drop_last, epochs=100, steps=self.steps,
            eval_samples=self.eval_samples, seed=self.seed, clips=self.clip_norm is not None, optimizer_copies=0,
            keep_inputs_home="", shuffle=True, replicate_every=0, on_nan="stop", source_slowness=0.0,
            training=describe(self.optimizer, self.scheduler, self.clip_norm, self.average_every),
        )  # fmt: skip


@dataclass
class Outcome:
    """Everything that must be equal bit for bit."""

    state: dict[str, torch.Tensor]
    kept: dict[str, torch.Tensor]
    losses: list[float]
    rates: list[float] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)


def assert_equal(left: Outcome, right: Outcome) -> None:
    for name in ("state", "kept"):
        first, second = getattr(left, name), getattr(right, name)
        assert first.keys() == second.keys()
        differing = [key for key in first if not _same(first[key], second[key])]
        assert not differing, f"{name} differs: {differing}"
    assert left.losses == right.losses


def _same(left: torch.Tensor, right: torch.Tensor) -> bool:
    return left.dtype == right.dtype and left.stride() == right.stride() and torch.equal(left, right)


def plain_loop(case: Any, recipe: Recipe) -> Outcome:
    """The loop that training.md promises, with the user's module."""
    model = case.build()
    spec = recipe.spec()
    optimizer = recipe.optimizer(model.parameters())
    scheduler = recipe.scheduler(optimizer) if recipe.scheduler else None
    losses, rates = [], []
    for version in range(recipe.steps):
        sizes = spec.sizes(version, Phase.TRAIN)
        for number, size in enumerate(sizes):
            loss = case.objective(model, case.batch(size, 100 * version + number))
            losses.append(float(loss.detach()))
            (loss * (size / sum(sizes))).backward()
        if recipe.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip_norm)
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if scheduler is not None:
            scheduler.step()
        optimizer.zero_grad()
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    kept = {
        f"{names[id(parameter)]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
        if isinstance(value, torch.Tensor)
    }
    return Outcome(model.state_dict(), kept, losses, rates)


class Chain:
    """Nodes n0, n1, ... with the layers between ``cuts``."""

    def __init__(
        self,
        captured: Captured,
        case: Any,
        recipe: Recipe,
        cuts: Sequence[int],
        seed: int = 0,
        states: Sequence[tuple[StateParcel, Any]] | Callable[[Hop], list[tuple[StateParcel, Any]]] | None = None,
        version: int = 0,
    ) -> None:
        self.case, self.recipe, self.spec, self.captured = case, recipe, recipe.spec(), captured
        self.rng = random.Random(seed)
        self.program = captured.program
        borders = [0, *cuts, len(self.program.layers)]
        hops = tuple(
            Hop(NodeId(f"n{h}"), first, stop - 1, len(borders) - 1 - h)
            for h, (first, stop) in enumerate(pairwise(borders))
        )
        route = Route(hops, tuple(range(recipe.micro_batches)))
        self.plan = Plan(STAMP, "test", "", len(self.program.layers), recipe.micro_batches, (route,), 0.0)
        self.nodes = [Executor("cpu", 1, 1.0) for _ in hops]
        self.outcome = Outcome({}, {}, [])
        for hop, node in zip(hops, self.nodes, strict=True):
            node.load_program(STAMP.job, dump(self.program))
            given = states(hop) if callable(states) else states or [self._first(hop)]
            node.build(self.plan, hop.node, self.spec, version, given)

    def _first(self, hop: Hop) -> tuple[StateParcel, Any]:
        copied = copy_state(self.program, self.captured.state, self.captured.state, None)
        return StateParcel(
            STAMP, hop.first_layer, hop.last_layer, 0, copied.tensors, copied.extra, replica=False
        ), copied.buffers

    @property
    def hops(self) -> tuple[Hop, ...]:
        return self.plan.routes[0].hops

    def parcels(self, version: int) -> list[tuple[StateParcel, Any]]:
        found = []
        for hop, node in zip(self.hops, self.nodes, strict=True):
            copied = node.state(hop.first_layer, hop.last_layer)
            header = StateParcel(
                STAMP, hop.first_layer, hop.last_layer, version, copied.tensors, copied.extra, replica=False
            )
            found.append((header, copied.buffers))
        return found

    def train(self, first: int = 0, stop: int | None = None) -> Outcome:
        for version in range(first, self.recipe.steps if stop is None else stop):
            self._pass(version, Phase.TRAIN)
            norms = None
            if self.recipe.clip_norm is not None:
                norms = sorted(norm for node in self.nodes for norm in node.norms())
            rates = {node.update(version + 1, norms).learning_rate for node in self.nodes}
            assert len(rates) == 1
            self.outcome.rates += rates
        return self.collect()

    def evaluate(self, version: int) -> list[Any]:
        self.outcome.metrics = []
        self._pass(version, Phase.EVALUATE)
        return self.outcome.metrics

    def collect(self) -> Outcome:
        found = read_state(self.program, self.parcels(0), CPU)
        self.outcome.state = state_dict(self.program, found.tensors)
        self.outcome.kept = {f"{name}/{key}": t for name, kept in found.kept.items() for key, t in kept.items()}
        return self.outcome

    def _pass(self, version: int, phase: Phase) -> None:
        """1F1B with windows, but any legal action of any hop may come next."""
        sizes = self.spec.sizes(version, phase)
        last, count = len(self.hops) - 1, len(sizes)
        forwards, backwards = [0] * (last + 1), [0] * (last + 1)
        for number, size in enumerate(sizes):
            self._feed(Work(version, phase, number), size)
        while forwards[last] < count or (phase is Phase.TRAIN and backwards[0] < count):
            choices = []
            for h in range(last + 1):
                if phase is Phase.TRAIN and backwards[h] < (forwards[h] if h == last else backwards[h + 1]):
                    choices.append((h, "B"))
                    continue
                open_window = phase is Phase.EVALUATE or forwards[h] - backwards[h] < self.hops[h].window
                ready = count if h == 0 else forwards[h - 1]
                if open_window and forwards[h] < ready:
                    choices.append((h, "F"))
            h, action = self.rng.choice(choices)
            if action == "F":
                self._forward(h, Work(version, phase, forwards[h]), sizes)
                forwards[h] += 1
            else:
                self._backward(h, Work(version, phase, backwards[h]))
                backwards[h] += 1

    def _feed(self, work: Work, size: int) -> None:
        leaves = pytree.tree_leaves(self.case.batch(size, 100 * work.version + work.micro_batch))
        drawn = {spec.name: leaf for spec, leaf in zip(self.program.inputs, leaves, strict=True)}
        for h, node in enumerate(self.nodes):
            entries = [to_wire(name, drawn[name]) for name in node._hosting.interfaces()[0, h].inputs]
            self._send(node, Inputs(STAMP, 0, h, work, tuple(spec for spec, _ in entries)), [v for _, v in entries])

    def _forward(self, h: int, work: Work, sizes: tuple[int, ...]) -> None:
        result = self.nodes[h].forward(0, h, work, sizes[work.micro_batch] / sum(sizes))
        if h == len(self.nodes) - 1:
            assert result.outgoing is None
            self.outcome.metrics.append((result.loss, dict(result.metrics)))
            if work.phase is Phase.TRAIN:
                self.outcome.losses.append(result.loss)
            return
        out: Outgoing = result.outgoing
        self._send(self.nodes[h + 1], Activation(STAMP, 0, h + 1, work, out.tensors, out.scalars), out.buffers)

    def _backward(self, h: int, work: Work) -> None:
        out = self.nodes[h].backward(0, h, work).outgoing
        if h == 0:
            assert out is None
            return
        self._send(self.nodes[h - 1], Gradient(STAMP, 0, h - 1, work, out.tensors), out.buffers)

    @staticmethod
    def _send(node: Executor, header: Any, buffers: Sequence[memoryview]) -> None:
        assert node.expects(header)
        assert not node.expects(replace(header, stamp=replace(STAMP, version=2)))
        node.put(header, [memoryview(bytearray(buffer)) for buffer in buffers])


def everywhere(found: Captured) -> Captured:
    """The same program with a border before every operation."""
    count = len(found.program.operations)
    return replace(found, program=replace(found.program, layers=tuple((i, i + 1) for i in range(count))))
