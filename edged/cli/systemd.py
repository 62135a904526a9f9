"""A node as a service of systemd, the system's or the user's own."""

from __future__ import annotations

import os
import re
from pathlib import Path

from edged.cli.services import STOP_SECONDS, Service, State, Step, output_of, put
from edged.telemetry.paths import local_socket_path

WATCHDOG_SECONDS = 60
START_SECONDS = 120
ABORT_SECONDS = 10
TEMPORARY = ("/tmp", "/var/tmp")  # noqa: S108 - PrivateTmp= hides these two
NEEDS_NO_QUOTES = re.compile(r"[\w@%+=:,./-]+", re.ASCII)

HARDENING = """\
UMask=0077
NoNewPrivileges=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectSystem=strict
"""
"""What both kinds of units take. AF_NETLINK tells which addresses this device has.

Left out on purpose: ``MemoryDenyWriteExecute`` (torch writes code while it runs), ``PrivateDevices`` and
``ProtectClock`` (they hide GPUs), ``ProtectHome`` (job files and data lie in homes).
"""

SYSTEM_HARDENING = """\
CapabilityBoundingSet=
ProtectKernelModules=yes
ProtectKernelLogs=yes
"""
"""What a user's own units must not ask for: it takes a capability that they have not."""


class Systemd:
    """Writes units, and asks ``systemctl``."""

    def name(self, service: Service) -> str:
        """The unit."""
        return f"{service.name}.service"

    def path(self, service: Service) -> Path:
        """Where units lie that were written by hand."""
        if service.system:
            return Path("/etc/systemd/system") / self.name(service)
        settings = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
        return Path(settings).expanduser() / "systemd" / "user" / self.name(service)

    def text(self, service: Service) -> str:
        """The unit's text."""
        network = "Wants=network-online.target\nAfter=network-online.target\n" if service.system else ""
        user = f"User={service.user}\n" if service.system else ""
        more = SYSTEM_HARDENING if service.system else ""
        return f"""\
# Written by `edged service install`. Options of the node belong into config.toml in its home.
[Unit]
Description=edged node in {str(service.home).replace("%", "%%")}
{network}StartLimitIntervalSec=600
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
{user}ExecStart={" ".join(quoted(word, in_command=True) for word in service.command)}
TimeoutStartSec={START_SECONDS}
WatchdogSec={WATCHDOG_SECONDS}
Restart=on-failure
RestartSec=5
# Status 4: the cluster refused the key; trying again does not help.
RestartPreventExitStatus=4
# SIGTERM, to the node alone, lets it leave gracefully: its layers move first.
KillMode=mixed
# The node asks for more time as long as it works on leaving.
TimeoutStopSec={STOP_SECONDS}
# A node that hangs is killed so long after it was told to end.
TimeoutAbortSec={ABORT_SECONDS}
# A process that draws samples and takes too much memory is started again by the node.
OOMPolicy=continue
LimitNOFILE=4096
# A core dump would hold the cluster key.
LimitCORE=0
{HARDENING}{_folders(service)}{more}
[Install]
WantedBy={"multi-user" if service.system else "default"}.target
"""

    def is_for(self, service: Service, text: str) -> bool:
        """Whether the unit's command names this home."""
        return f" --home {quoted(str(service.home), in_command=True)}\n" in text

    def install(self, service: Service) -> list[Step]:
        """Write the unit, start it now and from now on; a user's own also where the user is not logged in."""
        unit = self.name(service)
        steps = [Step(("mkdir", "-p", "-m", "700", str(service.home)))]
        steps += put(service, self.path(service), self.text(service))
        steps += [
            service.step(*_systemctl(service), "daemon-reload"),
            service.step(*_systemctl(service), "enable", unit),
            service.step(*_systemctl(service), "restart", unit),
        ]
        return steps if service.system else [*steps, Step(("loginctl", "enable-linger", service.user))]

    def uninstall(self, service: Service) -> list[Step]:
        """Let the node leave, and remove the unit."""
        return [
            service.step(*_systemctl(service), "disable", "--now", self.name(service)),
            service.step("rm", str(self.path(service))),
            service.step(*_systemctl(service), "daemon-reload"),
        ]

    def state(self, service: Service) -> State:
        """What systemd knows."""
        asked = "ActiveState,SubState,UnitFileState,StatusText,NRestarts"
        shown = output_of(*_systemctl(service), "show", self.name(service), f"--property={asked}") or ""
        known = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
        active, sub = known.get("ActiveState", "unknown"), known.get("SubState", "")
        return State(
            running=active == "active",
            state=f"{active} ({sub})" if sub else active,
            starts=self._starts(service) if known.get("UnitFileState") == "enabled" else "by hand only",
            restarts=int(known.get("NRestarts") or 0),
            text=known.get("StatusText", ""),
        )

    def problem(self, service: Service) -> str:
        """Whether systemd answers."""
        if output_of(*_systemctl(service), "show", "--property=Version"):
            return ""
        return f"systemd does not answer here (`{' '.join(_systemctl(service))} status` says why)"

    def _starts(self, service: Service) -> str:
        if service.system:
            return "at boot"
        lingers = output_of("loginctl", "show-user", service.user, "--property=Linger") or ""
        return "at boot" if lingers.strip() == "Linger=yes" else "at login, and ends with the last logout"


def quoted(word: str, *, in_command: bool = False) -> str:
    """A word as units write it: specifiers, variables (in commands) and quotes taken literally."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    if in_command:
        escaped = escaped.replace("$", "$$")
    return escaped if NEEDS_NO_QUOTES.fullmatch(escaped) else f'"{escaped}"'


def _folders(service: Service) -> str:
    """Where the node may write: its home, and a temporary folder of its own.

    It shares the common ones where its home or its Python lies there; and a socket whose path would be too long does.
    """
    socket = local_socket_path(service.home)
    writes = [service.home] if socket.parent == service.home else [service.home, socket.parent.parent]
    if any(Path(path).is_relative_to(folder) for path in (service.home, service.python) for folder in TEMPORARY):
        writes += [Path(folder) for folder in TEMPORARY if Path(folder) not in writes]
    private = "yes" if len(writes) == 1 else "no"
    return f"ReadWritePaths={' '.join(quoted(str(folder)) for folder in writes)}\nPrivateTmp={private}\n"


def _systemctl(service: Service) -> tuple[str, ...]:
    return ("systemctl",) if service.system else ("systemctl", "--user")
