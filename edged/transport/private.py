"""Files that only their owner may read, and folders that only their owner may change.

Files are replaced in one atomic move and are on the disk before the call returns. What is found with more rights than
it should have is mended where that is safe, with words; where it is not, or belongs to somebody else, it is refused.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path

from edged.errors import ConfigError
from edged.telemetry.logs import topic_logger

CLUSTER_KEY_NAME = "cluster.key"
"""The file in a home with the cluster key's token."""

SUPERUSER = 0
PIECE_BYTES = 1 << 16


def private_folder(path: Path) -> None:
    """Make a folder for this user alone; in one that is there, see to it that nobody else can add or replace files.

    Others' right to write is taken away from a folder of this user. Raises ``ConfigError`` for one of another user, for
    one that everybody writes into by design (``/tmp``), and where it cannot be made.
    """
    try:
        if not path.is_dir():
            path.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.chmod(0o700)  # the umask may have taken away the owner's own rights
        found = path.stat()
        loose = found.st_mode & 0o022
        if not _is_mine(found) or (loose and (found.st_mode & stat.S_ISVTX or not _can_mend(found))):
            raise ConfigError(
                f"{path} belongs to another user, or others may write into it; choose a folder of your own with --home"
            )
        if loose:
            path.chmod(stat.S_IMODE(found.st_mode) & ~0o022)
            topic_logger("home").warning(
                "others on this device could write into %s, and so take this node over; only you can now. Was anything "
                "changed there? `edged doctor` looks, `chmod 700 %s` keeps others from looking in",
                path,
                shlex.quote(str(path)),
            )
    except OSError as problem:
        raise ConfigError(f"cannot use the folder {path}: {problem.strerror}; choose another --home") from problem


def write_private(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` with mode 0600: temporary file, fsync, rename, fsync of the folder.

    A crash at any moment leaves the old file or the new one. Where a link stands there, the file takes its place; what
    it leads to is not touched. Raises ``ConfigError`` if the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.unlink(missing_ok=True)  # of a process with the same number, or somebody's link
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
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
    """The file's bytes, or ``None`` where there is no such file. Takes away a mode that lets others read, and says so.

    Raises ``ConfigError`` if it exists and cannot be read, or if it is another user's, who could change it at will.
    """
    return _read(path, _mend)


def look_at_private(path: Path) -> bytes | None:
    """As ``read_private``, but changing nothing."""
    return _read(path, _check)


def _read(path: Path, examine: Callable[[Path, int], object]) -> bytes | None:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # never waiting for the other end of a pipe
        try:
            examine(path, handle)
            return b"".join(iter(partial(os.read, handle, PIECE_BYTES), b""))
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ConfigError(f"cannot read {path}: {problem.strerror}; make it readable for you (chmod 600)") from problem


def _check(path: Path, handle: int) -> os.stat_result:
    """What an open file is. Raises ``ConfigError`` where it is not this user's, or no file."""
    found = os.fstat(handle)
    if not stat.S_ISREG(found.st_mode):
        raise ConfigError(f"{path} is no file; move it away")
    if not _is_mine(found):
        where = shlex.quote(str(path))
        raise ConfigError(f"{path} belongs to another user, who can change it; `sudo chown $(id -un) {where}`")
    return found


def _mend(path: Path, handle: int) -> None:
    """Leave an open file to its owner alone."""
    found = _check(path, handle)
    if found.st_mode & 0o077:
        os.fchmod(handle, 0o600)
        topic_logger("home").warning(
            "%s had mode %o: others on this device could read or change it, from now on only you can. If somebody may "
            "have, `edged key rotate` gives the cluster a new key",
            path,
            stat.S_IMODE(found.st_mode),
        )


def _is_mine(found: os.stat_result) -> bool:
    """Whether only this user, or who may do anything anyway, decides what is in there."""
    return found.st_uid in {os.geteuid(), SUPERUSER} or os.geteuid() == SUPERUSER


def _can_mend(found: os.stat_result) -> bool:
    return os.geteuid() in {found.st_uid, SUPERUSER}
