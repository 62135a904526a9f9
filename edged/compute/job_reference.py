"""What the command line says of a job: ``JOB.py[:function]`` and ``--set KEY=VALUE``. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from edged.errors import JobError

DEFAULT_FUNCTION = "job"


def split(reference: str) -> tuple[Path, str]:
    """``"job.py:small"`` -> (absolute path of job.py, "small"); the function is ``job`` where none is named."""
    path, colon, function = reference.rpartition(":")
    if not colon or not function.isidentifier():
        path, function = reference, DEFAULT_FUNCTION
    return Path(path).expanduser().absolute(), function


def parse_overrides(items: list[str]) -> dict[str, str]:
    """``["epochs=3"]`` -> ``{"epochs": "3"}``. Raises ``JobError``."""
    overrides = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise JobError(f"--set takes key=value, for example --set epochs=3, not {item!r}")
        overrides[key.strip()] = value
    return overrides
