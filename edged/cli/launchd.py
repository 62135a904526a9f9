"""A node as a service of macOS: an agent of the user, or a daemon of the device."""

from __future__ import annotations

import os
import plistlib
import re
from pathlib import Path

from edged.cli.services import STOP_SECONDS, Service, State, Step, output_of, put

LOG = "service.log"


class Launchd:
    """Writes property lists, and asks ``launchctl``."""

    def name(self, service: Service) -> str:
        """The label."""
        return service.name

    def path(self, service: Service) -> Path:
        """Where launchd looks."""
        folder = "/Library/LaunchDaemons" if service.system else "~/Library/LaunchAgents"
        return Path(folder).expanduser() / f"{self.name(service)}.plist"

    def text(self, service: Service) -> str:
        """The property list. ``Interactive``: without the limits that macOS puts on what works in the background."""
        log = str(service.home / LOG)
        document = {
            "Label": self.name(service),
            "ProgramArguments": list(service.command),
            "RunAtLoad": True,
            "KeepAlive": {"SuccessfulExit": False},
            "ExitTimeOut": STOP_SECONDS,
            "ProcessType": "Interactive",
            "SoftResourceLimits": {"NumberOfFiles": 4096, "Core": 0},
            "Umask": 0o077,
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
        if service.system:
            document["UserName"] = service.user
        return plistlib.dumps(document, sort_keys=False).decode()

    def is_for(self, service: Service, text: str) -> bool:
        """Whether the command names this home."""
        return bool(plistlib.loads(text.encode())["ProgramArguments"][-1] == str(service.home))

    def install(self, service: Service) -> list[Step]:
        """Write the property list, and start the service now and from now on."""
        ended = [service.step("launchctl", "bootout", self._target(service))] if self._print(service) else []
        return [
            Step(("mkdir", "-p", "-m", "700", str(service.home))),
            *put(service, self.path(service), self.text(service)),
            *ended,
            service.step("launchctl", "bootstrap", self._domain(service), str(self.path(service))),
        ]

    def uninstall(self, service: Service) -> list[Step]:
        """Let the node leave, and remove the property list."""
        ended = [service.step("launchctl", "bootout", self._target(service))] if self._print(service) else []
        return [*ended, service.step("rm", str(self.path(service)))]

    def state(self, service: Service) -> State:
        """What launchd knows."""
        printed = self._print(service)
        found = dict(re.findall(r"^\s*(state|runs) = (.+)$", printed, re.MULTILINE))
        state = found.get("state", "not loaded")
        runs = int(found.get("runs", "1")) if found.get("runs", "1").isdecimal() else 1
        starts = "at boot" if service.system else "at login, and ends with the logout"
        return State(state == "running", state, starts if printed else "by hand only", max(0, runs - 1), "")

    def problem(self, service: Service) -> str:
        """Whether launchd answers."""
        return "" if output_of("launchctl", "print", self._domain(service)) else "launchd does not answer here"

    def _print(self, service: Service) -> str:
        return output_of("launchctl", "print", self._target(service)) or ""

    def _target(self, service: Service) -> str:
        return f"{self._domain(service)}/{self.name(service)}"

    @staticmethod
    def _domain(service: Service) -> str:
        return "system" if service.system else f"gui/{os.getuid()}"
