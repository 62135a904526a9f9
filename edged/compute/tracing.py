"""Calls ``torch.export`` on the model together with its objective and metrics, in one trace.

What export refuses comes out as a ``JobError`` that names the user's line and what to change there.
"""

from __future__ import annotations

import functools
import linecache
import logging
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.utils import _pytree as pytree

from edged.errors import JobError

Objective = Callable[[nn.Module, Any], Tensor]
Metrics = Callable[[nn.Module, Any], dict[str, Tensor]]


@dataclass(frozen=True)
class Trace:
    """``metrics``: names, in the order of the graph's outputs behind the loss. ``fixed_batch``: 0 if any size works."""

    exported: ExportedProgram
    metrics: tuple[str, ...]
    fixed_batch: int
    note: str


class Wrapper(nn.Module):
    """A module whose forward is loss and metrics of ``model``.

    While metrics are computed, the model called again with the very same tensors gives the output that the objective
    got, so that it is not traced twice. The loss passes through ``aten.alias``: what comes behind is the metrics' own.
    """

    def __init__(
        self, model: nn.Module, objective: Objective, metrics: Metrics | None, names: Callable[[Sequence[str]], None]
    ) -> None:
        """``model`` becomes the submodule ``model``; ``names`` is told what the metrics are called."""
        super().__init__()
        self.model = model
        self.objective = objective
        self.metrics = metrics
        self.names = names

    def forward(self, batch: Any) -> tuple[Tensor, ...]:
        """The loss, then each metric."""
        calls: list[tuple[Any, Any]] = []
        with _watched(self.model, lambda key, call: _recorded(calls, key, call)):
            buffers = [(module, dict(module._buffers)) for module in self.model.modules()]  # noqa: SLF001
            loss = self.objective(self.model, batch)
            _write_back(buffers)
            loss = torch.ops.aten.alias.default(loss)
        if self.metrics is None:
            return (loss,)
        with _watched(self.model, lambda key, call: _remembered(calls, key, call)):
            metrics = self.metrics(self.model, batch)
        self.names(tuple(metrics))
        return (loss, *(_number(name, value) for name, value in metrics.items()))


def trace(model: nn.Module, objective: Objective, batch: Any, metrics: Metrics | None) -> Trace:
    """Export with a free first dimension, or with the example's if that cannot be.

    Raises ``JobError`` naming the line that cannot be captured.
    """
    names: list[Sequence[str]] = [()]
    wrapper = Wrapper(model, objective, metrics, names.append)
    leaves, tree = pytree.tree_flatten(batch)
    size = leaves[0].shape[0]
    free = pytree.tree_unflatten([{0: Dim.DYNAMIC} for _ in leaves], tree) if size > 1 else None
    try:
        exported = _export(wrapper, batch, free)
        return Trace(exported, tuple(names[-1]), 0 if size > 1 else size, "")
    except JobError:
        raise
    except Exception as error:
        if size == 1 or _is_data_dependent(error):
            raise JobError(explain(error)) from error
        reason = " ".join(str(error).split())[:200]
    try:
        exported = _export(wrapper, batch, None)
    except Exception as error:
        raise JobError(explain(error)) from error
    note = f"the model works for micro-batches of {size} samples only, because its code fixes the batch size ({reason})"
    return Trace(exported, tuple(names[-1]), size, note)


def explain(error: Exception) -> str:
    """One sentence for the user: where, what, and what to write instead."""
    place = user_line(error)
    if _is_data_dependent(error):
        return (
            f"{place}: the model decides by the values of a tensor, which cannot be captured; "
            "use torch.where or a mask instead of if, while, int() or .item() on a tensor"
        )
    if ".numpy()" in str(error) or "Numpy" in str(error):
        return f"{place}: numpy inside the model cannot be captured; use the torch function of that name"
    words = " ".join(str(error).split())[:300]
    kind = type(error).__name__
    return f"{place}: torch.export cannot capture this: {kind}: {words}; write it with plain torch functions"


def user_line(error: BaseException) -> str:
    """The innermost line outside of torch and edged that the error passed through, as ``file:line: `code```."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    own = [frame for frame in frames if "site-packages" not in frame.filename] or frames
    if not own:
        return "the model"
    frame = own[-1]
    code = linecache.getline(frame.filename, frame.lineno or 0).strip()
    return f"{frame.filename}:{frame.lineno}: `{code}`"


def _is_ours(filename: str) -> bool:
    roots = (torch.__path__[0], __file__.rpartition("compute")[0])
    return filename.startswith((*roots, "<")) or "contextlib" in filename


def _is_data_dependent(error: BaseException) -> bool:
    names = {"GuardOnDataDependentSymNode", "DataDependentOutputException", "DynamicOutputShapeException"}
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__ or causes[-1].__context__) is not None and cause not in causes:
        causes.append(cause)
    return any(type(cause).__name__ in names for cause in causes)


def _export(wrapper: Wrapper, batch: Any, free: Any) -> ExportedProgram:
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]), _silence():
        warnings.simplefilter("ignore")
        shapes = None if free is None else (free,)
        fresh = pytree.tree_map(lambda leaf: leaf.clone(), batch)  # export leaves marks on the tensors that it is given
        return torch.export.export(wrapper, (fresh,), dynamic_shapes=shapes, strict=False)


@contextmanager
def _silence() -> Iterator[None]:
    """Export prints whole graphs when it fails; the user gets one sentence instead."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(disabled)


def _write_back(before: list[tuple[nn.Module, dict[str, Tensor | None]]]) -> None:
    """Write into the buffers what the model assigned in their place: export keeps changes in place, assignments not."""
    for module, buffers in before:
        for name, buffer in buffers.items():
            new = module._buffers.get(name)  # noqa: SLF001 -- torch has no public way to see an assignment
            if buffer is not None and new is not None and new is not buffer:
                with torch.no_grad():
                    buffer.copy_(new)
                module._buffers[name] = buffer  # noqa: SLF001


def _number(name: str, value: Any) -> Tensor:
    if not isinstance(value, Tensor) or value.numel() != 1:
        raise JobError(f"the metric {name!r} must be a tensor with one number: leave out .item() and float()")
    number: Tensor = value.reshape(())
    return number if number.is_floating_point() else number.to(torch.float32)


def _recorded(calls: list[tuple[Any, Any]], key: Any, call: Callable[[], Any]) -> Any:
    result = call()
    calls.append((key, result))
    return result


def _remembered(calls: list[tuple[Any, Any]], key: Any, call: Callable[[], Any]) -> Any:
    for known, result in calls:
        if _same(known, key):
            return result
    return call()


def _same(known: Any, key: Any) -> bool:
    left, left_tree = pytree.tree_flatten(known)
    right, right_tree = pytree.tree_flatten(key)
    return left_tree == right_tree and all(
        a is b or (isinstance(a, bool | int | float | str) and type(a) is type(b) and a == b)
        for a, b in zip(left, right, strict=True)
    )


@contextmanager
def _watched(model: nn.Module, watch: Callable[[Any, Callable[[], Any]], Any]) -> Iterator[None]:
    """While it lasts, ``model.forward`` goes through ``watch(arguments, call)``."""
    forward = model.forward
    kept = model.__dict__.get("forward")

    @functools.wraps(forward)
    def watched(*args: Any, **kwargs: Any) -> Any:
        return watch((args, kwargs), lambda: forward(*args, **kwargs))

    model.__dict__["forward"] = watched
    try:
        yield
    finally:
        del model.__dict__["forward"]
        if kept is not None:
            model.__dict__["forward"] = kept
