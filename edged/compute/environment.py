"""Process-wide state of torch on which bits depend: set on the compute thread before it computes, and checked later.

The number of threads belongs to the thread that sets it, so all of this runs on the compute thread itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from edged.errors import BrokenInvariantError, ConfigError


@dataclass(frozen=True, slots=True)
class Environment:
    """What must hold.

    ``deterministic``: with several threads, or on an accelerator, some sums depend on luck otherwise.
    """

    threads: int
    deterministic: bool

    def apply(self) -> None:
        """Set everything, on the calling thread."""
        if self.deterministic:
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats itself only with this
        torch.set_num_threads(self.threads)
        torch.set_flush_denormal(False)
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
        torch.set_deterministic_debug_mode("warn" if self.deterministic else "default")  # its twin imports a compiler
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        torch.backends.cudnn.benchmark = False

    @contextmanager
    def held(self) -> Iterator[None]:
        """Apply it on the calling thread for a while, and put back what was there before."""
        threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
        precision = torch.get_float32_matmul_precision()
        strict = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
        filled = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
        benchmark, flushes = torch.backends.cudnn.benchmark, _flushes_denormals()
        self.apply()
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            torch.set_flush_denormal(flushes)
            torch.set_default_dtype(dtype)
            torch.set_float32_matmul_precision(precision)
            torch.use_deterministic_algorithms(strict[0], warn_only=strict[1])
            torch.utils.deterministic.fill_uninitialized_memory = filled  # type: ignore[attr-defined]
            torch.backends.cudnn.benchmark = benchmark

    def check(self) -> None:
        """Raise ``BrokenInvariantError`` if something in the process has changed what ``apply`` set."""
        found = {
            "threads": (torch.get_num_threads(), self.threads),
            "default dtype": (torch.get_default_dtype(), torch.float32),
            "matmul precision": (torch.get_float32_matmul_precision(), "highest"),
            "deterministic algorithms": (torch.are_deterministic_algorithms_enabled(), self.deterministic),
        }
        for name, (now, wanted) in found.items():
            if now != wanted:
                raise BrokenInvariantError(f"torch's {name} became {now}, it must stay {wanted} while a job runs")


def _flushes_denormals() -> bool:
    """Whether this thread takes numbers near 0 for 0; torch has no way to ask."""
    return float(torch.tensor([1e-310], dtype=torch.float64) + 0.0) == 0.0


def environment(device: torch.device, threads: int) -> Environment:
    """The environment of a node that computes on ``device`` with so many threads."""
    return Environment(threads, deterministic=threads > 1 or device.type != "cpu")


def pick_device(name: str) -> torch.device:
    """``auto`` is the best there is. Raises ``ConfigError`` for a device that this torch does not have here."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(kind for kind, there in available.items() if there)
    if name not in available:
        raise ConfigError(f"--device is auto, cpu, cuda or mps, not {name!r}")
    if not available[name]:
        raise ConfigError(f"--device {name}: this torch sees no such device here; use --device cpu")
    return torch.device(name, 0) if name == "cuda" else torch.device(name)


def free_memory(name: str) -> int | None:
    """Bytes that tensors of this process may take on the device called ``name`` (see ``pick_device``), now.

    What torch has reserved there counts as free. ``None`` where the device's memory is the system's.
    """
    device = pick_device(name)
    if device.type != "cuda":
        return None
    free, _ = torch.cuda.mem_get_info(device)
    return int(free) + torch.cuda.memory_reserved(device)
