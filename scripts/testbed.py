"""Nodes as processes on this machine: on loopback, or (as root) each in a network namespace, with links and quotas.

As a program it starts a cluster, prints how to reach it, and ends it on Ctrl-C::

    python scripts/testbed.py --nodes 4 --slowdown 1,2,2,4
    sudo python scripts/testbed.py --nodes 3 --network --rate 100 --cores 0.5

Everything it makes (homes, processes, namespaces, control groups, mounts) carries its process id and is removed again,
also after Ctrl-C; the processes end with it even if it is killed, and ``--clean`` removes what a killed one left.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from random import SystemRandom
from typing import Any

import psutil
import testbed_groups
import testbed_network
from testbed_groups import Group, no_groups
from testbed_network import Network, no_network

from edged.client import Client
from edged.errors import UserError
from edged.telemetry.paths import local_socket_path
from edged.transport.security import new_cluster_key

LEAVE_SECONDS = 15.0
SETTLE_SECONDS = 90.0
PORTS = 3
"""A node takes so many in a row."""

NETWORK_PORT = 7700
PORT_RANGE = (20_000, 32_000)


class TestbedError(Exception):
    """A node did not do within its time what it must; the text says which and what."""


def wait_until(condition: Callable[[], Any], what: str, seconds: float) -> Any:
    """The first true value of ``condition``, which may also not be able to answer yet. Raises ``TestbedError``."""
    deadline = time.monotonic() + seconds
    said = ""
    while True:
        try:
            if found := condition():
                return found
        except UserError as error:
            said = f" ({error})"
        if time.monotonic() >= deadline:
            raise TestbedError(f"not within {seconds:.0f} s: {what}{said}")
        time.sleep(0.02)


class Device:
    """One device: its home, its address, and the process that runs there now, if any."""

    def __init__(
        self,
        home: Path,
        host: str,
        port: int,
        arguments: Sequence[str],
        prefix: Sequence[str] = (),
        program: Sequence[str] = ("-m", "edged"),
    ) -> None:
        """Nothing runs yet. ``prefix`` starts programs elsewhere (``ip netns exec NAME``); ``program``: of Python."""
        self.home, self.name = home, home.name
        self.address = f"{host}:{port}"
        self.client = Client(home)
        self.id = ""
        self.stopped = False
        self.group: Group | None = None
        self._arguments, self._command = list(arguments), [*prefix, sys.executable, *program]
        self._process: subprocess.Popen[str] | None = None

    @property
    def process(self) -> subprocess.Popen[str]:
        """The newest process of this device."""
        if self._process is None:
            raise TestbedError(f"{self.name} has not been started")
        return self._process

    @property
    def running(self) -> bool:
        """Whether its process is there, be it stopped."""
        return self._process is not None and self._process.poll() is None

    @property
    def answering(self) -> bool:
        """Whether its process is there and not stopped."""
        return self.running and not self.stopped

    def start(self, seeds: Sequence[str]) -> None:
        """Start the node, again if it ran before; it is not waited for."""
        self._close()
        self.stopped = False
        self.home.mkdir(exist_ok=True)
        common = ["--home", str(self.home), "--name", self.name, "--listen", self.address, "--no-discovery", "--no-tui"]
        common += ["--threads", "1", "--log-format", "json", "--leave-at-eof"]
        seeded = [part for seed in seeds if seed != self.address for part in ("--seed", seed)]
        with (self.home.parent / f"{self.name}.log").open("a", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [*self._command, "join", *common, *seeded, *self._arguments],
                stdin=subprocess.PIPE,  # nothing is written: it ends with this program, however that ends
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
        if self.group is not None:
            self.group.add(self._process.pid)

    def ready(self) -> None:
        """Wait until the node says that it can be used. Raises ``TestbedError``."""
        stream = self.process.stdout
        line = stream.readline() if stream is not None else ""
        if not line:
            raise TestbedError(f"{self.name} did not start: {self.last_words()}")
        self.id = json.loads(line)["node"]

    def status(self) -> dict[str, Any]:
        """``edged status --json`` of this device."""
        return self.client.ask("status")

    def last_words(self) -> str:
        """The last line of the node's log, and its exit status if it has ended."""
        log = (self.home.parent / f"{self.name}.log").read_text(encoding="utf-8").strip().splitlines()
        ended = "" if self.running else f" (exit status {self.process.wait()})"
        return (log[-1] if log else "it said nothing") + ended

    def signal(self, number: signal.Signals) -> float:
        """Send a signal to the node's process alone; the monotonic moment at which that was done."""
        if not self.running:
            return time.monotonic()
        self.process.send_signal(number)
        now = time.monotonic()
        if number is signal.SIGKILL:
            self.process.wait()
        self.stopped = number is signal.SIGSTOP or (self.stopped and number is not signal.SIGCONT)
        return now

    def wait(self, seconds: float = LEAVE_SECONDS) -> int:
        """The exit status, once the process has ended. Raises ``TestbedError`` if it does not."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise TestbedError(f"{self.name} has not ended after {seconds:.0f} s") from error

    def taken(self) -> dict[str, int]:
        """Resident bytes, open files, sockets among them, and threads of the node's process."""
        process = psutil.Process(self.process.pid)
        with process.oneshot():
            return {
                "rss_bytes": process.memory_info().rss,
                "files": process.num_fds(),
                "sockets": len([file for file in Path(f"/proc/{process.pid}/fd").iterdir() if _is_socket(file)]),
                "threads": process.num_threads(),
            }

    def end(self) -> None:
        """Let the node leave at once; kill it if it does not. It may be stopped."""
        if self.running:
            self.signal(signal.SIGCONT)
            for number in (signal.SIGINT, signal.SIGINT):
                self.signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self.process.wait(1.0)
        if self.running:
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(LEAVE_SECONDS)
        self.signal(signal.SIGKILL)
        self._close()

    def _close(self) -> None:
        for stream in () if self._process is None else (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Testbed:
    """Devices with one key. ``stack`` ends and removes all that is made, whatever state it is in."""

    __test__ = False

    def __init__(self, stack: ExitStack, *, network: bool = False) -> None:
        """Make an empty one. ``network``: devices get namespaces. Raises ``TestbedError`` where that cannot be."""
        if network and (reason := no_network()):
            raise TestbedError(reason)
        self.stack = stack
        self.folder = Path(tempfile.mkdtemp(prefix=f"edged-testbed-{os.getpid()}-"))
        stack.callback(shutil.rmtree, self.folder, ignore_errors=True)
        self.network = Network(stack) if network else None
        self.devices: dict[str, Device] = {}
        self._key = new_cluster_key()
        stack.callback(self.end)

    def __getitem__(self, name: str) -> Device:
        """A device by its name."""
        return self.devices[name]

    def named(self, node: str) -> str:
        """The name of the device whose node has this id; empty if there is none."""
        return next((device.name for device in self.devices.values() if device.id == node), "")

    def add(
        self,
        name: str,
        *,
        slowdown: float = 1.0,
        cores: float = 0.0,
        core: int | None = None,
        nice: int = 0,
        disk_bytes: int = 0,
        options: Sequence[str] = (),
        program: Sequence[str] = ("-m", "edged"),
    ) -> Device:
        """A device; its node does not run yet.

        ``cores``: its share of the machine, by a control group where that can be made, else by ``--slowdown``.
        ``core``: the number of the only core that it runs on (``taskset``). ``nice``: its priority there (below 0: root
        only). ``disk_bytes``: its home lies on a disk of its own, of that size (root only). ``program``: what Python
        runs.
        """
        home = self.folder / name
        home.mkdir(mode=0o700)
        if disk_bytes:
            testbed_network.run("mount", "-t", "tmpfs", "-o", f"size={disk_bytes},mode=0700", PREFIXED, str(home))
            self.stack.callback(_unmount, home)
            self.stack.callback(self.end)  # before the disk goes
        key = self.folder / f"{name}.key"
        key.touch(mode=0o600)
        key.write_text(self._key, encoding="utf-8")
        group = None
        if cores and not no_groups("cpu"):
            group = Group(self.stack, name, "cpu")
            group.cores(cores)
            self.stack.callback(self.end)
        elif cores:
            slowdown *= 1 / cores
        prefix = self.network.add(name) if self.network else []
        prefix = [*prefix, *([] if core is None else ["taskset", "--cpu-list", str(core)])]
        prefix += ["nice", "-n", str(nice)] if nice else []
        host, port = (self.network.address(name), NETWORK_PORT) if self.network else ("127.0.0.1", free_ports())
        arguments = ["--key-file", str(key), "--cluster", "testbed", "--slowdown", str(slowdown), *options]
        self.devices[name] = device = Device(home, host, port, arguments, prefix, program)
        device.group = group
        return device

    def running(self) -> list[Device]:
        """Devices whose process is there and not stopped."""
        return [device for device in self.devices.values() if device.answering]

    def start(self, *names: str) -> None:
        """Start nodes (again) and wait until each says that it can be used."""
        seeds = [device.address for device in self.devices.values()]
        for name in names:
            self.devices[name].start(seeds)
        for name in names:
            self.devices[name].ready()

    def settle(self, seconds: float = SETTLE_SECONDS) -> str:
        """Wait until all that run know all, measured, and agree who leads; the leader's name. ``TestbedError``."""

        def agreed() -> str:
            running = self.running()
            names = {device.name for device in running}
            leaders = set()
            for device in running:
                view = device.status()
                leaders.add(view["leader"])
                if {m["name"] for m in view["members"] if m["state"] == "alive" and m["slowness"] > 0} != names:
                    return ""
            return "" if len(leaders) != 1 or None in leaders else self.named(leaders.pop())

        leader: str = wait_until(agreed, "the nodes know each other and a leader", seconds)
        return leader

    def end(self) -> None:
        """Let all leave at once; kill those that do not."""
        for device in self.devices.values():
            if device.running:
                device.signal(signal.SIGCONT)
                device.signal(signal.SIGINT)
        for device in self.devices.values():
            device.end()

    def left_behind(self) -> list[str]:
        """What is still there although all has ended: processes; sockets of nodes that were not killed."""
        left = [f"a process of {self.folder}: {pid}" for pid in processes_of(self.folder)]
        orderly = [device for device in self.devices.values() if device.process.returncode == 0]
        sockets = [local_socket_path(device.home) for device in orderly]
        return left + [f"a socket: {path}" for path in sockets if path.exists()]


PREFIXED = "edged-testbed"
"""The name under which its disks are mounted."""


def processes_of(folder: Path) -> list[int]:
    """Processes that name ``folder`` on their command line or work in it: nodes and their feeders."""
    return [
        process.pid
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and any(str(folder) in part for part in process.info["cmdline"] or ())
    ]


def _is_socket(file: Path) -> bool:
    """Whether an open file is a socket; one that is gone meanwhile is none."""
    return file.is_socket()


def free_ports() -> int:
    """The first of ``PORTS`` ports in a row that nobody listens on now.

    They lie below those that systems give to outgoing connections, so that they are still free when a node that was
    killed starts again.
    """
    while True:
        port = SystemRandom().randrange(*PORT_RANGE)  # a seed that somebody has set would give the same ones
        with ExitStack() as stack, suppress(OSError):
            for each in range(port, port + PORTS):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", each))
            return port


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end this program as Ctrl-C does: everything is cleaned up."""

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def clean() -> list[str]:
    """Remove what testbeds have left that were killed; what was removed."""
    gone = testbed_groups.remove_orphans() + testbed_network.remove_orphans()
    for folder in Path(tempfile.gettempdir()).glob("edged-testbed-*"):
        if not Path(f"/proc/{folder.name.split('-')[2]}").exists():
            for home in folder.iterdir():
                _unmount(home)
            shutil.rmtree(folder, ignore_errors=True)
            gone.append(str(folder))
    return gone


def _unmount(home: Path) -> None:
    if home.is_mount():
        with suppress(testbed_network.RefusedError):
            testbed_network.run("umount", "--lazy", str(home))


def main() -> None:
    """Start a cluster and keep it until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--slowdown", default="1", help="one number for all, or one for each, with commas")
    parser.add_argument("--cores", type=float, default=0.0, help="share of the machine for each node")
    parser.add_argument("--network", action="store_true", help="a network namespace for each node (root)")
    parser.add_argument("--rate", type=float, default=0.0, help="Mbit/s that each node may send (with --network)")
    parser.add_argument("--clean", action="store_true", help="remove what killed testbeds have left, and end")
    options = parser.parse_args()
    if options.clean:
        print("\n".join(clean()) or "nothing was left")
        return
    slowdowns = [float(each) for each in options.slowdown.split(",")]
    with ended_by_signals(), ExitStack() as stack:
        bed = Testbed(stack, network=options.network)
        for index in range(options.nodes):
            device = bed.add(f"n{index}", slowdown=slowdowns[index % len(slowdowns)], cores=options.cores)
            if options.rate and bed.network is not None:
                bed.network.limit(device.name, options.rate)
        bed.start(*bed.devices)
        print(f"{bed.settle()} leads; Ctrl-C ends all")
        for device in bed.devices.values():
            print(f"edged status --home {device.home}   # {device.name}, {device.address}", flush=True)
        with suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
