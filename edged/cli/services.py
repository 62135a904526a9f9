"""A node as a service of the system: what it is called, what it runs, and the commands that set it up or take it away.

A step is a command and what it reads, so that what is shown beforehand is a script that a shell runs with the same
effect.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edged.errors import UserError

STOP_SECONDS = 180
"""A node that leaves waits while its layers move to others, and then for its disk; most are through by then.

systemd is asked for more where that is not enough, launchd and containers cannot be.
"""

END = "END-OF-FILE"


@dataclass(frozen=True, slots=True)
class Service:
    """The node of ``home`` as a service called ``name``, run by ``python`` as ``user``.

    ``system``: of the whole device, else of the user's own.
    """

    home: Path
    name: str
    system: bool
    user: str
    python: str

    @property
    def command(self) -> tuple[str, ...]:
        """What runs. ``-P``: a module that happens to lie in the working directory is none of edged's."""
        return (self.python, "-P", "-m", "edged", "join", "--unattended", "--home", str(self.home))

    def step(self, *command: str) -> Step:
        """A command that changes the service: by sudo, where that belongs to the whole device and this is not root."""
        return Step(("sudo", *command) if self.system and os.geteuid() else command)


@dataclass(frozen=True, slots=True)
class Step:
    """A command, and the text on its standard input (empty: none)."""

    command: tuple[str, ...]
    text: str = ""


@dataclass(frozen=True, slots=True)
class State:
    """How a service is, as the system tells. ``starts``: when it is started by itself; ``text``: its own words."""

    running: bool
    state: str
    starts: str
    restarts: int
    text: str


class System(Protocol):
    """What starts services on a device: systemd or launchd."""

    def name(self, service: Service) -> str:
        """What the system calls it."""

    def path(self, service: Service) -> Path:
        """Where its description lies."""

    def text(self, service: Service) -> str:
        """Its description."""

    def is_for(self, service: Service, text: str) -> bool:
        """Whether a description that was found is for the same home."""

    def install(self, service: Service) -> list[Step]:
        """What sets it up, or anew, and starts it."""

    def uninstall(self, service: Service) -> list[Step]:
        """What ends it and takes it away."""

    def state(self, service: Service) -> State:
        """How it is now."""

    def problem(self, service: Service) -> str:
        """Why no service can be set up here; empty if it can."""


def name_of(home: Path, default: Path) -> str:
    """``edged`` for the default home, else with the folder's name."""
    ending = re.sub(r"[^A-Za-z0-9_.-]+", "-", home.name).strip("-.")
    return "edged" if home == default else f"edged-{ending or 'node'}"


def put(service: Service, path: Path, text: str) -> list[Step]:
    """Write a file of the service."""
    written = service.step("tee", str(path))
    return [service.step("mkdir", "-p", str(path.parent)), Step(written.command, text)]


def script(steps: Iterable[Step]) -> str:
    """The steps as a shell script."""
    lines = []
    for step in steps:
        line = shlex.join(step.command)
        lines.append(f"{line} > /dev/null <<'{END}'\n{step.text}{END}" if step.text else line)
    return "\n".join(lines)


def perform(steps: Iterable[Step]) -> None:
    """Run one after the other. Raises ``UserError`` at the first that fails."""
    for step in steps:
        try:
            done = subprocess.run(  # noqa: S603 -- shown to the user before
                step.command,
                input=step.text or None,
                stdin=None if step.text else subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if step.text else None,
                text=True,
                check=False,
            )
            problem = f"ended with status {done.returncode}" if done.returncode else ""
        except OSError as error:
            problem = f"cannot be run: {error.strerror}"
        if problem:
            raise UserError(f"`{shlex.join(step.command)}` {problem}; the steps before it are done, mend it and repeat")


def output_of(*command: str) -> str | None:
    """What a command prints; ``None`` if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 -- our own words
    except OSError:
        return None
    return None if done.returncode else done.stdout
