"""Small random programs: residuals, views, several consumers, tied weights, changes in place, no-gradient regions."""

from __future__ import annotations

import random
from typing import Any

import torch

from edged.compute.interpreter import fill, prepare, resolve
from edged.compute.layers import uses
from edged.compute.operations import is_random
from edged.compute.program import Argument, InputSpec, Operation, Program, Ref, StateSpec
from edged.compute.tensors import dtype_name

CPU = torch.device("cpu")
MOST_ELEMENTS = 60_000
ELEMENTWISE = ("relu", "tanh", "sigmoid", "gelu", "silu", "neg", "sin")
KINDS = (
    *["linear"] * 5, *["binary"] * 4, *["matmul", "slice", "split", "join", "in_place"] * 3,
    *["attention", "elementwise"] * 2, "softmax", "norm", "view", "transpose", "expand", "select", "flatten",
    "reduction", "vector", "convolution", "buffer", "single",
)  # fmt: skip


class UnfitError(Exception):
    """A step that the drawn values do not allow, or a program that eager torch itself refuses."""


class Maker:
    """Draws operations one by one, and runs each at once to know what it gives."""

    def __init__(self, seed: int, dtype: torch.dtype) -> None:
        self.rng = random.Random(seed)
        self.generator = torch.Generator().manual_seed(seed)
        self.dtype = dtype
        width = self.rng.choice([5, 8, 15, 17, 24, 33, 65])
        self.shape = (self.rng.choice([1, 2, 3, 5]), self.rng.choice([1, 3, 7, 17]), width)
        self.state: dict[str, torch.Tensor] = {}
        self.values: dict[str, Any] = {"x": self.drawn(*self.shape)}
        self.made: list[str] = []
        self.operations: list[Operation] = []
        self.emit("linear.default", Ref("x"), self.weight(width, width))

    def drawn(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.generator).to(self.dtype)

    def program(self, length: int) -> tuple[Program, dict[str, torch.Tensor]]:
        """A program of about that many operations, and its first state. Raises ``UnfitError``."""
        for _ in range(8 * length):
            if len(self.operations) < length:
                try:
                    getattr(self, f"make_{self.rng.choice(KINDS)}")()
                except (UnfitError, RuntimeError, IndexError, TypeError):
                    continue
        try:
            loss = self.loss()
            self.values[loss].backward()
        except RuntimeError as error:
            raise UnfitError from error
        state = tuple(
            StateSpec(name, dtype_name(t.dtype), tuple(t.shape), tuple(t.stride()), *[t.requires_grad] * 2, True, ())
            for name, t in sorted(self.state.items(), key=lambda item: not item[1].requires_grad)
        )
        inputs = (InputSpec("x", dtype_name(self.dtype), self.shape),)
        layers = ((0, len(self.operations)),)
        program = Program(inputs, state, tuple(self.operations), layers, loss, (), self.shape[0], evaluates=False)
        return program, {name: tensor.detach() for name, tensor in self.state.items()}

    def loss(self) -> str:
        used = {name for operation in self.operations for name in uses(operation)}
        total = ""
        for name in [n for n in self.made if n not in used and self.values[n].requires_grad][-4:]:
            scaled = self.emit("mul.Tensor", Ref(name), self.weight(*self.values[name].shape[-1:]))
            part = self.emit("sum.default", Ref(scaled))
            total = self.emit("add.Tensor", Ref(total), Ref(part)) if total else part
        if not total:
            raise UnfitError
        return total

    def emit(self, name: str, *arguments: Argument, gradient: bool = True) -> str:
        """Add ``aten.NAME``; returns the name of its first result."""
        function, _ = resolve(f"aten.{name}")
        with torch.set_grad_enabled(gradient):
            result = function(*[fill(prepare(argument, CPU), self.values) for argument in arguments])
        results = list(result) if isinstance(result, tuple | list) else [result]
        if not all(0 < t.numel() <= MOST_ELEMENTS and bool(torch.isfinite(t).all()) for t in results):
            raise UnfitError
        names = tuple(f"v{len(self.made) + i}" for i in range(len(results)))
        drawn = is_random(f"aten.{name}", arguments, {})
        self.operations.append(Operation(f"aten.{name}", arguments, (), names, drawn, gradient, False, ()))
        self.made += names
        self.values.update(zip(names, results, strict=True))
        return names[0]

    def weight(self, *shape: int, buffer: bool = False) -> Ref:
        """A parameter of this shape: a new one, or sometimes one that is used already."""
        tied = [name for name, t in self.state.items() if t.requires_grad and tuple(t.shape) == shape]
        if tied and not buffer and self.rng.random() < 0.25:
            return Ref(self.rng.choice(tied))
        name = f"{'b' if buffer else 'w'}{len(self.state)}"
        self.state[name] = (self.drawn(*shape) / max(1, *shape[-1:], 1) ** 0.5).requires_grad_(not buffer)
        self.values[name] = self.state[name].clone() if buffer else self.state[name]
        return Ref(name)

    def pick(self, rank: int = 0, like: torch.Tensor | None = None) -> tuple[Ref, torch.Tensor]:
        """A value of at least this rank, or with the shape of another; rather a late one."""
        fits = [
            name
            for name in self.made
            if self.values[name].dim() >= rank and (like is None or self.values[name].shape == like.shape)
        ]
        if not fits:
            raise UnfitError
        name = self.rng.choice(fits[-4:] if self.rng.random() < 0.6 else fits)
        return Ref(name), self.values[name]

    def make_linear(self) -> None:
        ref, t = self.pick(2)
        width = self.rng.choice([t.shape[-1], 1, 5, 8, 15, 17, 24, 33])
        bias = (self.weight(width),) if self.rng.random() < 0.5 else ()
        self.emit("linear.default", ref, self.weight(width, t.shape[-1]), *bias)

    def make_binary(self) -> None:
        ref, t = self.pick()
        self.emit(f"{self.rng.choice(['add', 'add', 'add', 'mul', 'sub'])}.Tensor", ref, self.pick(like=t)[0])

    def make_matmul(self) -> None:
        ref, t = self.pick(2)
        product = self.emit("matmul.default", ref, Ref(self.emit("transpose.int", self.pick(like=t)[0], -1, -2)))
        self.emit("mul.Tensor", Ref(product), 1 / t.shape[-1])

    def make_slice(self) -> None:
        ref, t = self.pick(1)
        dim = self.rng.randrange(t.dim())
        start = self.rng.randrange(0, t.shape[dim])
        self.emit("slice.Tensor", ref, dim, start, self.rng.randrange(start, t.shape[dim]) + 1, self.rng.choice([1, 2]))

    def make_split(self) -> None:
        ref, t = self.pick(1)
        dim = self.rng.randrange(t.dim())
        first = self.rng.randrange(1, t.shape[dim]) if t.shape[dim] > 1 else 1
        self.emit("split_with_sizes.default", ref, (first, t.shape[dim] - first), dim)

    def make_join(self) -> None:
        ref, t = self.pick(1)
        both = [ref, self.pick(like=t)[0]]
        self.emit(self.rng.choice(["cat.default", "stack.default"]), tuple(both), self.rng.randrange(t.dim()))

    def make_attention(self) -> None:
        ref, t = self.pick(3)
        triple = [Ref(self.emit("unsqueeze.default", r, 1)) for r in (ref, self.pick(like=t)[0], self.pick(like=t)[0])]
        self.emit("scaled_dot_product_attention.default", *triple)

    def make_elementwise(self) -> None:
        self.emit(f"{self.rng.choice(ELEMENTWISE)}.default", self.pick()[0])

    def make_in_place(self) -> None:
        ref, t = self.pick()
        other: Argument = self.pick(like=t)[0] if self.rng.random() < 0.3 else 1.25
        self.emit(*self.rng.choice([("relu_.default", ref), ("mul_.Tensor", ref, 1.25), ("add_.Tensor", ref, other)]))

    def make_softmax(self) -> None:
        self.emit("softmax.int", self.pick(1)[0], -1)

    def make_norm(self) -> None:
        ref, t = self.pick(1)
        self.emit("layer_norm.default", ref, (t.shape[-1],), self.weight(t.shape[-1]), self.weight(t.shape[-1]))

    def make_view(self) -> None:
        ref, t = self.pick(2)
        self.emit("reshape.default", ref, (t.shape[0] * t.shape[1], *t.shape[2:]))

    def make_transpose(self) -> None:
        ref, t = self.pick(1)
        self.emit("transpose.int", ref, self.rng.randrange(t.dim()), self.rng.randrange(t.dim()))

    def make_expand(self) -> None:
        ref, t = self.pick()
        self.emit("expand.default", Ref(self.emit("unsqueeze.default", ref, 0)), (2, *t.shape))

    def make_select(self) -> None:
        ref, t = self.pick(2)
        dim = self.rng.randrange(t.dim())
        self.emit("select.int", ref, dim, self.rng.randrange(t.shape[dim]))

    def make_flatten(self) -> None:
        self.emit("flatten.using_ints", self.pick()[0], 0, -1)

    def make_reduction(self) -> None:
        ref, t = self.pick(2)
        self.emit(self.rng.choice(["mean.dim", "sum.dim_IntList"]), ref, (self.rng.randrange(t.dim()),))

    def make_vector(self) -> None:
        ref, t = self.pick(2)
        self.emit("matmul.default", ref, self.weight(t.shape[-1]))

    def make_convolution(self) -> None:
        ref, t = self.pick(3)
        self.emit("conv1d.default", ref, self.weight(self.rng.choice([4, t.shape[1]]), t.shape[1], 3), None, (1,), (1,))

    def make_buffer(self) -> None:
        ref, t = self.pick(1)
        buffer = self.weight(t.shape[-1], buffer=True)
        self.emit("mul.Tensor", ref, buffer)
        if self.rng.random() < 0.5:
            self.emit("mul_.Tensor", buffer, 0.9, gradient=False)

    def make_single(self) -> None:
        ref, _ = self.pick()
        kind = self.rng.choice(["contiguous", "clone", "detach", "dropout", "nothing", "no_gradient"])
        if kind in {"dropout", "nothing"}:
            self.emit("dropout.default", ref, 0.3 if kind == "dropout" else 0.0, True)
        elif kind == "no_gradient":
            self.emit("mul.Tensor", ref, 0.5, gradient=False)
        else:
            self.emit(f"{kind}.default", ref)
