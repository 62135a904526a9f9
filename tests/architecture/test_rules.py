"""The rules of ARCHITECTURE.md that import-linter cannot say, read off the source."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2] / "edged"
SOURCES = sorted(ROOT.rglob("*.py"))

INERT = {
    "__future__", "abc", "bisect", "collections", "collections.abc", "dataclasses", "enum", "functools", "hashlib",
    "heapq", "itertools", "math", "operator", "random", "statistics", "types", "typing",
}  # fmt: skip
"""All that core, strategies and the pure half of replication may import besides edged itself."""

LAZY = {
    "edged.daemon",
    "edged.api",
    "edged.feeder",
    "edged.compute",
    "edged.strategies",
    "edged.job",
    "edged.cli",
    "edged.tui",
    "torch",
    "edged",
}
"""What may be imported inside a function: what is slow to import, so that ``edged --help`` stays quick."""

HOMES = {
    "torch": ("compute/", "job.py", "data/digits_job.py"),
    "zmq": ("transport/",),
    "zeroconf": ("transport/",),
    "uvloop": ("daemon.py",),
    "typer": ("cli/", "tui/"),
    "rich": ("cli/", "tui/"),
    "msgpack": ("transport/", "telemetry/", "replication/", "compute/program_form.py"),
    "safetensors": ("compute/", "replication/"),
}
"""Third-party packages and the only places that may import them."""

FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "torch.load",
    "torch.save",
    "torch.export.load",
    "pickle.loads",
    "pickle.load",
}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative import"
            yield node.module or "", node.lineno


@pytest.mark.parametrize("path", [p for p in SOURCES if relative(p).startswith(("core/", "strategies/"))], ids=relative)
def test_pure_rooms_import_only_what_is_inert(path: Path) -> None:
    strangers = [
        f"{name} (line {line})"
        for name, line in imported(parse(path))
        if name not in INERT and not name.startswith(("edged.core", "edged.strategies", "edged.errors"))
    ]
    assert not strangers


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_third_party_packages_stay_in_their_homes(path: Path) -> None:
    where = relative(path)
    astray = [
        f"{name} (line {line})"
        for name, line in imported(parse(path))
        if not where.startswith(HOMES.get(name.partition(".")[0], ("",)))
    ]
    assert not astray


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_imports_stand_at_the_top_except_what_brings_torch(path: Path) -> None:
    tree = parse(path)
    hidden = [
        f"{name} (line {line})"
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for name, line in imported(function)
        if not any(name == lazy or name.startswith(lazy + ".") for lazy in LAZY)
    ]
    assert not hidden


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_nothing_unpickles_or_runs_foreign_code(path: Path) -> None:
    tree = parse(path)
    assert not [name for name, _ in imported(tree) if name.partition(".")[0] in {"pickle", "marshal", "shelve", "dill"}]
    calls = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert not FORBIDDEN_CALLS.intersection(calls)


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(parse(path))


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_module_keeps_mutable_state(path: Path) -> None:
    globals_used = [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.Global)]
    assert not globals_used


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_broad_excepts_live_only_in_pump_and_executor(path: Path) -> None:
    if relative(path) in {"roles/pump.py", "compute/thread.py"}:
        pytest.skip("the two places where anything may happen")
    broad = [
        node.lineno
        for node in ast.walk(parse(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or ast.unparse(node.type) in {"Exception", "BaseException"})
        and not any(isinstance(sub, ast.Raise) for sub in ast.walk(node))
    ]
    assert not broad


def test_names_of_strategies_stay_in_strategies() -> None:
    """ "pipeline" is also an ordinary word, so only string literals count."""
    names = {"pipeline"}
    astray = [
        f"{relative(path)}:{node.lineno}"
        for path in SOURCES
        if not relative(path).startswith("strategies/")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not astray


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_files_can_be_read_at_one_sitting(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 420
