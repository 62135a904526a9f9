"""torch is tried by a child; what it shows, and how it ends, becomes a finding with a remedy."""

from __future__ import annotations

import os
import signal
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from edged.doctor import wheel
from edged.doctor.finding import Level
from edged.doctor.wheel import Board, TorchChild, TorchFacts, judge_python, judge_torch

PATIENCE_SECONDS = 240.0
"""Of a machine that has much else to do, with a process that imports torch."""

GOOD = TorchFacts("2.13.0", "2.13.0+cpu", "", usable=False, computed=True, seconds=2.0, status=0, error="")
DESK = Board("x86_64", 64, "", nvidia=False)
PI = Board("aarch64", 64, "Raspberry Pi 4 Model B Rev 1.4", nvidia=False)
JETSON = Board("aarch64", 64, "NVIDIA Jetson Orin Nano", nvidia=True)
DIED = replace(GOOD, installed="2.10.0", version="", computed=False, status=-signal.SIGILL)


def found(facts: TorchFacts, at: Board = DESK) -> list[tuple[str, Level]]:
    return [(each.id, each.level) for each in judge_torch(facts, at)]


def test_a_torch_that_works_is_in_order() -> None:
    assert found(GOOD) == [("torch", Level.OK)]


@pytest.mark.parametrize("version", ["", "2.10.0+cu128"])  # dies at the import, or when it computes
def test_the_trap_of_the_pi_is_named_with_its_remedy(version: str) -> None:
    (finding,) = judge_torch(replace(DIED, version=version), PI)
    assert (finding.id, finding.level) == ("torch-illegal-instruction", Level.PROBLEM)
    assert "torch 2.10.0 on a Pi 4" in finding.what
    assert "Raspberry Pi 4" in finding.what
    assert "!=2.10.*" in finding.remedy
    assert "/whl/cpu" in finding.remedy


def test_an_illegal_instruction_of_another_version_is_not_called_that_trap() -> None:
    (finding,) = judge_torch(replace(DIED, installed="2.13.0"), PI)
    assert finding.id == "torch-illegal-instruction"
    assert "2.10.0" not in finding.what
    assert "!=2.10.*,!=2.13.*" in finding.remedy


def test_a_processor_without_avx_is_not_told_to_install_the_same_again() -> None:
    (finding,) = judge_torch(replace(DIED, installed="2.13.0"), DESK)
    assert finding.id == "torch-illegal-instruction"
    assert "AVX" in finding.what
    assert "pip" not in finding.remedy
    assert "host-passthrough" in finding.remedy
    assert "cannot take part" in finding.remedy


@pytest.mark.parametrize(
    "facts",
    [
        DIED,
        replace(DIED, installed=""),
        replace(DIED, status=1, error="ImportError"),
        replace(GOOD, version="2.5.1"),
    ],
)
def test_with_a_gpu_nobody_is_sent_to_the_wheel_without_cuda(facts: TorchFacts) -> None:
    remedies = [
        next(each.remedy for each in judge_torch(facts, at) if each.level is Level.PROBLEM) for at in (DESK, JETSON)
    ]
    assert ["/whl/cpu" in remedy for remedy in remedies] == [True, False]
    assert ["your CUDA version" in remedy for remedy in remedies] == [False, True]


def test_a_cuda_wheel_without_a_gpu_and_a_gpu_without_its_wheel() -> None:
    (_, finding) = judge_torch(replace(GOOD, version="2.13.0+cu130", cuda="13.0"), PI)
    assert (finding.id, finding.level) == ("torch-cuda-wheel", Level.WARNING)
    assert "CUDA 13.0" in finding.what
    assert finding.remedy == "; ".join(wheel.CPU_WHEEL)
    assert found(GOOD, JETSON) == [("torch", Level.OK), ("torch-cuda-wheel", Level.NOTE)]
    assert found(replace(GOOD, cuda="12.6", usable=True), JETSON) == [("torch", Level.OK)]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (replace(GOOD, installed="", version="", computed=False, status=1, error="No module"), "torch-missing"),
        (replace(GOOD, version="", computed=False, status=1, error="ImportError: libopenblas.so.0"), "torch-broken"),
        (replace(GOOD, version="", computed=False, status=-signal.SIGKILL), "torch-broken"),
        (replace(GOOD, computed=False, status=-signal.SIGSEGV), "torch-broken"),
        (replace(GOOD, version="", computed=False, status=None, seconds=30.0), "torch-slow"),
        (replace(GOOD, version="2.5.1"), "torch-version"),
        (replace(GOOD, version="2.10.1+cpu"), "torch-version"),
        (replace(GOOD, seconds=11.0), "torch-slow"),
    ],
)
def test_each_way_to_fail_has_its_id(facts: TorchFacts, expected: str) -> None:
    assert judge_torch(facts, DESK)[-1].id == expected
    if facts.error.startswith("ImportError"):
        assert "libopenblas" in judge_torch(facts, DESK)[-1].what


@pytest.mark.parametrize(
    ("device", "changes", "fails"),
    [
        ("auto", {}, False),
        ("cpu", {}, False),
        ("cuda", {}, True),
        ("cuda", {"cuda": "12.6", "usable": True}, False),
        ("mps", {}, True),
        ("mps", {"metal": True}, False),
    ],
)
def test_a_device_that_torch_cannot_use_is_a_problem(device: str, changes: dict, fails: bool) -> None:
    ids = [each.id for each in judge_torch(replace(GOOD, **changes), JETSON, device) if each.level is Level.PROBLEM]
    assert ids == ["device"] * fails


def test_the_page_of_traps_has_the_same_lines() -> None:
    page = (Path(__file__).parents[2] / "docs" / "deployment.md").read_text(encoding="utf-8")
    assert "\n".join(wheel.CPU_WHEEL) in page


def test_python_and_its_bits() -> None:
    assert judge_python((3, 11, 0), DESK).level is Level.OK
    assert judge_python((3, 10, 9), DESK).level is Level.PROBLEM
    finding = judge_python((3, 12, 0), replace(PI, bits=32))
    assert finding.level is Level.PROBLEM
    assert "64-bit" in finding.remedy


def test_the_versions_are_those_of_the_package() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    least, broken = wheel.LEAST_TORCH, wheel.BROKEN_TORCH[0]
    asked = f"torch>={least[0]}.{least[1]},!={broken[0]}.{broken[1]}.*"
    assert asked in project["dependencies"]
    assert asked in wheel.FITTING
    assert project["requires-python"] == f">={wheel.LEAST_PYTHON[0]}.{wheel.LEAST_PYTHON[1]}"


def child(code: str) -> TorchFacts:
    return TorchChild((sys.executable, "-c", code)).facts(PATIENCE_SECONDS)


def test_the_child_imports_torch_and_computes() -> None:
    facts = TorchChild().facts(PATIENCE_SECONDS)
    assert (facts.status, facts.computed) == (0, True)
    assert facts.version.startswith(facts.installed.partition("+")[0])
    assert facts.seconds > 0
    assert "torch" not in judge_torch(facts, DESK)[0].remedy


def test_a_child_that_dies_of_a_signal_or_fails_is_told_from_one_that_works() -> None:
    shown = "print('[\"2.10.0\", null, false, false]', flush=True)\n"
    at_import = child(f"import os, signal\nos.kill(os.getpid(), {int(signal.SIGILL)})")
    assert (at_import.status, at_import.version) == (-signal.SIGILL, "")
    computing = child(f"import os, signal\n{shown}os.kill(os.getpid(), {int(signal.SIGILL)})")
    assert (computing.status, computing.version, computing.computed) == (-signal.SIGILL, "2.10.0", False)
    failing = child("raise ImportError('libcudart')")
    assert (failing.status, failing.error) == (1, "ImportError: libcudart")


def test_a_child_that_does_not_end_is_ended() -> None:
    facts = TorchChild((sys.executable, "-c", "import time; time.sleep(600)")).facts(patience=0.5)
    assert facts.status is None
    assert judge_torch(facts, DESK)[0].id == "torch-slow"


def test_the_folder_that_the_command_is_typed_in_does_not_matter(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    assert TorchChild().facts(PATIENCE_SECONDS).status == 0


def test_this_machine_has_an_architecture() -> None:
    assert wheel.board().bits in {32, 64}


def test_the_child_is_not_given_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGED_KEY", "secret-token")
    code = "import os, sys; sys.exit(7 if 'EDGED_KEY' in os.environ else 0)"
    assert TorchChild((sys.executable, "-c", code)).facts(PATIENCE_SECONDS).status == 0
