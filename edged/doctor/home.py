"""The home: its disk, its files, the key in it, and the options."""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from edged.config import OPTIONS, Settings, resolve, settings
from edged.doctor.amounts import size
from edged.doctor.finding import Finding, Level
from edged.errors import ConfigError
from edged.transport.identity import FILE_NAME as IDENTITY_NAME
from edged.transport.private import CLUSTER_KEY_NAME
from edged.transport.security import parse_token

FULL_BYTES, SCARCE_BYTES = 10**8, 2 * 10**9
FORGETFUL = frozenset({"tmpfs", "ramfs", "overlay"})
FOREIGN = frozenset({"nfs", "nfs4", "cifs", "smbfs", "smb3", "vfat", "exfat", "msdos", "fuse.sshfs", "9p"})
OTHER_VARIABLES = frozenset({"EDGED_HOME", "EDGED_DEBUG"})
SECRET = (CLUSTER_KEY_NAME, IDENTITY_NAME)


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The folder that was looked at (the home, or the nearest one that exists above it), and the disk below it."""

    folder: Path
    free: int
    total: int
    writable: bool
    kind: str


@dataclass(frozen=True, slots=True)
class HomeFacts:
    """``mode`` and ``owner`` of the folder, ``None`` where there is no home yet.

    ``loose``: secret files that others may read. ``strange``: files of another user. ``key``: why the key in the home
    is none; empty if it is sound, ``None`` if there is none. ``given``: why the key that was given is none; else empty.
    """

    home: Path
    mode: int | None
    loose: tuple[str, ...]
    strange: tuple[str, ...]
    key: str | None
    given: str = ""


def measure_disk(home: Path) -> DiskFacts:
    """Where the home lies or would lie. A file is made and removed in a home that exists."""
    folder = next(each for each in (home, *home.parents) if each.is_dir())
    usage = shutil.disk_usage(folder)
    return DiskFacts(folder, usage.free, usage.total, _writable(folder, tries=folder == home), _kind(folder))


def _writable(folder: Path, *, tries: bool) -> bool:
    if not tries:
        return os.access(folder, os.W_OK | os.X_OK)
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def _kind(folder: Path) -> str:
    """The file system's name; empty where the system does not tell."""
    mounts = {Path(each.mountpoint): each.fstype for each in psutil.disk_partitions(all=True)}
    place = folder.resolve()
    return next((mounts[each] for each in (place, *place.parents) if each in mounts), "")


def judge_disk(facts: DiskFacts) -> list[Finding]:
    """Whether the home has room, and keeps what is written."""
    where = shlex.quote(str(facts.folder))
    what = f"{size(facts.free)} of {size(facts.total)} free, {facts.folder}"
    room = f"remove what you do not need (`du -sh {where}/*`), or another folder: `edged join --home DIR`"
    if not facts.writable:
        what = f"{facts.folder} cannot be written"
        return [Finding("disk", Level.PROBLEM, what, f"sudo chown -R $(id -un) {where}, or `edged join --home DIR`")]
    if facts.free < SCARCE_BYTES:
        level = Level.PROBLEM if facts.free < FULL_BYTES else Level.WARNING
        findings = [Finding("disk", level, what, room)]
    else:
        findings = [Finding("disk", Level.OK, what)]
    other = "a folder on a disk of this device: `edged join --home DIR`"
    if facts.kind in FORGETFUL:
        text = f"{facts.folder} lies on {facts.kind}, which a restart of the device or container may empty"
        findings.append(Finding("file-system", Level.NOTE, text, other))
    elif facts.kind in FOREIGN:
        text = f"{facts.folder} lies on {facts.kind}, where modes and locks may not work"
        findings.append(Finding("file-system", Level.WARNING, text, other))
    return findings


def measure_home(home: Path, given: str = "") -> HomeFacts:
    """Look at the home without changing anything in it, and at the key that was ``given``, if one was."""
    wrong = _wrong(given) if given else ""
    if not home.is_dir():
        return HomeFacts(home, None, (), (), None, wrong)
    me = os.geteuid()
    files = [path for path in home.iterdir() if not path.is_symlink()]
    return HomeFacts(
        home=home,
        mode=home.stat().st_mode & 0o777,
        loose=tuple(name for name in SECRET if (home / name).exists() and (home / name).stat().st_mode & 0o077),
        strange=tuple(sorted(path.name for path in files if path.stat().st_uid != me)),
        key=_key(home / CLUSTER_KEY_NAME),
        given=wrong,
    )


def _key(path: Path) -> str | None:
    try:
        return _wrong(path.read_text(encoding="ascii"))
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as problem:
        return str(problem)


def _wrong(token: str) -> str:
    """Why a token is none; empty if it is sound."""
    try:
        parse_token(token)
    except ConfigError as problem:
        return str(problem)
    return ""


def judge_home(facts: HomeFacts) -> list[Finding]:
    """Whether the home belongs to its user, and to nobody else."""
    if facts.mode is None:
        none = Finding("home", Level.NOTE, f"there is no home at {facts.home} yet: `edged join` makes it")
        return [none, *([_judge_key(facts)] if facts.given else [])]
    where = shlex.quote(str(facts.home))
    findings = [Finding("home", Level.OK, str(facts.home))]
    if facts.strange:
        what = f"of another user: {', '.join(facts.strange[:4])} (was `edged` typed with sudo once?)"
        findings = [Finding("home", Level.PROBLEM, what, f"sudo chown -R $(id -un) {where}")]
    if facts.loose:
        paths = " ".join(shlex.quote(str(facts.home / name)) for name in facts.loose)
        what = f"others on this device may read {' and '.join(facts.loose)}"
        findings.append(Finding("home-permissions", Level.PROBLEM, what, f"chmod 600 {paths}"))
    elif facts.mode & 0o022:
        what = f"others on this device may write into {facts.home}"
        findings.append(Finding("home-permissions", Level.PROBLEM, what, f"chmod 700 {where}"))
    else:
        findings.append(Finding("home-permissions", Level.OK, "the key and the identity are for this user's eyes only"))
    return [*findings, _judge_key(facts)]


def _judge_key(facts: HomeFacts) -> Finding:
    """The key that a node would use: the one that was given goes before that of the home."""
    renewed = "edged key join-command, on another device, prints the line to type here"
    if facts.given:
        what = f"what was given as the key (--key, --key-file or EDGED_KEY) is none: {facts.given}"
        return Finding("key", Level.PROBLEM, what, renewed)
    if facts.key:
        return Finding("key", Level.PROBLEM, f"{CLUSTER_KEY_NAME} holds no key: {facts.key}", renewed)
    if facts.key is None:
        return Finding("key", Level.NOTE, "there is no key yet: `edged join` makes one, or takes --key")
    return Finding("key", Level.OK, f"in {facts.home / CLUSTER_KEY_NAME}")


def read_options(
    home: Path, flags: Mapping[str, Any], environment: Mapping[str, str]
) -> tuple[Settings | None, list[Finding]]:
    """The options that a node would start with, and what is to be said of them; ``None`` if it would not start."""
    known = {option.variable for option in OPTIONS} | OTHER_VARIABLES
    unknown = sorted(name for name in environment if name.startswith("EDGED_") and name not in known)
    findings: list[Finding] = []
    chosen = None
    try:
        chosen = settings(home, flags, environment)
        set_by = [f"{s.option.name} ({s.origin})" for s in resolve(home, flags, environment) if s.origin != "default"]
        what = f"set: {', '.join(set_by)}" if set_by else "everything as it is by default"
        findings.append(Finding("config", Level.OK, what))
    except ConfigError as problem:
        findings.append(Finding("config", Level.PROBLEM, str(problem), "mend that; `edged config show` shows the rest"))
    if unknown:
        what = f"no option is set by {', '.join(unknown)}"
        findings.append(
            Finding("config-variable", Level.WARNING, what, f"unset {' '.join(unknown)}; see edged join -h")
        )
    return chosen, findings
