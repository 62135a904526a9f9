"""The command, in this process or in one of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edged.cli.main import run

JOBS = Path(__file__).with_name("sample_jobs.py")
PATIENCE_SECONDS = 200.0


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    status: int
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines; raises if anything else is among them."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def object(self) -> dict[str, Any]:
        (only,) = self.objects
        return only

    def refuses(self, status: int, *words: str) -> bool:
        """Whether this is a refusal as promised: its status, nothing on stdout, one last line that holds the words."""
        line = self.err.splitlines()[-1]
        assert self.status == status, self
        assert "Traceback" not in self.err, self.err
        assert line.startswith("edged: "), line
        assert all(word in line for word in words), line
        return True


def edged(*arguments: object, home: Path | None = None) -> Outcome:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = run(_with_home(arguments, home))
    return Outcome(status, out.getvalue(), err.getvalue())


def edged_process(
    *arguments: object, home: Path | None = None, cwd: Path | None = None, patience: float = 300.0, **variables: str
) -> Outcome:
    """Run a command in a process of its own and wait for its end."""
    done = subprocess.run(
        [sys.executable, "-m", "edged", *_with_home(arguments, home)],
        capture_output=True,
        text=True,
        timeout=patience,
        check=False,
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1", "EDGED_THREADS": "1", **variables},
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def wait_until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in time")


def with_constant(module: str, name: str, value: float) -> list[str]:
    """Arguments of Python that make it ``edged`` with another value of a constant: more time, on a busy machine."""
    start = "from edged.cli.main import run; sys.exit(run(sys.argv[1:]))"
    return ["-c", f"import sys, {module}; {module}.{name} = {value}; {start}"]


def _with_home(arguments: tuple[object, ...], home: Path | None) -> list[str]:
    return [*map(str, arguments), *(["--home", str(home)] if home is not None else [])]
