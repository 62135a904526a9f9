"""A node as a service of a real systemd, the user's own, in namespaces: installed, killed, hung, stopped, taken away.

What can only be shown elsewhere: lingering (it needs logind), and the service of a whole device.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from edged.cli.systemd import HARDENING
from tests.cli.shell import wait_until

SYSTEMD = Path("/usr/lib/systemd/systemd")
TOOLS = ("unshare", "nsenter", "systemctl", "systemd-run", "ip", "bash")
PATIENCE_SECONDS = 120.0
UNIT = "edged-node.service"
NAMESPACES_MAY_REFUSE = {"ProtectKernelTunables", "ProtectControlGroups", "ProtectSystem"}

BOOT = f"""
set -e
mount --make-rprivate /
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
ip link set lo up
ip link add here type veth peer name there
ip address add 10.77.0.1/24 dev here
ip link set here up
ip link set there up
{SYSTEMD} --user &
trap 'kill %1; wait; exit' TERM
wait
"""
"""A device with one network that leads nowhere."""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="it takes root to make namespaces"),
    pytest.mark.skipif(not SYSTEMD.exists() or not all(map(shutil.which, TOOLS)), reason="this device has no systemd"),
]


class Device:
    """A systemd that runs for one user, on whose device commands are run."""

    def __init__(self, folder: Path) -> None:
        self.home, self.node = folder / "home", folder / "node"
        self.home.mkdir()
        self.log = folder / "systemd.log"
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": "/run/user/0",
            "EDGED_HOME": str(self.node),
        }
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "--net", "--cgroup", "bash", "-c", BOOT],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
        self._inside = psutil.Process(wait_until(self._children)[0].pid)

    def _children(self) -> list[psutil.Process]:
        if self._process.poll() is not None:
            pytest.skip(f"no namespaces here: {self.log.read_text().strip()}")
        return psutil.Process(self._process.pid).children()

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command on this device."""
        inside = ("nsenter", "-t", str(self._inside.pid), "-m", "-p", "-n", "-C")
        done = subprocess.run(
            [*inside, *command],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
            env=self._environment,
        )
        assert done.returncode == 0 or not check, (command, done.stdout, done.stderr)
        return done

    def edged(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "edged", *arguments, check=check)

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        return self.run("systemctl", "--user", *arguments, check=check).stdout.strip()

    def shows(self, name: str) -> str:
        return self.systemctl("show", UNIT, f"--property={name}", "--value")

    def override(self, name: str, *lines: str) -> None:
        folder = self.home / ".config" / "systemd" / "user" / f"{UNIT}.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.conf").write_text("\n".join(("[Service]", *lines, "")))

    def refused(self) -> set[str]:
        """What of the hardening this kernel does not grant inside of namespaces."""
        probe = ("systemd-run", "--user", "--quiet", "--wait")
        return {
            line.split("=")[0]
            for line in HARDENING.splitlines()
            if self.run(*probe, f"--property={line}", "true", check=False).returncode
        }

    def restarted(self, process: str) -> str:
        """The process that runs in the place of this one, once it is ready."""

        def other() -> str | None:
            there = self.shows("MainPID") if self.shows("ActiveState") == "active" else process
            return there if there not in {process, "0"} else None

        return str(wait_until(other))

    def close(self) -> None:
        self._inside.send_signal(signal.SIGTERM)
        try:
            self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()


def scopes() -> set[Path]:
    """The control groups in which systemds run; one that was killed leaves its own behind."""
    return {Path(place) for place, _, _ in os.walk("/sys/fs/cgroup") if place.endswith("/init.scope")}


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Device]:
    others = scopes()
    device = Device(tmp_path)
    try:
        wait_until(lambda: device.systemctl("is-system-running", check=False) in {"running", "degraded"})
        yield device
    finally:
        device.close()
        for scope in scopes() - others:
            with suppress(OSError):  # somebody else's, who has logged in meanwhile
                scope.rmdir()


@pytest.mark.long
def test_a_node_lives_as_a_service_of_systemd(device: Device, figure: list[str]) -> None:
    refused = device.refused()
    assert refused <= NAMESPACES_MAY_REFUSE
    device.override("here", *(f"{name}=no" for name in refused))

    installed = device.edged("service", "install", "--yes", check=False)
    if installed.returncode:  # the last step, where nobody keeps logins
        assert installed.stderr.splitlines()[-1].startswith("edged: `loginctl enable-linger"), installed.stderr
    assert device.shows("ActiveState") == "active", "`systemctl start` returns when the node is ready"
    wait_until(lambda: device.shows("StatusText").startswith("1 node alive, "))
    assert "active (running)" in device.edged("service", "status").stdout
    assert "1 of 1 nodes alive" in device.edged("status").stdout

    first = device.shows("MainPID")
    device.run("kill", "-KILL", first)
    second = device.restarted(first)
    assert (device.shows("NRestarts"), device.shows("UnitFileState")) == ("1", "enabled")

    device.override("quick", "WatchdogSec=20", "TimeoutAbortSec=1")
    device.systemctl("daemon-reload")
    device.systemctl("restart", UNIT)
    third = device.restarted(second)
    before = int(device.shows("NRestarts"))
    device.run("kill", "-STOP", third)
    device.restarted(third)
    assert int(device.shows("NRestarts")) > before
    assert "1 of 1 nodes alive" in device.edged("status").stdout

    device.systemctl("stop", UNIT)
    assert (device.shows("Result"), device.shows("ExecMainStatus")) == ("success", "0"), "it left, and was not killed"
    assert device.edged("service", "status", check=False).returncode == 3

    device.systemctl("start", UNIT)
    unit = device.home / ".config" / "systemd" / "user" / UNIT
    assert unit.exists()
    device.edged("service", "uninstall", "--yes")
    assert not unit.exists()
    assert (device.shows("LoadState"), device.shows("MainPID")) == ("not-found", "0")
    assert (device.node / "cluster.key").exists()
    granted = f"all of the hardening but {', '.join(sorted(refused))}" if refused else "all of the hardening"
    figure.append(f"a real systemd in namespaces, with {granted}")
