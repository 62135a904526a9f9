"""What the command line says of a job: ``JOB.py[:function]`` and ``--set KEY=VALUE``. Needs no torch."""

from __future__ import annotations

from pathlib import Path

from edged.errors import ConfigError

DEFAULT_FUNCTION = "job"


def split(reference: str) -> tuple[Path, str]:
    """``"job.py:small"`` -> (absolute path of job.py, "small"); the function is ``job`` where none is named."""
    path, colon, function = reference.rpartition(":")
    if not colon or not function.isidentifier():
        path, function = reference, DEFAULT_FUNCTION
    return Path(path).expanduser().absolute(), function


def check_there(path: Path) -> None:
    """Raise ``ConfigError`` if there is no such file."""
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name the job file in it, for example {path / 'job.py'}")
    if not path.is_file():
        raise ConfigError(f"there is no job file {path}: is the path right?")


def parse_overrides(items: list[str]) -> dict[str, str]:
    """``["epochs=3"]`` -> ``{"epochs": "3"}``. Raises ``ConfigError``."""
    overrides = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set takes key=value, for example --set epochs=3, not {item!r}")
        overrides[key.strip()] = value
    return overrides
