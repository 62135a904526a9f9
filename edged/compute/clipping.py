"""Clipping by the global norm when the parameters lie on several nodes, with the bits of ``clip_grad_norm_``.

torch takes the 2-norm of each gradient, then the 2-norm of these in the order of ``model.parameters()``. So every node
sends the norms of its own gradients (as 64-bit floats, which hold a float32 exactly), all put them in the program's
order, and all do the second half alike. A parameter without a gradient is left out, as torch does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch.utils._foreach_utils import _group_tensors_by_device_and_dtype

from edged.compute.program import Program
from edged.compute.tensors import DTYPES

_EPSILON = 1e-6
"""As in ``torch.nn.utils.clip_grads_with_norm_``."""


def gradient_norms(parameters: Mapping[int, torch.Tensor]) -> tuple[tuple[int, float], ...]:
    """``(index, 2-norm of the gradient)``, ascending; ``parameters`` by index in ``Program.state``."""
    indices = [index for index in sorted(parameters) if parameters[index].grad is not None]
    gradients = [gradient for index in indices if (gradient := parameters[index].grad) is not None]
    if not gradients:
        return ()
    with torch.no_grad():
        if gradients[0].device.type == "cuda":  # one kernel for all, as torch itself chooses there
            norms = list(torch._foreach_norm(gradients, 2.0))  # noqa: SLF001 -- torch's own path has no public name
        else:
            norms = [torch.linalg.vector_norm(gradient, 2.0) for gradient in gradients]
    return tuple(zip(indices, (float(norm) for norm in norms), strict=True))


def total_norm(program: Program, norms: Sequence[tuple[int, float]], device: torch.device) -> torch.Tensor:
    """The norm of all gradients, a tensor without dimensions. ``norms`` of all the program's parameters, in any order.

    Gradients of one dtype stand together. In which order the dtypes follow each other only torch's own grouping knows,
    so it is asked, with one empty tensor for each gradient.
    """
    if not norms:
        return torch.tensor(0.0, device=device)
    ordered = sorted(norms)
    stand_ins: list[torch.Tensor | None] = [
        torch.empty(0, dtype=DTYPES[program.state[index].dtype], device=device) for index, _ in ordered
    ]
    parts = [
        torch.tensor([ordered[place][1] for place in places], dtype=dtype, device=device)
        for (_, dtype), (_, places) in _group_tensors_by_device_and_dtype([stand_ins], with_indices=True).items()
    ]
    total: torch.Tensor = torch.linalg.vector_norm(torch.cat(parts), 2.0)
    return total


def clip(parameters: Iterable[torch.Tensor], limit: float, total: torch.Tensor) -> None:
    """Scale the gradients so that a global norm of ``total`` becomes at most ``limit``, in place."""
    with torch.no_grad():
        coefficient = torch.clamp(float(limit) / (total + _EPSILON), max=1.0)
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(coefficient.to(parameter.grad.device))
