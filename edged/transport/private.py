"""Files that only their owner may read, replaced in one atomic move and on the disk before the call returns."""

from __future__ import annotations

import os
from pathlib import Path

from edged.errors import ConfigError

CLUSTER_KEY_NAME = "cluster.key"
"""The file in a home with the cluster key's token."""


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` with mode 0600: temporary file, fsync, rename, fsync of the folder.

    A crash at any moment leaves the old file or the new one. Raises ``ConfigError`` if the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            os.fchmod(handle, 0o600)
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            os.fsync(handle)
        finally:
            os.close(handle)
        temporary.replace(path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as problem:
        raise ConfigError(
            f"cannot write {path}: {problem.strerror}; choose a writable folder with --home or free some space"
        ) from problem


def read_private(path: Path) -> bytes | None:
    """The file's bytes, or ``None`` where there is no such file. Tightens a mode that lets others read.

    Raises ``ConfigError`` if it exists and cannot be read.
    """
    try:
        data = path.read_bytes()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ConfigError(f"cannot read {path}: {problem.strerror}; make it readable for you (chmod 600)") from problem
    return data
