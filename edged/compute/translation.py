"""From torch's exported graph to operations: names instead of nodes, regions instead of sub-graphs."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from operator import getitem
from typing import Any, Final

import torch
from torch.fx import GraphModule, Node

from edged.compute.operations import flip_of, is_allowed, is_random
from edged.compute.program import Argument, Named, Operation, Ref
from edged.errors import JobError

CHECKS: Final = frozenset(
    {
        "aten._assert_tensor_metadata.default",
        "aten._assert_scalar.default",
        "aten._assert_async.msg",
        "aten._assert_async.default",
        "aten.sym_constrain_range_for_size.default",
        "aten.sym_constrain_range.default",
    }
)
"""Assertions that export adds; they compute nothing."""

_DEFINED: Final = {
    "aten.empty.memory_format": "aten.zeros.default",
    "aten.empty_like.default": "aten.zeros_like.default",
    "aten.new_empty.default": "aten.new_zeros.default",
    "aten.detach_.default": "aten.detach.default",
    "aten.lift_fresh.default": "aten.lift_fresh_copy.default",
}
"""What is put in the place of operations that would show a node's uninitialized memory, or only mark a value."""

_INTO: Final = {
    "aten.add.out": "aten.add.Tensor",
    "aten.div.out": "aten.div.Tensor",
    "aten.mul.out": "aten.mul.Tensor",
}
"""Operations that write into a given tensor (spectral norm's buffers), each computed and then copied."""

_FRAME: Final = re.compile(r'File "([^"]+)", line (\d+), in [^\n]*\n([^\n]*)')
_HERE: Final = __file__.rpartition("/")[0]
_IGNORED: Final = frozenset({"pin_memory", "generator"})


@dataclass(frozen=True, slots=True)
class _Region:
    gradient: bool
    autocast: str


@dataclass
class Translation:
    """Operations as they are translated. ``lines``: the user's line that made a value, by the value's name."""

    operations: list[Operation] = field(default_factory=list)
    names: set[str] = field(default_factory=set)
    lines: dict[str, str] = field(default_factory=dict)

    def graph(self, module: GraphModule, given: list[Argument], gradient: bool = True, autocast: str = "") -> Any:  # noqa: FBT001, FBT002 -- named at the one other call
        """Append the operations of ``module`` run on ``given``; return what it returns, as arguments."""
        region = _Region(gradient, autocast)
        values: dict[Node, Any] = {}
        placeholders = iter(given)
        for node in module.graph.nodes:
            if node.op == "placeholder":
                values[node] = next(placeholders)
            elif node.op == "get_attr":
                values[node] = getattr(module, str(node.target))
            elif node.op == "output":
                return _argument(node.args[0], values)
            else:
                self._node(node, values, region)
        raise JobError("the exported graph has no output")

    def _node(self, node: Node, values: dict[Node, Any], region: _Region) -> None:
        target: Any = node.target
        if target is getitem:
            values[node] = _argument(node.args[0], values)[node.args[1]]
        elif target is torch.ops.higher_order.wrap_with_set_grad_enabled:
            enabled, inner, *rest = node.args
            given = [_argument(item, values) for item in rest]
            values[node] = self.graph(_inner(inner, values), given, bool(enabled), region.autocast)
        elif target is torch.ops.higher_order.wrap_with_autocast:
            _, dtype, enabled, _, inner, *rest = node.args
            text = str(dtype or torch.bfloat16).removeprefix("torch.") if enabled else ""
            given = [_argument(item, values) for item in rest]
            values[node] = self.graph(_inner(inner, values), given, region.gradient, text)
        elif str(target) not in CHECKS:
            values[node] = self._operation(node, values, region)

    def _operation(self, node: Node, values: dict[Node, Any], region: _Region) -> Argument:
        name = _name(node.target)
        defined = _DEFINED.get(name, _INTO.get(name, name))
        arguments = tuple(_argument(item, values) for item in node.args)
        keywords = {
            key: _argument(item, values)
            for key, item in node.kwargs.items()
            if key not in _IGNORED and not (defined == "aten.zeros.default" and key == "memory_format")
        }
        outputs, result = self._outputs(node)
        into = keywords.pop("out", None) if name in _INTO else None
        allowed = is_allowed(defined)
        self.lines.update((output, _line(node)) for output in outputs)
        self.operations.append(
            Operation(
                name=defined,
                arguments=arguments,
                keywords=tuple(keywords.items()),
                outputs=outputs,
                random=allowed and is_random(defined, arguments, keywords),
                gradient=region.gradient,
                evaluation_only=False,
                flip=flip_of(defined, arguments, keywords) if allowed else (),
                autocast=region.autocast,
            )
        )
        return result if into is None else self._copy(into, result, region, _line(node))

    def _copy(self, target: Argument, source: Argument, region: _Region, line: str) -> Argument:
        output = self._fresh("%copy_")
        self.lines[output] = line
        self.operations.append(
            Operation(
                name="aten.copy_.default",
                arguments=(target, source),
                keywords=(),
                outputs=(output,),
                random=False,
                gradient=region.gradient,
                evaluation_only=False,
                flip=(),
                autocast=region.autocast,
            )
        )
        return Ref(output)

    def _outputs(self, node: Node) -> tuple[tuple[str, ...], Argument]:
        base = self._fresh(f"%{node.name}")
        example = node.meta.get("val")
        if not isinstance(example, tuple | list):
            return (base,), Ref(base)
        used = {user.args[1] for user in node.users if user.target is getitem}
        names = tuple(f"{base}.{i}" if i in used else "" for i in range(len(example)))
        return names, tuple(Ref(name) for name in names)

    def _fresh(self, name: str) -> str:
        count = 0
        candidate = name
        while candidate in self.names:
            count += 1
            candidate = f"{name}~{count}"
        self.names.add(candidate)
        return candidate


def _inner(node: Any, values: dict[Node, Any]) -> GraphModule:
    inner = values[node]
    if not isinstance(inner, GraphModule):
        raise JobError("the exported graph has a region without operations")
    return inner


def _line(node: Node) -> str:
    """``file:line: `code``` of the innermost forward of the user's that the node comes from, or "the model"."""
    found = _FRAME.findall(node.meta.get("stack_trace") or "")
    own = [frame for frame in found if "site-packages" not in frame[0] and not frame[0].startswith(_HERE)] or found
    return f"{own[-1][0]}:{own[-1][1]}: `{own[-1][2].strip()}`" if own else "the model"


def _name(target: Any) -> str:
    if isinstance(target, torch._ops.OpOverload):  # noqa: SLF001 -- the class has no public name
        return str(target)
    return f"_operator.{getattr(target, '__name__', str(target))}"


def _argument(item: Any, values: dict[Node, Any]) -> Any:
    if isinstance(item, Node):
        return values[item]
    if isinstance(item, tuple | list):
        return tuple(_argument(part, values) for part in item)
    if isinstance(item, torch.device):
        return Named("device", "node")
    for kind, category in (("dtype", torch.dtype), ("memory_format", torch.memory_format), ("layout", torch.layout)):
        if isinstance(item, category):
            return Named(kind, str(item).removeprefix("torch."))
    if item is None or isinstance(item, bool | int | float | str):
        return item
    raise JobError(f"the model passes a constant that a program cannot carry: {item!r}")
