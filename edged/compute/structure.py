"""Finds what capture cannot see although it may compute the same on the example micro-batch.

Comparing bits on one batch shows nothing of a backward that only acts on large gradients, or of a counter that acts
from the fiftieth call on. So the eager module runs once, and its structure is looked at instead::

    hooks on parameters and modules ── parameters changed in place ── hooks registered in forward
    functions with a Python backward, in the loss's graph ── Python state that a repeated call leaves otherwise
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, FunctionType, MethodType
from typing import Any, Final

import torch
from torch import Tensor, nn

from edged.errors import JobError

_ADVICE: Final = "capture would lose it; write it with plain torch functions"
_REGISTERS: Final = frozenset({"register_hook", "register_prehook", "register_post_accumulate_grad_hook"})
_FOREIGN: Final = ("torch.", "transformers.")
_SEED: Final = 11
_Place = tuple[str, dict[str, Any]]


def look(model: nn.Module, objective: Callable[..., Tensor], run: Callable[[], Tensor]) -> Tensor:
    """Return the loss of ``run()``, which calls ``objective`` on ``model``; it is called twice, alike.

    Raises ``JobError`` that names what capture would lose.
    """
    _check_hooks(model)
    names = [(name, tensor, tensor._version) for name, tensor in model.named_parameters()]  # noqa: SLF001
    begun = python_state(model, objective)
    registered: list[str] = []
    torch.manual_seed(_SEED)
    with _registrations(registered):
        loss = run()
    if registered:
        raise JobError(f"{registered[0]}: a hook on a gradient: {_ADVICE}")
    for name, tensor, version in names:
        if tensor._version != version:  # noqa: SLF001 -- how torch counts changes in place
            raise JobError(
                f"forward changes the parameter {name} itself (as max_norm of nn.Embedding does), and only the "
                "optimizer may: compute the changed tensor in forward instead"
            )
    _check_graph(loss)
    once = python_state(model, objective)
    refuse_changes({key: value for key, value in begun.items() if isinstance(value, bool)}, once)
    torch.manual_seed(_SEED)
    run()
    refuse_changes(once, python_state(model, objective))
    return loss


def python_state(model: nn.Module, *functions: Any) -> dict[str, Any]:
    """Every plain value (number, text, flag, ``None``, lists of these) that the model and these functions keep."""
    return {
        f"{place}.{name}": tuple(value) if isinstance(value, list) else value
        for place, values in _places(model, functions)
        for name, value in values.items()
        if not name.startswith("__") and _is_plain(value)
    }


def refuse_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise ``JobError`` naming the first plain value that is another one afterwards."""
    for name, value in before.items():
        if name in after and repr(after[name]) != repr(value):
            raise JobError(
                f"{name} changes from {value!r} to {after[name]!r} when the model runs (a counter, a flag), and "
                "capture would freeze it; keep it as a tensor with register_buffer"
            )


@contextmanager
def kept_state(model: nn.Module) -> Iterator[None]:
    """Put the plain attributes of the model's modules back afterwards, which runs and traces may have changed."""
    found = [
        (module, {name: value for name, value in vars(module).items() if _is_plain(value)})
        for module in model.modules()
    ]
    lists = [(value, list(value)) for _, values in found for value in values.values() if isinstance(value, list)]
    try:
        yield
    finally:
        for module, values in found:
            vars(module).update({name: value for name, value in values.items() if name != "training"})
        for value, content in lists:
            value[:] = content


def _check_hooks(model: nn.Module) -> None:
    for name, tensor in model.named_parameters():
        if tensor._backward_hooks or getattr(tensor, "_post_accumulate_grad_hooks", None):  # noqa: SLF001
            raise JobError(f"the parameter {name} has a hook on its gradient: {_ADVICE}")
    for name, module in model.named_modules():
        if module._backward_hooks or module._backward_pre_hooks:  # noqa: SLF001 -- torch has no public way to see them
            raise JobError(f"the module {name or type(module).__name__} has a backward hook: {_ADVICE}")


def _check_graph(loss: Tensor) -> None:
    """Walk everything that the loss's backward would run."""
    waiting, seen = [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if isinstance(node, torch.autograd.function.BackwardCFunction):
            name = type(node).__name__.removesuffix("Backward")
            if name == "CheckpointFunction":
                raise JobError("checkpoint(use_reentrant=True) hides its graph: write use_reentrant=False")
            if name == "BackwardHookFunction":
                raise JobError(f"a module has a backward hook: {_ADVICE}")
            raise JobError(f"{name} is a custom autograd.Function, whose backward is Python: {_ADVICE}")
        waiting.extend(following for following, _ in node.next_functions)


@contextmanager
def _registrations(found: list[str]) -> Iterator[None]:
    """While it lasts, note where hooks are registered on tensors or graph nodes by this thread."""

    def watch(frame: FrameType, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_name in _REGISTERS and isinstance(frame.f_locals.get("self"), Tensor):
            caller = frame.f_back or frame
            found.append(f"{caller.f_code.co_filename}:{caller.f_lineno}")
        elif event == "c_call" and getattr(argument, "__name__", "") in _REGISTERS:
            found.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")

    former = sys.getprofile()
    sys.setprofile(watch)
    try:
        yield
    finally:
        sys.setprofile(former)


def _places(model: nn.Module, functions: Iterable[Any]) -> Iterator[_Place]:
    """Where plain values may be kept: modules, their classes, and what the functions called close over."""
    hooks: list[Any] = []
    for name, module in model.named_modules():
        hooks += [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]  # noqa: SLF001
        if not type(module).__module__.startswith(_FOREIGN):
            yield name or "model", {key: value for key, value in vars(module).items() if key != "training"}
            yield type(module).__qualname__, dict(vars(type(module)))
            yield from _around(type(module).forward)
    for function in (*functions, *hooks):
        yield from _around(function)


def _around(function: Any) -> Iterator[_Place]:
    if isinstance(function, MethodType):
        yield type(function.__self__).__qualname__, getattr(function.__self__, "__dict__", {})
        function = function.__func__
    if not isinstance(function, FunctionType):
        yield type(function).__qualname__, getattr(function, "__dict__", {})
        function = vars(type(function)).get("__call__")
    if isinstance(function, FunctionType) and not function.__module__.startswith(_FOREIGN):
        code, name = function.__code__, function.__qualname__
        cells = zip(code.co_freevars, function.__closure__ or (), strict=True)
        around = {key: cell.cell_contents for key, cell in cells if _is_filled(cell)}
        around.update((key, function.__globals__[key]) for key in code.co_names if key in function.__globals__)
        yield name, {key: value for key, value in around.items() if not isinstance(value, list)}  # hooks fill lists


def _is_filled(cell: Any) -> bool:
    try:
        cell.cell_contents  # noqa: B018 -- the only way to ask
    except ValueError:
        return False
    return True


def _is_plain(value: Any) -> bool:
    if type(value) in {list, tuple}:
        return all(_is_plain(item) for item in value)
    return value is None or type(value) in {bool, int, float, str}
