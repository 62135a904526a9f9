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
    "torch": ("compute/", "job.py", "data/digits_job.py", "data/templates/"),
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

MUTATING = {
    "add", "append", "appendleft", "clear", "discard", "extend", "insert", "move_to_end", "pop", "popitem", "popleft",
    "remove", "reverse", "setdefault", "sort", "update",
}  # fmt: skip

INERT_CALLS = {
    "Electorate", "JobId", "Kind", "Limits", "MappingProxyType", "NewType", "Path", "Prefix", "Struct", "TypeVar",
    "bytes", "chr", "frozenset", "object", "range", "re.compile", "str.maketrans", "struct.Struct", "torch.device",
    "tuple",
}  # fmt: skip
"""What a module may make when it is imported: values that never change (those of edged's own are frozen)."""

ALLOWED_STATE: dict[tuple[str, str], str] = {
    ("cli/keys.py", "app"): "typer collects commands in an object, at import only",
    ("cli/main.py", "app"): "the same",
    ("cli/node.py", "config_app"): "the same",
    ("cli/service.py", "app"): "the same",
    ("cli/main.py", "CommandLineError"): "a class, found in another's bases",
    ("compute/program_form.py", "_sizes"): "a function, made by another",
    ("telemetry/journal.py", "_field_names"): "names of a class's fields, which never change",
    ("compute/sampling.py", "_TURN"): "the random state is the process's, so is the lock around it",
}
"""(module, name): why it may be."""


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


def module_level(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Names that a module binds, also inside a top-level ``if``, ``try`` or ``with``, and to what."""
    bodies = [tree.body]
    while bodies:
        for node in bodies.pop():
            if isinstance(node, ast.Assign):
                yield from ((ast.unparse(target), node.value) for target in node.targets)
            elif isinstance(node, ast.AnnAssign) and node.value is not None:
                yield ast.unparse(node.target), node.value
            elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                bodies += [block for name in ("body", "orelse", "finalbody") if (block := getattr(node, name, None))]


def base_of(node: ast.expr) -> str:
    """The name at the root of ``NAME[...]`` or ``NAME.attribute``; empty where there is none."""
    while isinstance(node, ast.Subscript | ast.Attribute | ast.Starred):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def changed(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name on which something is changed in place: an item or attribute set or deleted, a mutating call."""
    for node in ast.walk(tree):
        targets: list[ast.expr] = []
        if isinstance(node, ast.Assign | ast.Delete):
            targets = node.targets
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            targets = [node.target]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATING:
            yield base_of(node.func.value), node.lineno
        yield from ((base_of(t), node.lineno) for t in targets if isinstance(t, ast.Subscript | ast.Attribute))


def is_inert(value: ast.expr) -> bool:
    """Whether a module may hold a value: nothing in it changes, or it is a table that nobody changes (see below)."""
    if isinstance(value, ast.Call):
        return ast.unparse(value.func) in INERT_CALLS
    return True


def is_table(value: ast.expr) -> bool:
    """A list, dict or set, written out or made by its type."""
    return isinstance(value, ast.List | ast.Dict | ast.Set | ast.ListComp | ast.DictComp | ast.SetComp) or (
        isinstance(value, ast.Call) and ast.unparse(value.func) in {"list", "dict", "set", "sorted"}
    )


def state_of(tree: ast.Module) -> list[str]:
    """What a module keeps that can change, or that looks as if it could."""
    found = [f"global (line {node.lineno})" for node in ast.walk(tree) if isinstance(node, ast.Global)]
    touched = dict(changed(tree))
    cached = {"functools.cache", "functools.lru_cache", "cache", "lru_cache"}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            decorators = [ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list]
            found += [f"{node.name}: remembers its answers" for name in decorators if name in cached]
    for name, value in module_level(tree):
        if name in touched and is_table(value):
            found.append(f"{name}: changed in line {touched[name]}")
        elif is_table(value) and not name.strip("_").isupper() and name != "__all__":
            found.append(f"{name}: a table that is not named as a constant")
        elif not is_table(value) and not is_inert(value):
            found.append(f"{name}: made by {ast.unparse(value.func)}")  # type: ignore[attr-defined]
    return found


@pytest.mark.parametrize("path", SOURCES, ids=relative)
def test_no_module_keeps_mutable_state(path: Path) -> None:
    where = relative(path)
    found = [text for text in state_of(parse(path)) if (where, text.partition(":")[0]) not in ALLOWED_STATE]
    assert not found


def test_every_exception_for_state_is_needed() -> None:
    kept = {(relative(path), text.partition(":")[0]) for path in SOURCES for text in state_of(parse(path))}
    assert set(ALLOWED_STATE) <= kept


@pytest.mark.parametrize(
    "source",
    [
        "seen = []",
        "_SEEN = {}\ndef f(x):\n    _SEEN[x] = 1",
        "SEEN = set()\ndef f(x):\n    SEEN.add(x)",
        "SEEN: dict[str, int] = {}\ndef f(x):\n    del SEEN[x]",
        "LOCK = threading.Lock()",
        "if True:\n    _QUEUE = deque()",
        "_STATE = State()",
        "COUNT = 0\ndef f():\n    global COUNT\n    COUNT += 1",
        "@functools.cache\ndef f(x):\n    return x",
        "TABLE = {1: []}\ndef f():\n    TABLE[1].append(2)",
    ],
)
def test_state_is_seen_where_it_is(source: str) -> None:
    assert state_of(ast.parse(source))


@pytest.mark.parametrize(
    "source", ["NAMES = {'a': 1}", "_A: Final = 3", "P = re.compile('x')", "__all__ = ['x']", "def f():\n    x = []"]
)
def test_constants_are_no_state(source: str) -> None:
    assert not state_of(ast.parse(source))


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
