"""The home's lock: one node per home. Held as long as the process lives, however it ends.

Whoever has it may say why it ends.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edged.errors import ConfigError
from edged.roles.ending import forget_end, note_end
from edged.transport.private import private_folder


class HomeLock:
    """An exclusive lock on ``home/node.lock``, which also names the process that holds it."""

    def __init__(self, home: Path) -> None:
        """Take the lock. Raises ``ConfigError`` naming the process that has it, or a folder that cannot be used."""
        path = home / "node.lock"
        try:
            private_folder(home)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}; choose another --home") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._file, 32).decode(errors="replace").strip() or "unknown"
            os.close(self._file)
            raise ConfigError(
                f"a node already runs in {home} (process {holder}); give a second node its own --home"
            ) from error
        os.truncate(self._file, 0)
        os.write(self._file, f"{os.getpid()}\n".encode())
        self._home = home
        forget_end(home)

    def ends(self, why: str) -> None:
        """Leave word of what ends this node, for those who ask when it is gone."""
        note_end(self._home, why)

    def release(self) -> None:
        """Give the lock back."""
        os.close(self._file)
