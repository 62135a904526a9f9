"""Python and torch. torch is imported by a child process, for an unfit wheel kills the process that imports it."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.doctor.finding import Finding, Level

LEAST_PYTHON = (3, 11)
LEAST_TORCH = (2, 6)
BROKEN_TORCH = ((2, 10),)
"""As in pyproject.toml."""

PATIENCE_SECONDS = 30.0
SLOW_SECONDS = 10.0
FITTING = "torch>=2.6,!=2.10.*"
CPU_INDEX = "--index-url https://download.pytorch.org/whl/cpu"
CUDA_PACKAGES = "pip list --format=freeze | grep -E '^(nvidia|cuda)' | cut -d= -f1"
CPU_WHEEL = (
    f"pip uninstall -y torch triton && {CUDA_PACKAGES} | xargs pip uninstall -y",
    f"pip install torch {CPU_INDEX}",
)
"""In the place of a wheel for CUDA, whose libraries are packages of their own and would stay."""

CUDA_WHEEL = "the wheel for your CUDA version (https://pytorch.org/get-started; on a Jetson, NVIDIA's own)"
HOST_PROCESSOR = (
    "in a virtual machine, give it the processor of its host (host-passthrough); else this device cannot take part"
)
ARM = frozenset({"aarch64", "arm64"})

CHILD = """
import json, time
begun = time.monotonic()
import torch
metal = torch.backends.mps.is_available()
print(json.dumps([torch.__version__, torch.version.cuda, torch.cuda.is_available(), metal]), flush=True)
weight = torch.ones(64, 64, requires_grad=True)
torch.nn.functional.conv1d(torch.tanh(torch.ones(8, 64) @ weight)[None], torch.ones(8, 8, 3)).sum().backward()
print(time.monotonic() - begun, flush=True)
"""
"""Imports, then computes a little: an unfit wheel may import and die at the first product of matrices."""


@dataclass(frozen=True, slots=True)
class Board:
    """The machine: its architecture, bits, the model that a small board names, whether it has an NVIDIA GPU."""

    machine: str
    bits: int
    model: str
    nvidia: bool


@dataclass(frozen=True, slots=True)
class TorchFacts:
    """What the child process has shown. Texts are empty, and numbers zero, where it did not come so far.

    ``installed``: version by the package's own data. ``cuda``: the version that the wheel was made for. ``usable``:
    whether torch can use a GPU by CUDA; ``metal``: one by Apple's Metal (MPS). ``status``: as the process ended, -n by
    signal n; ``None``: it was still at it when the patience was over. ``seconds``: for what it has done, its own start
    aside.
    """

    installed: str
    version: str
    cuda: str
    usable: bool
    computed: bool
    seconds: float
    status: int | None
    error: str
    metal: bool = False


class TorchChild:
    """The child process: begun early, as it takes longest."""

    def __init__(self, python: Sequence[str] = (sys.executable, "-P", "-c", CHILD)) -> None:
        """Start it; the folder that the command is typed in is none of its business, nor is the cluster key."""
        environment = {name: value for name, value in os.environ.items() if name != "EDGED_KEY"}
        self._begun = time.monotonic()
        self._process = subprocess.Popen(  # noqa: S603 -- this very interpreter
            python,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )

    def facts(self, patience: float = PATIENCE_SECONDS) -> TorchFacts:
        """Wait for its end, and say what it has shown."""
        status: int | None
        try:
            out, err = self._process.communicate(timeout=max(0.0, self._begun + patience - time.monotonic()))
            status = self._process.returncode
        except subprocess.TimeoutExpired:
            self._process.kill()
            out, err = self._process.communicate()
            status = None
        seconds = time.monotonic() - self._begun
        shown = out.splitlines()
        version, cuda, usable, metal = json.loads(shown[0]) if shown else ("", "", False, False)
        seconds = float(shown[1]) if shown[1:] else seconds
        last = err.strip().splitlines()[-1:] or [""]
        return TorchFacts(_installed(), version, cuda or "", usable, bool(shown[1:]), seconds, status, last[0], metal)


def board() -> Board:
    """This machine."""
    model = Path("/proc/device-tree/model")
    name = model.read_text(encoding="utf-8", errors="replace").strip("\0\n ") if model.exists() else ""
    signs = ("/proc/driver/nvidia", "/dev/nvidia0", "/dev/nvhost-gpu", "/etc/nv_tegra_release", "/dev/dxg")
    bits = 64 if sys.maxsize > 1 << 32 else 32
    return Board(platform.machine(), bits, name, any(Path(sign).exists() for sign in signs))


def judge_python(version: tuple[int, int, int], at: Board) -> Finding:
    """Whether this Python will do."""
    text = f"Python {'.'.join(map(str, version))}, {at.bits} bits, on {at.model or at.machine}"
    if version[:2] < LEAST_PYTHON:
        return Finding("python", Level.PROBLEM, text, "install Python 3.11 or newer, and edged with it")
    if at.bits < 64:  # noqa: PLR2004 -- bits
        return Finding("python", Level.PROBLEM, text, "install the system's 64-bit version: torch has no 32-bit wheel")
    return Finding("python", Level.OK, text)


def judge_torch(facts: TorchFacts, at: Board, device: str = "auto") -> list[Finding]:
    """What the child process has shown of torch. ``device``: as the option says."""
    broken = _broken(facts, at)
    if broken is not None:
        return [broken]
    took = f"torch {facts.version}: imported and tried out in {facts.seconds:.1f} s"
    findings = [Finding("torch", Level.OK, took)]
    number = _number(facts.version)
    if number < LEAST_TORCH or number in BROKEN_TORCH:
        findings.append(Finding("torch-version", Level.PROBLEM, f"torch {facts.version} is installed", _mended(at)))
    if facts.cuda and not facts.usable and not at.nvidia:
        what = f"the wheel is made for CUDA {facts.cuda}, and this device has no NVIDIA GPU"
        findings.append(Finding("torch-cuda-wheel", Level.WARNING, what, "; ".join(CPU_WHEEL)))
    if at.nvidia and not facts.usable:
        what = "this device has an NVIDIA GPU, and this torch cannot use it"
        findings.append(Finding("torch-cuda-wheel", Level.NOTE, what, f"install {CUDA_WHEEL}"))
    if (device, False) in {("cuda", facts.usable), ("mps", facts.metal)}:
        what = f"the options say --device {device}, which this torch cannot use here: a node would not start"
        findings.append(Finding("device", Level.PROBLEM, what, "edged join --device auto"))
    if facts.seconds > SLOW_SECONDS:
        what = f"importing torch took {facts.seconds:.0f} s"
        findings.append(Finding("torch-slow", Level.NOTE, what, "a faster card or disk for the Python environment"))
    return findings


def _broken(facts: TorchFacts, at: Board) -> Finding | None:
    """Why torch cannot be used at all; ``None`` if it can."""
    version = facts.version or facts.installed
    when = "computes" if facts.version else "is imported"
    if facts.status == 0 and facts.computed:
        return None
    if facts.status is None:
        what = f"torch {version} was not ready after {facts.seconds:.0f} s"
        return Finding("torch-slow", Level.WARNING, what, "see what else the device does (`top`), then try again")
    if not version:
        return Finding("torch-missing", Level.PROBLEM, "torch is not installed", f"pip install {_fitting(at)}")
    if facts.status == -signal.SIGILL:
        return _illegal_instruction(version, when, at)
    if facts.status < 0:
        name = signal.Signals(-facts.status).name
        what = f"torch {version} ends with {name} when it {when}"
        if facts.status == -signal.SIGKILL:
            return Finding("torch-broken", Level.PROBLEM, f"{what}: out of memory, it seems", "close other programs")
        return Finding("torch-broken", Level.PROBLEM, what, _mended(at))
    return Finding("torch-broken", Level.PROBLEM, f"torch {version} fails when it {when}: {facts.error}", _mended(at))


def _illegal_instruction(version: str, when: str, at: Board) -> Finding:
    """A wheel for newer processors: of ARM some versions are, of x86 all are for such with AVX."""
    what = f"torch {version} ends with an illegal instruction when it {when}"
    number = _number(version)
    if number in BROKEN_TORCH:
        what += ": torch 2.10.0 on a Pi 4 is known for this" + (f" (this is a {at.model})" if at.model else "")
        remedy = _mended(at)
    elif at.machine in ARM:
        remedy = _mended(at, f",!={number[0]}.{number[1]}.*")
    else:
        what, remedy = f"{what}: the processor lacks AVX, it seems", HOST_PROCESSOR
    return Finding("torch-illegal-instruction", Level.PROBLEM, what, remedy)


def _mended(at: Board, unlike: str = "") -> str:
    return f"pip install --force-reinstall {_fitting(at, unlike)}"


def _fitting(at: Board, unlike: str = "") -> str:
    """What pip is to install on this machine; ``unlike``: which versions it must not take, besides those known."""
    wanted = f'"{FITTING}{unlike}"'
    return f"{wanted}, of {CUDA_WHEEL}" if at.nvidia else f"{wanted} {CPU_INDEX}"


def _installed() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""


def _number(version: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
